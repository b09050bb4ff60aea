/**
 * dmio: the Linux kernel's dm-io service in user space, over io_uring.
 *
 * Read from one region of a block device, or write one buffer to up to 64 regions on different devices at once, and learn for each
 * region whether it got there. New code uses {@linkcode IoClient}; the functions of the kernel's service are there by their names.
 *
 * Needs 64-bit Linux 5.10 or later, liburing 2.3 or later, and `--allow-ffi`, with `--allow-read` and `--allow-write` for the
 * devices. Nothing is opened before its first use.
 *
 * @example
 * ```ts
 * import { BlockDevice, IoClient } from "@dmio/dmio";
 *
 * await using io = new IoClient();
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const data = io.pool.alloc(2).fill(7);
 * const { errorBits } = await io.write([{ bdev: device, sector: 0, count: 16 }], data);
 * console.log(errorBits); // 0n: all of it is there
 * ```
 *
 * @module
 */

export { pageSize } from "./ffi/memory.ts";
export { SystemError } from "./ffi/errno.ts";
export type { DeviceFacts } from "./src/device/facts.ts";
export { BlockDevice, type OpenDevice, type OpenOptions, SECTOR_SIZE } from "./src/device/device.ts";
export type { IoRegion } from "./src/request/region.ts";
export { MAX_REGIONS } from "./src/schedule/io.ts";
export { READ, WRITE } from "./src/op/operations.ts";
export type { BioVec, IoMemory, Page, PageList } from "./src/memory/memory.ts";
export { IoError, type IoFailure, IoResult } from "./src/request/result.ts";
export type { IoNotifyFn } from "./src/request/request.ts";
export type { IoStats, LatencySummary, SchedulerCounters } from "./src/stats.ts";
export type { IoOptions } from "./src/request/deadline.ts";
export type { Pool } from "./src/pool/pool.ts";
export type { EngineFeatures } from "./src/engine/features.ts";
export { DmioFault } from "./src/fault.ts";
export { type CloseOptions, IoClient, type IoClientOptions } from "./src/client.ts";
export {
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoClient,
  dmIoGet,
  dmIoPut,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
} from "./src/dm_io.ts";
