/**
 * The faults that a test can give to a disk in RAM.
 *
 * @module
 */

import { errnoName } from "../../ffi/errno.ts";
import { checkInteger, checkObject, describe } from "../check.ts";
import { SECTOR_SIZE } from "../device/facts.ts";
import type { BadRange } from "./disk.ts";
import { type FaultOp, FaultRule, type FaultScope } from "./fault_rules.ts";
import type { Effect, RamDisk } from "./ram_disk.ts";
import { Random } from "./random.ts";

/** A fault that a device has, until it is taken back. */
export interface Fault extends Disposable {
  /** Operations that it hit so far. */
  readonly hits: number;
  /** Takes it back. Operations that it held up go on. */
  remove(): void;
}

const LAST_ERRNO = 133;
const MOST_MILLISECONDS = 2 ** 31 - 1;

/**
 * The faults of one RAM device. Most methods give the device a fault, for all clients at once, and return it. `remove` takes the fault back, as
 * does the end of the block with `using`; `heal` takes all faults back.
 *
 * @example
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { faults, ramDevice } from "@dmio/dmio/testing";
 *
 * await using io = new IoClient({ pages: 16 });
 * await using device = ramDevice(1 << 20);
 * const region = { bdev: device, sector: 0, count: 16 };
 * {
 *   using _bad = faults(device).badSectors(9);
 *   const { failures } = await io.read(region, new Uint8Array(8192));
 *   console.log(failures); // [{ region: 0, errno: 5, code: "EIO", sector: 9 }]
 * }
 * (await io.read(region, new Uint8Array(8192))).orThrow(); // the sector is good again
 * ```
 */
export class DeviceFaults {
  readonly #disk: RamDisk;
  readonly #taken = new Set<Fault>();

  /** Use {@linkcode faults}. */
  constructor(disk: RamDisk) {
    this.#disk = disk;
  }

  /** Operations of all kinds that the device got so far. `nth` of a {@linkcode FaultScope} counts from this number on. */
  get operations(): number {
    return this.#disk.operations;
  }

  /** Blocks that a power cut could lose now. */
  get unflushed(): number {
    return this.#disk.disk.unflushed;
  }

  /**
   * Makes sectors bad. An operation moves the bytes before the first bad sector, then it fails. A logical block is bad as a whole.
   *
   * @param sector The first bad sector, of 512 bytes.
   * @param count How many.
   * @param options Whether `"read"` or `"write"` alone fails there (default: both), and with what error (default: `"EIO"`).
   * @returns The fault. It counts no hits.
   * @throws {TypeError | RangeError} For a sector outside of the device, or a wrong option.
   */
  badSectors(
    sector: number,
    count: number = 1,
    options: { op?: "read" | "write"; errno?: string | number } = {},
  ): Fault {
    const { sectors, disk } = this.#disk;
    checkInteger("sector", sector, 0, sectors - 1);
    checkInteger("count", count, 1, sectors - sector);
    checkObject("options", options, "{ op, errno }");
    const { op, errno = "EIO" } = options;
    if (op !== undefined && op !== "read" && op !== "write") {
      throw new TypeError(`options.op is ${describe(op)}; it must be "read" or "write", or left out`);
    }
    const range: BadRange = {
      from: Math.floor(sector * SECTOR_SIZE / disk.blockSize) * disk.blockSize,
      to: Math.ceil((sector + count) * SECTOR_SIZE / disk.blockSize) * disk.blockSize,
      errno: errnoOf(errno),
      reads: op !== "write",
      writes: op !== "read",
    };
    disk.bad.add(range);
    return this.#keep(() => 0, () => disk.bad.delete(range));
  }

  /**
   * Lets operations fail, and do nothing.
   *
   * @param errno The error, by its C name or its number: `"EIO"` or 5.
   * @param scope Which operations.
   * @returns The fault.
   * @throws {TypeError | RangeError} For an unknown error or a wrong scope.
   */
  fail(errno: string | number, scope: FaultScope = {}): Fault {
    const number = errnoOf(errno);
    return this.#rule(new FaultRule(scope), (op) => op.errno ||= number);
  }

