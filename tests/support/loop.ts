/**
 * Loop devices over files in memory.
 *
 * @module
 */

import { exists, run, succeed, until } from "./commands.ts";
import { atExit } from "./last_resort.ts";
import { Scratch } from "./scratch.ts";

const ATTEMPTS = 20;
const DETACH_MILLISECONDS = 5000;

/** How to make a {@linkcode LoopDevice}. */
export interface LoopOptions {
  /** Size of the backing file to make. */
  readonly bytes?: number;
  /** Logical block size in bytes (512). Every kernel takes 512 and 4096; see {@linkcode sectorSizeLack} for longer ones. */
  readonly sectorSize?: number;
  /** Whether the loop driver goes past the backing file's page cache (true). */
  readonly directIo?: boolean;
  /** Whether the device refuses writes (false). */
  readonly readOnly?: boolean;
  /** Whether the kernel reads its partition table (false). */
  readonly partitions?: boolean;
  /** Where the backing file is made, or one that exists and is used as it is; without it, a folder of its own. */
  readonly in?: string;
}

/**
 * A loop device. The object holds it open with autoclear set, so that the kernel detaches it when this process
 * ends, in whatever way.
 */
export class LoopDevice implements AsyncDisposable {
  /** `/dev/loopN`. */
  readonly path: string;
  /** The backing file. */
  readonly backing: string;
  readonly #device: Deno.FsFile;
  readonly #owned: AsyncDisposable | null;
  readonly #parts = new DisposableStack();
  #disposed = false;

  private constructor(path: string, backing: string, device: Deno.FsFile, owned: AsyncDisposable | null) {
    this.path = path;
    this.backing = backing;
    this.#device = device;
    this.#owned = owned;
  }

  /**
   * Makes a sparse file, unless `in` names one, and a loop device over it.
   *
   * @param options See {@linkcode LoopOptions}.
   * @throws {Error} When no loop device can be had.
   */
  static async create(options: LoopOptions): Promise<LoopDevice> {
    const { bytes, in: place } = options;
    const owned = place === undefined ? await Scratch.create() : null;
    try {
      let backing = place ?? "";
      if (owned !== null || Deno.statSync(backing).isDirectory) {
        if (bytes === undefined) {
          throw new TypeError("LoopDevice.create: bytes: a new backing file needs a size");
        }
        backing = `${owned?.path ?? backing}/${crypto.randomUUID()}.img`;
        Deno.writeFileSync(backing, new Uint8Array(0));
        Deno.truncateSync(backing, bytes);
      }
      const path = await attach(backing, options);
      const device = Deno.openSync(path);
      // With the device open this only sets autoclear: the last close detaches it.
      const detach = await run(["losetup", "-d", path]);
      const loop = new LoopDevice(path, backing, device, owned);
      if (detach.code !== 0) {
        await loop[Symbol.asyncDispose]();
        throw new Error(`losetup -d ${path}: ${detach.stderr.trim()}`);
      }
      return loop;
    } catch (error) {
      await owned?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Cuts the backing file behind the device's back. The device keeps its size; a read of what is gone fails.
   *
   * @param bytes The new length of the file.
   */
  truncate(bytes: number): void {
    Deno.truncateSync(this.backing, bytes);
  }

  /** Makes the backing file this long, and lets the device have its size. */
  async resize(bytes: number): Promise<void> {
    this.truncate(bytes);
    await succeed("losetup", "--set-capacity", this.path);
  }

  /**
   * Reads the backing file. What went to the device through the page cache is there after {@linkcode flush}.
   *
   * @param offset In bytes.
   * @param length In bytes; without it, to the end.
   */
  bytes(offset = 0, length?: number): Uint8Array<ArrayBuffer> {
    using file = Deno.openSync(this.backing);
    const out = new Uint8Array(length ?? file.statSync().size - offset);
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < out.length;) {
      const count = file.readSync(out.subarray(at));
      if (count === null) throw new RangeError(`${this.backing}: ${offset + at} is its end`);
      at += count;
    }
    return out;
  }

  /**
   * Writes into the backing file. Call {@linkcode flush} afterwards if the device's page cache may hold older bytes.
   *
   * @param data What to write.
   * @param offset Where, in bytes.
   */
  fill(data: Uint8Array, offset = 0): void {
    using file = Deno.openSync(this.backing, { write: true });
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < data.length;) at += file.writeSync(data.subarray(at));
  }

