/**
 * Devices in RAM.
 *
 * @module
 */

import { checkBoolean, checkInteger, checkObject, describe } from "../check.ts";
import { type BlockDevice, deviceOfKind, SECTOR_SIZE } from "../device/device.ts";
import type { DeviceKind } from "../device/kind.ts";
import type { WriteCache } from "./disk.ts";
import { DeviceFaults } from "./faults.ts";
import { RamDisk } from "./ram_disk.ts";
import { RamEngine } from "./ram_engine.ts";

/** Options of {@linkcode ramDevice}. */
export interface RamDeviceOptions {
  /** Bytes of a logical block, a power of two from 512 to 65536: the unit of I/O, and of what a power cut leaves whole. Default: 512. */
  blockSize?: number;
  /**
   * Where a write goes first. `"volatile"`: to a cache that a power cut empties, as most disks have one; a flush, or FUA, brings the data to
   * the medium. `"none"`: to the medium. Default: `"volatile"`.
   */
  cache?: WriteCache;
  /** Whether it may be written. Default: `true`. */
  write?: boolean;
  /** Its `path`, for messages. Default: `"ram:1"`, `"ram:2"` and so on. */
  name?: string;
}

const LEAST_BLOCK = 512;
const MOST_BLOCK = 64 << 10;
/** No file descriptor of the system's is as high (`NR_OPEN`), so none can be taken for one. */
const FIRST_NUMBER = 2 ** 30;

// The disks by the number that stands for a file descriptor. A disk lives as long as one of its devices, so the references are weak.
const byNumber = new Map<number, WeakRef<RamDisk>>();
const diskOfDevice = new WeakMap<BlockDevice, RamDisk>();
const faultsOfDisk = new WeakMap<RamDisk, DeviceFaults>();
let nextNumber = FIRST_NUMBER;

const KIND: DeviceKind = {
  makeEngine: (capacity) => new RamEngine(capacity, diskOf),
  sectorsNow: (fd) => byNumber.get(fd)?.deref()?.sectorsNow ?? 0,
  // One command covers the whole device: its cost depends on the written blocks, not on the range.
  limits: (fd) => {
    const bytes = diskOf(fd).sectors * SECTOR_SIZE;
    return { discardMaxBytes: bytes, writeZeroesMaxBytes: bytes };
  },
  inspect: (fd) => factsOf(diskOf(fd)),
  sync: () => Promise.resolve(),
  close: (fd) => void byNumber.delete(fd),
};

/**
 * Makes a device in RAM for tests: a `BlockDevice` that any `IoClient` takes, alone or in one request with real devices. It is open for direct
 * I/O, reads as zeros at first, and takes memory only where it was written. {@linkcode faults} gives it faults.
 *
 * A client that names RAM devices alone needs no permission, no io_uring and no liburing.
 *
 * @param bytes Its size, a multiple of the block: up to 2^53 - 1 bytes.
 * @param options Its block size, its cache, its name.
 * @returns The device. Its data is lost when it is closed, unless {@linkcode reopen} opens its disk again.
 * @throws {TypeError | RangeError} For a wrong size or option.
 *
 * @example
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { faults, ramDevice } from "@dmio/dmio/testing";
 *
 * await using io = new IoClient({ pages: 16 });
 * await using device = ramDevice(2 ** 40, { blockSize: 4096 });
 * const region = { bdev: device, sector: 8, count: 8 };
 * const data = io.pool.alloc(1).fill(7);
 * (await io.write([region], data)).orThrow();
 * (await io.flush([device])).orThrow();
 * faults(device).powerCut(1);
 * (await io.read(region, data)).orThrow();
 * console.log(data[0]); // 7: it was flushed
 * ```
 */
