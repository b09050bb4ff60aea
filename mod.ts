/**
 * dmio: the Linux kernel's dm-io service in user space, over io_uring, or over system calls where there is no io_uring.
 *
 * A program reads from one region of a block device, or writes one buffer to up to 64 regions on different devices at once, and learns
 * for each region whether it got there. New code uses {@linkcode IoClient}; the functions of the kernel's service keep their names.
 *
 * The library needs 64-bit Linux 5.10 or later, and `--allow-ffi` (without a path), with `--allow-read` and `--allow-write` for the
 * devices. io_uring needs liburing 2.3 or later besides. {@linkcode IoClient.features} says whether a client has a ring, and if not, why.
 * No library, ring, thread or device is opened before its first use.
 *
 * `@dmio/dmio/testing` has devices in RAM, with faults and power cuts, for the tests of programs that use this library. A client of such
 * devices alone needs no permission, no io_uring and no liburing.
 *
 * A wrong argument throws a `TypeError` or a `RangeError` before any I/O. A device's failure never throws: it is a bit of the
 * {@linkcode IoResult}, and {@linkcode IoResult.orThrow} throws for it.
 *
 * @example
 * ```ts
 * import { BlockDevice, IoClient } from "@dmio/dmio";
 *
 * await using io = new IoClient();
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const data = io.pool.alloc(2).fill(7);
 * const region = { bdev: device, sector: 0, count: data.length / 512 };
 * (await io.write([region], data)).orThrow(); // an IoError unless all of it was written
 * io.pool.free(data);
 * ```
 *
 * @module
 */

export { pageSize } from "./ffi/memory.ts";
export { SystemError } from "./ffi/errno.ts";
export type { DeviceFacts } from "./src/device/facts.ts";
export type { BlockDeviceInfo } from "./src/device/list.ts";
export type { OpenOptions } from "./src/device/open.ts";
export { BlockDevice, type OpenDevice, SECTOR_SIZE } from "./src/device/device.ts";
export type { IoRegion } from "./src/request/region.ts";
export { MAX_REGIONS } from "./src/schedule/io.ts";
export {
  READ,
  REQ_OP_DISCARD,
  REQ_OP_FLUSH,
  REQ_OP_READ,
  REQ_OP_WRITE,
  REQ_OP_WRITE_ZEROES,
  WRITE,
} from "./src/op/operations.ts";
export type { BioVec, IoMemory, Page, PageList } from "./src/memory/memory.ts";
export { IoError, type IoFailure, IoResult } from "./src/request/result.ts";
export type { IoNotifyFn } from "./src/request/request.ts";
export type { IoStats, LatencySummary, SchedulerCounters } from "./src/stats.ts";
export type { DeadlineOptions, IoOptions, WriteOptions, ZeroOptions } from "./src/request/options.ts";
export {
  IOPRIO_CLASS_BE,
  IOPRIO_CLASS_IDLE,
  IOPRIO_CLASS_RT,
  IOPRIO_PRIO_VALUE,
} from "./src/request/ioprio.ts";
export type { Pool } from "./src/pool/pool.ts";
export type { EngineChoice } from "./src/engine/choose.ts";
export type { EngineFeatures } from "./src/engine/features.ts";
export type { IoService } from "./src/service.ts";
export { DmioFault } from "./src/fault.ts";
export type { Blocking, CloseOptions, IoClientOptions } from "./src/client_options.ts";
export { IoClient } from "./src/client.ts";
export type { StreamOptions, WritableOptions } from "./src/jobs/stream_options.ts";
export { WritableResult } from "./src/jobs/outcomes.ts";
export type { RegionsWritable } from "./src/jobs/writable.ts";
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
export {
  dmIo,
  dmIoClientCreate,
  dmIoClientDestroy,
  type DmIoRequest,
  REQ_FUA,
  REQ_PREFLUSH,
  REQ_SYNC,
} from "./src/dm_io_request.ts";