  /**
   * Lets operations take time.
   *
   * @param milliseconds How long each takes, at least.
   * @param scope Which operations.
   * @returns The fault. Operations that are under way when it is taken back take their time all the same.
   * @throws {TypeError | RangeError} For a bad time or a wrong scope.
   */
  slow(milliseconds: number, scope: FaultScope = {}): Fault {
    checkInteger("milliseconds", milliseconds, 0, MOST_MILLISECONDS);
    return this.#rule(
      new FaultRule(scope),
      (op) => op.due = Math.max(op.due, performance.now() + milliseconds),
    );
  }

  /**
   * Lets operations hang until the fault is taken back; then they are done. A blocking call to a device that hangs breaks its client with a
   * `DmioFault` that says so, as no code could run to take the fault back.
   *
   * @param scope Which operations.
   * @returns The fault.
   * @throws {TypeError | RangeError} For a wrong scope.
   */
  hang(scope: FaultScope = {}): Fault {
    const rule = new FaultRule(scope);
    return this.#rule(rule, (op) => op.hangs.add(rule));
  }

  /**
   * Lets reads and writes stop short. The library resumes them.
   *
   * @param bytes The most bytes that one operation moves, rounded down to whole logical blocks. With 0, it makes no progress.
   * @param scope Which operations.
   * @returns The fault.
   * @throws {TypeError | RangeError} For a bad number of bytes or a wrong scope.
   */
  short(bytes: number, scope: FaultScope = {}): Fault {
    checkInteger("bytes", bytes, 0, Number.MAX_SAFE_INTEGER);
    return this.#rule(new FaultRule(scope, ["read", "write"]), (op) => op.most = Math.min(op.most, bytes));
  }

  /**
   * Lets operations answer success though they did nothing, or moved other bytes.
   *
   * @param how `"lose"`: a write keeps nothing, a flush leaves the cache as volatile as it was, a read leaves the memory as it was.
   * `"corrupt"`: a write or a read flips a bit of each block.
   * @param scope Which operations. Default: writes.
   * @returns The fault.
   * @throws {TypeError | RangeError} For another lie or a wrong scope.
   */
  lie(how: "lose" | "corrupt", scope: FaultScope = {}): Fault {
    if (how !== "lose" && how !== "corrupt") {
      throw new TypeError(`how is ${describe(how)}; it must be "lose" or "corrupt"`);
    }
    checkObject("scope", scope, "{ op, sector, count, nth, times }");
    const able: readonly FaultOp[] = how === "lose"
      ? ["read", "write", "flush", "discard", "zeroes"]
      : ["read", "write"];
    return this.#rule(new FaultRule({ op: "write", ...scope }, able), (op) => op.lie = how);
  }

  /**
   * Lets the device die: operations in flight and all later ones fail with `EIO`. Its size is 0, so that a failure has the code `"ENODEV"`.
   *
   * @returns The fault. When it is taken back, the device works again with all its data.
   */
  die(): Fault {
    const cause = {};
    this.#disk.die(cause);
    return this.#keep(() => 0, () => this.#disk.revive(cause));
  }

  /**
   * Cuts the power, and turns it on again. Each block that was not flushed has afterwards any of the contents that it had since its last
   * flush, always as a whole. Operations in flight fail with `EIO`; each block of a write in flight may or may not be written.
   *
   * @param seed Any integer. The same seed, at the same point, loses the same blocks.
   * @throws {RangeError} When `seed` is no integer.
   */
  powerCut(seed: number): void {
    checkInteger("seed", seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    this.#disk.powerCut(new Random(seed));
  }

  /**
   * Cuts the power while an operation is in flight, as {@linkcode DeviceFaults.powerCut} does, and leaves the device dead.
   *
   * @param seed Any integer.
   * @param scope The operation: `{ nth: 3 }` is the third from now.
   * @returns The fault. When it is taken back, the power is on again.
   * @throws {TypeError | RangeError} For a bad seed or a wrong scope.
   *
   * @example
   * ```ts
   * import { IoClient } from "@dmio/dmio";
   * import { faults, ramDevice } from "@dmio/dmio/testing";
   *
   * await using device = ramDevice(1 << 20);
   * for (let nth = 1; nth <= 3; nth++) {
   *   const cut = faults(device).powerCutAt(nth, { nth });
   *   await using io = new IoClient({ pages: 16 });
   *   for (let sector = 0; sector < 3; sector++) {
   *     await io.write([{ bdev: device, sector, count: 1 }], new Uint8Array(512).fill(nth));
   *   }
   *   cut.remove(); // what a program finds when it starts again is on the device now
   * }
   * ```
   */
  powerCutAt(seed: number, scope: FaultScope): Fault {
    checkInteger("seed", seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    checkObject("scope", scope, "{ op, sector, count, nth, times }");
    const rule = new FaultRule({ nth: 1, ...scope });
    return this.#rule(rule, () => {
      this.#disk.powerCut(new Random(seed));
      this.#disk.die(rule);
    }, () => this.#disk.revive(rule));
  }

  /** Takes all faults back. */
  heal(): void {
    for (const fault of [...this.#taken]) fault.remove();
  }

  #rule(rule: FaultRule, effect: Effect, undo: () => void = () => {}): Fault {
    this.#disk.rules.set(rule, effect);
    return this.#keep(() => rule.hits, () => {
      this.#disk.remove(rule);
      undo();
    });
  }

  #keep(hits: () => number, undo: () => void): Fault {
    const remove = () => {
      if (this.#taken.delete(fault)) undo();
    };
    const fault: Fault = {
      get hits() {
        return hits();
      },
      remove,
      [Symbol.dispose]: remove,
    };
    this.#taken.add(fault);
    return fault;
  }
}

function errnoOf(errno: string | number): number {
  for (let number = 1; number <= LAST_ERRNO; number++) {
    if (errno === number || errno === errnoName(number)) return number;
  }
  throw new TypeError(
    `errno is ${describe(errno)}; it must be the C name of an error, as "EIO", or its number`,
  );
}
