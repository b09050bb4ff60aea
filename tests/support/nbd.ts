/**
 * Block devices that fail, fill up, hang, lag or vanish at a word: an nbdkit server, a file that nbdfuse makes of
 * it, and a loop device over that file.
 *
 * What arrives at a CQE from a direct request through the loop device: EIO, ENOMEM, ENOSPC and EINVAL as they are;
 * EPERM and ESHUTDOWN as EIO. From the file without a loop device: all of them as they are. Through the loop
 * device's page cache: reads give EIO whatever the error, writes succeed, and `fsync(2)` gives the error.
 *
 * @module
 */

import { exists, run, settlesWithin, signalIfAlive, until } from "./commands.ts";
import { atExit } from "./last_resort.ts";
import { LoopDevice } from "./loop.ts";
import { type NbdEvent, parseNbdLog } from "./nbd_log.ts";
import {
  type BadRange,
  type Flushes,
  type NbdError,
  plugin,
  writeBadRanges,
  writeFlushes,
} from "./nbd_plugin.ts";
import { Scratch } from "./scratch.ts";

const READY_MILLISECONDS = 10_000;
const END_MILLISECONDS = 3000;
const PORT_ATTEMPTS = 5;
/** Requests fail while this file is there. */
const TRIGGER = "fail";

export type { BadRange, NbdError };

/** How to make an {@linkcode NbdDevice}. */
export interface NbdOptions {
  /** Size of the device (16 MiB). */
  readonly bytes?: number;
  /** What every request gets between {@linkcode NbdDevice.fail} and {@linkcode NbdDevice.heal} (EIO). */
  readonly error?: NbdError;
  /** Which requests `fail` makes fail (both kinds). */
  readonly failing?: "reads" | "writes";
  /**
   * Ranges that fail, see {@linkcode NbdDevice.setBadRanges}; an empty list for none yet. Such a device runs a
   * shell for each request: some milliseconds each.
   */
  readonly badRanges?: readonly BadRange[];
  /** Whether its flushes can be held and failed, see {@linkcode NbdDevice.setFlushes}. Such a device runs a shell, too. */
  readonly flushes?: boolean;
  /** Whether the server logs what reaches it, see {@linkcode NbdDevice.events}. */
  readonly log?: boolean;
  /** Whether every write gets ENOSPC, and reads give zeros. */
  readonly full?: boolean;
  /** Milliseconds by which each request is late. */
  readonly delay?: number;
  /** Whether the server is reached by TCP, as a remote disk is; otherwise by a Unix socket. */
  readonly remote?: boolean;
  /** Whether there is a loop device (true); otherwise `path` is the file that nbdfuse makes. */
  readonly loop?: boolean;
  /** Logical block size of the loop device (512). */
  readonly sectorSize?: 512 | 4096;
}

/** A block device, or a file, that a server of our own stands behind. */
export class NbdDevice implements AsyncDisposable {
  /** The loop device, or the file if it was made with `loop: false`. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  readonly #scratch: Scratch;
  readonly #server: Deno.ChildProcess;
  readonly #parts: AsyncDisposableStack;

  private constructor(
    path: string,
    bytes: number,
    scratch: Scratch,
    server: Deno.ChildProcess,
    parts: AsyncDisposableStack,
  ) {
    this.path = path;
    this.bytes = bytes;
    this.#scratch = scratch;
    this.#server = server;
    this.#parts = parts;
    // Runs before the parts go: I/O that fails or waits would hold them up.
    parts.defer(() => {
      this.heal();
      writeFlushes(scratch, "pass");
      this.resume();
    });
  }

  /**
   * Starts a server and makes the device over it.
   *
   * @param options See {@linkcode NbdOptions}.
   * @throws {Error} When a part of it does not come up, with what it said.
   */
  static async create(options: NbdOptions = {}): Promise<NbdDevice> {
    const bytes = options.bytes ?? 16 << 20;
    await using parts = new AsyncDisposableStack();
    const scratch = parts.use(await Scratch.create());
    writeBadRanges(scratch, options.badRanges ?? []);
    writeFlushes(scratch, "pass");
    const { server, address } = await startServer(scratch, bytes, options, parts);
    let path = await startMount(scratch, address, parts);
    if (options.loop !== false) {
      path = parts.use(await LoopDevice.create({ in: path, sectorSize: options.sectorSize ?? 512 })).path;
    }
    return new NbdDevice(path, bytes, scratch, server, parts.move());
  }