export function ramDevice(bytes: number, options: RamDeviceOptions = {}): BlockDevice {
  checkObject("options", options, "{ blockSize, cache, write, name }");
  const { blockSize = LEAST_BLOCK, cache = "volatile", write = true, name } = options;
  checkInteger("options.blockSize", blockSize, LEAST_BLOCK, MOST_BLOCK);
  if ((blockSize & (blockSize - 1)) !== 0) {
    throw new RangeError(`options.blockSize is ${blockSize}; it must be a power of two`);
  }
  if (cache !== "volatile" && cache !== "none") {
    throw new TypeError(`options.cache is ${describe(cache)}; it must be "volatile" or "none"`);
  }
  checkBoolean("options.write", write);
  if (name !== undefined && typeof name !== "string") {
    throw new TypeError(`options.name is ${describe(name)}; it must be a string`);
  }
  checkInteger("bytes", bytes, blockSize, Number.MAX_SAFE_INTEGER);
  if (bytes % blockSize !== 0) {
    throw new RangeError(
      `bytes is ${bytes}; it must be a multiple of the logical block of ${blockSize} bytes`,
    );
  }
  return open(new RamDisk(bytes, blockSize, cache), write, name);
}

/**
 * Opens the disk of a RAM device again, as a program does that starts after a crash. The disk keeps its data and its faults.
 *
 * @param device A RAM device, open or closed.
 * @returns Another device of the same disk.
 * @throws {TypeError} When `device` is no RAM device.
 *
 * @example
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { faults, ramDevice, reopen } from "@dmio/dmio/testing";
 *
 * await using io = new IoClient({ pages: 16 });
 * const device = ramDevice(1 << 20);
 * const data = new Uint8Array(512).fill(7);
 * (await io.write([{ bdev: device, sector: 0, count: 1 }], data, { fua: true })).orThrow();
 * faults(device).powerCut(1);
 * await device.close();
 * await using again = reopen(device);
 * (await io.read({ bdev: again, sector: 0, count: 1 }, data)).orThrow();
 * console.log(data[0]); // 7
 * ```
 */
export function reopen(device: BlockDevice): BlockDevice {
  return open(ramDiskOf(device), device.writable, device.path);
}

/**
 * The faults of a RAM device. All devices of one disk have the same faults.
 *
 * @param device A RAM device.
 * @returns Its faults.
 * @throws {TypeError} When `device` is no RAM device.
 *
 * @example
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { faults, ramDevice } from "@dmio/dmio/testing";
 *
 * await using io = new IoClient({ pages: 16 });
 * await using device = ramDevice(1 << 20);
 * using _fault = faults(device).fail("ENOSPC", { op: "write", nth: 2 });
 * const region = { bdev: device, sector: 0, count: 1 };
 * console.log((await io.write([region], new Uint8Array(512))).ok); // true
 * console.log((await io.write([region], new Uint8Array(512))).failures); // [{ region: 0, errno: 28, code: "ENOSPC", sector: 0 }]
 * ```
 */
export function faults(device: BlockDevice): DeviceFaults {
  const disk = ramDiskOf(device);
  let found = faultsOfDisk.get(disk);
  if (found === undefined) faultsOfDisk.set(disk, found = new DeviceFaults(disk));
  return found;
}

function open(disk: RamDisk, write: boolean, name: string | undefined): BlockDevice {
  const fd = nextNumber++;
  const device = deviceOfKind({
    path: name ?? `ram:${fd - FIRST_NUMBER + 1}`,
    fd,
    writable: write,
    direct: true,
    ...factsOf(disk),
  }, KIND);
  byNumber.set(fd, new WeakRef(disk));
  diskOfDevice.set(device, disk);
  return device;
}

function factsOf({ disk, sectorsNow }: RamDisk): ReturnType<DeviceKind["inspect"]> {
  return {
    isBlockDevice: true,
    sectors: sectorsNow,
    tailBytes: 0,
    logicalBlockSize: disk.blockSize,
    physicalBlockSize: disk.blockSize,
    memoryAlignment: LEAST_BLOCK,
    readOnly: false,
    mayBlock: false,
  };
}

function ramDiskOf(device: BlockDevice): RamDisk {
  const disk = diskOfDevice.get(device);
  if (disk === undefined) {
    throw new TypeError(`device is ${describe(device)}; it must be one that ramDevice made`);
  }
  return disk;
}

function diskOf(number: number): RamDisk {
  // A request holds its device, and the device its disk, until nothing of the request is in flight.
  return byNumber.get(number)!.deref()!;
}
