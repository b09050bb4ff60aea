import { atExit } from "../support/last_resort.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";
import { build, type CProgram } from "./peers/c.ts";
import { missing } from "./program.ts";

const MIB = 1 << 20;
/** Large enough that no CPU's cache holds it, small enough for a machine's memory. */
const BYTES = 256 * MIB;
const SLOW_MILLISECONDS = 2;

/** Why some rows cannot run here: no mistake, a note. */
export class Unavailable extends Error {}

/** What the user gave instead of what the bed makes. */
export interface Given {
  /** Devices to measure. */
  readonly devices: readonly string[];
  /** Whether what is on them may be lost. */
  readonly overwrite: boolean;
}

/** The devices, files and programs that the rows work on, each one made when it is first asked for. */
export class TestBed implements AsyncDisposable {
  readonly #given: Given;
  readonly #stack = new AsyncDisposableStack();
  readonly #made = new Map<string, Promise<unknown>>();

  /** @throws {RangeError} When a device that the user gave is not there, or is to be written and is mounted or given twice. */
  constructor(given: Given) {
    const mounts = Deno.readTextFileSync("/proc/self/mounts").split("\n");
    for (const path of given.devices) {
      try {
        Deno.openSync(path).close();
      } catch (error) {
        throw new RangeError(`--device ${path}: ${(error as Error).message}`);
      }
      // A partition's name begins with its disk's.
      const mounted = mounts.find((mount) => mount.startsWith(path));
      if (given.overwrite && given.devices.filter((other) => other === path).length > 1) {
        throw new RangeError(
          `--device ${path}: it is given twice, and a device is written to by one opening alone`,
        );
      }
      if (given.overwrite && mounted) throw new RangeError(`--device ${path}: it is mounted: ${mounted}`);
    }
    this.#given = given;
  }

  /** A device to read from. */
  async device(): Promise<string> {
    return this.#given.devices[0] ?? await this.#loop(0);
  }

  /** Devices that may be written to. @throws {Unavailable} When the user gave too few, or keeps their data. */
  async writableDevices(count: number): Promise<readonly string[]> {
    const { devices, overwrite } = this.#given;
    if (devices.length === 0) {
      const loops: string[] = [];
      while (loops.length < count) loops.push(await this.#loop(loops.length));
      return loops;
    }
    if (!overwrite) throw new Unavailable("writing to --device takes --overwrite as well");
    if (devices.length < count) throw new Unavailable(`it takes ${count} --device`);
    return devices.slice(0, count);
  }

  /** Bytes of the smallest device, no more than one of the bed's own has. */
  smallest(devices: readonly string[]): Promise<number> {
    return Promise.resolve(Math.min(
      BYTES,
      ...devices.map((path) => {
        using device = Deno.openSync(path);
        return device.seekSync(0, Deno.SeekMode.End);
      }),
    ));
  }

  /** A file in the folder for temporary files, all of it in the page cache and on its disk. */
  cachedFile(): Promise<string> {
    return this.#once("cached file", async () => {
      const path = `${await this.#folder()}/cached`;
      using file = Deno.openSync(path, { write: true, createNew: true });
      fill((data) => file.writeSync(data));
      await file.syncData();
      return path;
    });
  }

  /** A device that takes its time over each request. */
  slowDevice(): Promise<string> {
    return this.#once("slow device", async () => {
      const without = await missing("nbdkit", AbortSignal.timeout(5000));
      if (without !== undefined) throw new Unavailable(without);
      return this.#stack.use(await NbdDevice.create({ delay: SLOW_MILLISECONDS })).path;
    });
  }

  /** A C program of peers/, built. */
  program(name: CProgram): Promise<string> {
    return this.#once(name, async () => await build(name, await this.#folder(), AbortSignal.timeout(60_000)));
  }

  /** Why a peer's program cannot run, if so. */
  missing(command: string): Promise<string | undefined> {
    return this.#once(`command ${command}`, () => missing(command, AbortSignal.timeout(5000)));
  }

  /** Detaches and removes everything that was made. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  /** A loop device with direct I/O over a file in memory: the software is the limit. */
  #loop(index: number): Promise<string> {
    return this.#once(`loop ${index}`, async () => {
      const scratch = this.#stack.use(await Scratch.create({ tmpfs: 2 * BYTES }));
      const loop = this.#stack.use(await LoopDevice.create({ in: scratch.path, bytes: BYTES }));
      let offset = 0;
      // Holes would be read without being looked up.
      fill((data) => (loop.fill(data, offset), offset += data.length));
      return loop.path;
    });
  }

  #folder(): Promise<string> {
    return this.#once("folder", () => {
      const path = Deno.makeTempDirSync({ prefix: "dmio-bench-" });
      const remove = () => Deno.removeSync(path, { recursive: true });
      const takeBack = atExit(remove);
      this.#stack.defer(() => (takeBack(), remove()));
      return Promise.resolve(path);
    });
  }

  #once<T>(name: string, make: () => Promise<T>): Promise<T> {
    const made = this.#made.get(name) ?? make();
    this.#made.set(name, made);
    return made as Promise<T>;
  }
}

/** Writes {@linkcode BYTES} bytes, a MiB at a time. */
function fill(write: (data: Uint8Array) => void): void {
  const data = new Uint8Array(MIB);
  for (let i = 0; i < MIB; i += 65536) crypto.getRandomValues(data.subarray(i, i + 65536));
  for (let done = 0; done < BYTES; done += MIB) write(data);
}