  /** From now on every request fails (those of the kind `failing`, if given), with `error`. */
  fail(): void {
    Deno.writeTextFileSync(this.#scratch.join(TRIGGER), "");
  }

  /** Takes back {@linkcode fail}. */
  heal(): void {
    if (exists(this.#scratch.join(TRIGGER))) Deno.removeSync(this.#scratch.join(TRIGGER));
  }

  /**
   * Sets which ranges fail from now on, for a device that was made with `badRanges`. A request that touches one fails
   * as a whole and changes nothing.
   *
   * @param ranges All of them; an empty list heals the device.
   * @throws {TypeError} When the device was made without `badRanges`.
   */
  setBadRanges(ranges: readonly BadRange[]): void {
    this.#assertDisk("setBadRanges", "badRanges");
    writeBadRanges(this.#scratch, ranges);
  }

  /**
   * Sets what becomes of flushes from now on, those that are held included, for a device that was made with `flushes`.
   *
   * @param how What becomes of them.
   * @throws {TypeError} When the device was made without `flushes`.
   */
  setFlushes(how: Flushes): void {
    this.#assertDisk("setFlushes", "flushes");
    writeFlushes(this.#scratch, how);
  }

  /**
   * What the server's medium holds, for a device that was made with `flushes` or `badRanges`. The caches above it hold more.
   *
   * @param offset In bytes.
   * @param length In bytes.
   */
  contents(offset = 0, length = this.bytes - offset): Uint8Array<ArrayBuffer> {
    this.#assertDisk("contents", "flushes");
    return Deno.readFileSync(this.#scratch.join("disk")).slice(offset, offset + length);
  }

  /**
   * The requests that reached the server, for a device that was made with `log`.
   *
   * @param actions Which requests. Default: writes and flushes.
   */
  events(actions: readonly string[] = ["Write", "Flush"]): NbdEvent[] {
    const log = Deno.readTextFileSync(this.#scratch.join("events"));
    return parseNbdLog(log).filter(({ action }) => actions.includes(action));
  }

  #assertDisk(call: string, option: string): void {
    if (!exists(this.#scratch.join("disk"))) {
      throw new TypeError(`${call}: create the device with \`${option}\``);
    }
  }

  /** Stops the server: requests wait from now on, for ever. Resolves once no thread of it runs. */
  async hang(): Promise<void> {
    const { pid } = this.#server;
    Deno.kill(pid, "SIGSTOP");
    if (!await until(() => isStopped(pid), READY_MILLISECONDS)) throw new Error(`pid ${pid} does not stop`);
  }

  /** Takes back {@linkcode hang}: the requests that wait are done now. */
  resume(): void {
    signalIfAlive(this.#server.pid, "SIGCONT");
  }

  /**
   * Kills the server, for good. Requests in flight and later ones get EIO from the loop device; from the file,
   * requests in flight get ECONNABORTED, and opening it again gives ENOTCONN.
   */
  async kill(): Promise<void> {
    signalIfAlive(this.#server.pid, "SIGKILL");
    await this.#server.status;
  }

  /** Heals and resumes the device, then detaches, unmounts and ends all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

async function startServer(
  scratch: Scratch,
  bytes: number,
  options: NbdOptions,
  parts: AsyncDisposableStack,
) {
  const pidFile = scratch.join("nbdkit.pid");
  const command = ["nbdkit", "-f", "-P", pidFile];
  // The outermost filter, so that it logs what the client sent.
  if (options.log === true) command.push("--filter=log");
  command.push("--filter=error");
  const settings = [`error=${options.error ?? "EIO"}`];
  const kind = { reads: "error-pread", writes: "error-pwrite" } as const;
  const failing = options.failing === undefined ? "error" : kind[options.failing];
  settings.push(`${failing}-rate=100%`, `${failing}-file=${scratch.join(TRIGGER)}`);
  if (options.delay !== undefined) {
    command.push("--filter=delay");
    settings.push(`rdelay=${options.delay}ms`, `wdelay=${options.delay}ms`);
  }
  if (options.log === true) settings.push(`logfile=${scratch.join("events")}`);
  for (let attempt = 1;; attempt++) {
    const port = options.remote === true ? freePort() : 0;
    const socket = scratch.join("socket");
    const listen = port > 0 ? ["-i", "127.0.0.1", "-p", `${port}`] : ["-U", socket];
    // SIGKILL ends a stopped process too, and the server has nothing to save.
    const server = start(scratch, "SIGKILL", [
      ...command,
      ...listen,
      ...plugin(scratch, bytes, options),
      ...settings,
    ]);
    const takeBack = atExit(() => signalIfAlive(server.pid, "SIGKILL"));
    parts.defer(takeBack);
    if (await untilReady(server, pidFile)) {
      parts.defer(() => end(server));
      return { server, address: port > 0 ? ["--tcp", "127.0.0.1", `${port}`] : ["--unix", socket] };
    }
    await end(server);
    // Another process may have taken the port.
    if (port === 0 || attempt === PORT_ATTEMPTS) throw new Error(`nbdkit: ${said(scratch)}`);
  }
}

async function startMount(scratch: Scratch, address: string[], parts: AsyncDisposableStack): Promise<string> {
  const folder = scratch.join("mount");
  const file = `${folder}/nbd`;
  Deno.mkdirSync(folder);
  // At SIGTERM it unmounts before it ends.
  const mounter = start(scratch, "SIGTERM", ["nbdfuse", file, ...address]);
  const takeBack = atExit(() =>
    new Deno.Command("umount", { args: ["-l", folder], stderr: "null" }).outputSync()
  );
  parts.defer(async () => {
    takeBack();
    await unmount(folder);
    if (!await settlesWithin(mounter.status, END_MILLISECONDS)) await end(mounter);
  });
  if (!await untilReady(mounter, file)) throw new Error(`nbdfuse: ${said(scratch)}`);
  return file;
}

/** Starts a daemon that gets `atOurEnd` when this process dies, in whatever way. */
function start(scratch: Scratch, atOurEnd: Deno.Signal, command: string[]): Deno.ChildProcess {
  const log = 'log=$0; exec "$@" 2>> "$log"';
  return new Deno.Command("setpriv", {
    args: [
      "--pdeathsig",
      atOurEnd.slice("SIG".length),
      "--",
      "sh",
      "-c",
      log,
      scratch.join("log"),
      ...command,
    ],
    env: { TMPDIR: scratch.path },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

async function untilReady(child: Deno.ChildProcess, file: string): Promise<boolean> {
  let ended = false;
  child.status.then(() => ended = true);
  await until(() => ended || exists(file), READY_MILLISECONDS);
  return !ended && exists(file);
}

async function end(child: Deno.ChildProcess): Promise<void> {
  signalIfAlive(child.pid, "SIGKILL");
  await settlesWithin(child.status, END_MILLISECONDS);
}

async function unmount(folder: string): Promise<void> {
  const isMounted = () => Deno.readTextFileSync("/proc/self/mounts").includes(` ${folder} `);
  const stop = performance.now() + END_MILLISECONDS;
  // The loop driver lets go of the file a moment after it has detached.
  while (isMounted() && (await run(["umount", folder])).code !== 0) {
    if (performance.now() > stop) await run(["umount", "-l", folder]);
    else await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isStopped(pid: number): boolean {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].every(({ name }) =>
    /\) T /.test(Deno.readTextFileSync(`/proc/${pid}/task/${name}/stat`))
  );
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function said(scratch: Scratch): string {
  return exists(scratch.join("log")) ? Deno.readTextFileSync(scratch.join("log")).trim() : "no word";
}