  /** Writes the device's page cache to the backing file and drops it (`BLKFLSBUF`). */
  async flush(): Promise<void> {
    const { code, stderr } = await run(["blockdev", "--flushbufs", this.path]);
    if (code !== 0) throw new Error(`blockdev --flushbufs ${this.path}: ${stderr.trim()}`);
  }

  /** Makes the device refuse writes from now on (`BLKROSET`); it stays open where it is open for writing. */
  async refuseWrites(): Promise<void> {
    await succeed("blockdev", "--setro", this.path);
    // The kernel keeps the mark when it detaches the device, for the next file on it.
    this.#parts.defer(atExit(() => this.#acceptWrites()));
    this.#parts.defer(() => this.#acceptWrites());
  }

  #acceptWrites(): void {
    new Deno.Command("blockdev", { args: ["--setrw", this.path], stderr: "null" }).outputSync();
  }

  /** Whether the kernel still has this backing file on this device. */
  get attached(): boolean {
    const name = this.path.slice("/dev/".length);
    try {
      return Deno.readTextFileSync(`/sys/block/${name}/loop/backing_file`).startsWith(this.backing);
    } catch {
      return false;
    }
  }

  /**
   * Detaches the device and removes what was made for it.
   *
   * @throws {Error} When something else keeps the device open.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#parts.dispose();
    this.#device.close();
    const detached = await until(() => !this.attached, DETACH_MILLISECONDS);
    await this.#owned?.[Symbol.asyncDispose]();
    if (!detached) {
      throw new Error(`${this.path} is still open: ${holders(this.path).join(", ") || "elsewhere"}`);
    }
  }
}

/**
 * Asks whether the kernel makes loop devices with logical blocks of some size: those longer than a page are new in Linux 6.15.
 *
 * @param sectorSize The size in bytes.
 * @returns Why it does not, in words for a person; null when it does.
 */
export async function sectorSizeLack(sectorSize: number): Promise<string | null> {
  await using scratch = await Scratch.create();
  const backing = scratch.join("asked");
  Deno.writeFileSync(backing, new Uint8Array(1 << 20));
  try {
    await using _loop = await LoopDevice.create({ in: backing, sectorSize });
    return null;
  } catch (error) {
    return `this kernel makes no loop device of ${sectorSize}-byte blocks: ${error}`;
  }
}

async function attach(backing: string, options: LoopOptions): Promise<string> {
  const { sectorSize = 512, directIo = true, readOnly = false, partitions = false } = options;
  const command = ["losetup", "-f", "--show", `--sector-size=${sectorSize}`];
  command.push(`--direct-io=${directIo ? "on" : "off"}`, ...(readOnly ? ["-r"] : []));
  command.push(...(partitions ? ["--partscan"] : []), backing);
  for (let attempt = 1;; attempt++) {
    const { code, stdout, stderr } = await run(command);
    if (code === 0) return stdout.trim();
    // Another process may take the free device that losetup has found.
    if (attempt === ATTEMPTS) throw new Error(`${command.join(" ")}: ${stderr.trim()}`);
    await new Promise((resolve) => setTimeout(resolve, 5 * attempt));
  }
}

function holders(path: string): string[] {
  const found: string[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name) || !exists(`/proc/${name}/fd`)) continue;
    try {
      for (const fd of Deno.readDirSync(`/proc/${name}/fd`)) {
        if (Deno.readLinkSync(`/proc/${name}/fd/${fd.name}`) === path) {
          found.push(`pid ${name} fd ${fd.name}`);
        }
      }
    } catch {
      // The process has ended meanwhile.
    }
  }
  return found;
}

/** Many loop devices that end together. */
export interface LoopDevices extends AsyncDisposable {
  /** The devices, in no particular order of their numbers. */
  readonly devices: readonly LoopDevice[];
}

/**
 * Makes many loop devices at once.
 *
 * @param count How many.
 * @param options Each one's; `in` must be a folder, if given.
 * @throws {Error} When one of them cannot be made; the others are detached again.
 */
export async function loopDevices(count: number, options: LoopOptions): Promise<LoopDevices> {
  await using folder = new AsyncDisposableStack();
  const place = options.in ?? folder.use(await Scratch.create()).path;
  const devices: LoopDevice[] = [];
  const failures: unknown[] = [];
  let left = count;
  const worker = async () => {
    while (left-- > 0 && failures.length === 0) {
      await LoopDevice.create({ ...options, in: place }).then(
        (loop) => devices.push(loop),
        (e) => failures.push(e),
      );
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  for (const device of devices) folder.use(device);
  if (failures.length > 0) throw failures[0];
  const all = folder.move();
  return { devices, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
