/**
 * The functions of the kernel's dm-io (drivers/md/dm-io.c, include/linux/dm-io.h), a thin layer on one client.
 *
 * @module
 */

import { EIO } from "../ffi/errno.ts";
import { IoClient } from "./client.ts";
import type { BioVec, IoMemory, PageList } from "./memory/memory.ts";
import { checkInteger, describe } from "./check.ts";
import { operationOf, READ, WRITE } from "./op/operations.ts";
import type { IoRegion } from "./request/region.ts";
import { MAX_REGIONS, type Operation } from "./schedule/io.ts";
import type { IoNotifyFn } from "./request/request.ts";

let client: IoClient | null = null;

/**
 * Adds pages to the pool (`dm_io_get`). The first call makes the pool; the other functions throw before it. The pool holds the sum of all
 * calls.
 *
 * @param numPages Pages to add, at least 1.
 * @throws {RangeError} When `numPages` is no count.
 * @throws {SystemError} When the system lacks memory or file descriptors. The message says what to do.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoSyncVm, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const errorBits = new BigUint64Array(1);
 * dmIoSyncVm(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, new Uint8Array(4096), errorBits);
 * dmIoPut(256);
 * ```
 */
export function dmIoGet(numPages: number): void {
  checkInteger("numPages", numPages, 1, Number.MAX_SAFE_INTEGER);
  if (client === null || client.closed) client = new IoClient({ pages: numPages });
  else client.pool.get(numPages);
}

/**
 * Removes pages from the pool (`dm_io_put`). With the last page, the pool and the engine are freed once all requests are done.
 *
 * @param numPages Pages to remove, at least 1.
 * @throws {RangeError} For more pages than the pool holds.
 * @throws {Error} Without a `dmIoGet` before.
 *
 * @example
 * ```ts
 * import { dmIoClient, dmIoGet, dmIoPut } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * dmIoGet(64);
 * dmIoPut(64);
 * console.log(dmIoClient().pool.pages); // 256
 * dmIoPut(256);
 * ```
 */
export function dmIoPut(numPages: number): void {
  const { pool } = dmIoClient();
  checkInteger("numPages", numPages, 1, pool.pages, "the pages of the pool");
  if (numPages < pool.pages) {
    pool.put(numPages);
    return;
  }
  void client!.close();
  client = null;
}

/**
 * The client under these functions, for its pool and its features.
 *
 * @returns The client.
 * @throws {Error} Without a `dmIoGet` before.
 *
 * @example
 * ```ts
 * import { dmIoClient, dmIoGet, dmIoPut } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * console.log(dmIoClient().features.engine); // "io_uring" or "threads"
 * dmIoPut(256);
 * ```
 */
export function dmIoClient(): IoClient {
  if (client === null) {
    throw new Error("there is no pool: call dmIoGet(pages) before any other dm-io function");
  }
  return client;
}

/**
 * Reads one region into, or writes one or more regions from, a list of pages, and waits (`dm_io_sync`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param pageList The memory.
 * @param offset Where in the first page it begins, in bytes.
 * @param errorBits Element 0 is set: bit `i` when region `i` failed. May be null.
 * @returns 0, or -5 (`-EIO`) when any bit is set, or for a read of more than one region: then nothing is read.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong: see {@linkcode IoClient.write}.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoClient, dmIoSync, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const list = dmIoClient().pool.allocList(1);
 * const errorBits = new BigUint64Array(1);
 * dmIoSync(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, list, 0, errorBits);
 * console.log(errorBits[0]); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoSync(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  pageList: PageList,
  offset: number,
  errorBits: BigUint64Array | null,
): number {
  return sync(numRegions, where, rw, { pageList, offset }, errorBits);
}

/**
 * As {@linkcode dmIoSync}, without waiting (`dm_io_async`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param pageList The memory.
 * @param offset Where in the first page it begins, in bytes.
 * @param fn Called once with the error bits, after this has returned.
 * @param context Handed to `fn`.
 * @returns 0 when accepted; -5 (`-EIO`) for a read of more than one region: nothing is read, and `fn` gets `1n`.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong; `fn` is not called then.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoAsync, dmIoClient, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const list = dmIoClient().pool.allocList(1);
 * const { promise, resolve } = Promise.withResolvers<bigint>();
 * dmIoAsync(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, list, 0, resolve, null);
 * console.log(await promise); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoAsync<C>(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  pageList: PageList,
  offset: number,
  fn: IoNotifyFn<C>,
  context: C,
): number {
  return async(numRegions, where, rw, { pageList, offset }, fn, context);
}

/**
 * As {@linkcode dmIoSync}, with bio vectors (`dm_io_sync_bvec`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param bvecs The memory.
 * @param errorBits Element 0 is set: bit `i` when region `i` failed. May be null.
 * @returns 0 or -5 (`-EIO`), as {@linkcode dmIoSync}.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoClient, dmIoSyncBvec, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const page = dmIoClient().pool.alloc(1);
 * const errorBits = new BigUint64Array(1);
 * dmIoSyncBvec(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, [{ page, offset: 0, len: page.length }], errorBits);
 * console.log(errorBits[0]); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoSyncBvec(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  bvecs: readonly BioVec[],
  errorBits: BigUint64Array | null,
): number {
  return sync(numRegions, where, rw, { bvecs }, errorBits);
}

/**
 * As {@linkcode dmIoAsync}, with bio vectors (`dm_io_async_bvec`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param bvecs The memory.
 * @param fn Called once with the error bits, after this has returned.
 * @param context Handed to `fn`.
 * @returns 0 or -5 (`-EIO`), as {@linkcode dmIoAsync}.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong; `fn` is not called then.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoAsyncBvec, dmIoClient, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const page = dmIoClient().pool.alloc(1);
 * const { promise, resolve } = Promise.withResolvers<bigint>();
 * dmIoAsyncBvec(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, [{ page, offset: 0, len: page.length }], resolve, null);
 * console.log(await promise); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoAsyncBvec<C>(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  bvecs: readonly BioVec[],
  fn: IoNotifyFn<C>,
  context: C,
): number {
  return async(numRegions, where, rw, { bvecs }, fn, context);
}

/**
 * As {@linkcode dmIoSync}, with one contiguous buffer (`dm_io_sync_vm`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param data The memory.
 * @param errorBits Element 0 is set: bit `i` when region `i` failed. May be null.
 * @returns 0 or -5 (`-EIO`), as {@linkcode dmIoSync}.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoSyncVm, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const errorBits = new BigUint64Array(1);
 * dmIoSyncVm(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, new Uint8Array(4096), errorBits);
 * console.log(errorBits[0]); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoSyncVm(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  data: Uint8Array,
  errorBits: BigUint64Array | null,
): number {
  return sync(numRegions, where, rw, data, errorBits);
}

/**
 * As {@linkcode dmIoAsync}, with one contiguous buffer (`dm_io_async_vm`).
 *
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions.
 * @param rw `READ` or `WRITE`.
 * @param data The memory.
 * @param fn Called once with the error bits, after this has returned.
 * @param context Handed to `fn`.
 * @returns 0 or -5 (`-EIO`), as {@linkcode dmIoAsync}.
 * @throws {TypeError | RangeError} Before any I/O, for what the caller got wrong; `fn` is not called then.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIoGet, dmIoPut, dmIoAsyncVm, WRITE } from "@dmio/dmio";
 *
 * dmIoGet(256);
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const { promise, resolve } = Promise.withResolvers<bigint>();
 * dmIoAsyncVm(1, [{ bdev: device, sector: 0, count: 8 }], WRITE, new Uint8Array(4096), resolve, null);
 * console.log(await promise); // 0n
 * dmIoPut(256);
 * ```
 */
export function dmIoAsyncVm<C>(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  data: Uint8Array,
  fn: IoNotifyFn<C>,
  context: C,
): number {
  return async(numRegions, where, rw, data, fn, context);
}

function sync(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  memory: IoMemory,
  errorBits: BigUint64Array | null,
): number {
  const io = dmIoClient();
  checkErrorBits("errorBits", errorBits);
  const { writes, mostRegions } = directionOf(rw);
  const regions = named(numRegions, where);
  // dm-io reads from one region only; more are refused as the kernel does, with an error and not by throwing.
  if (regions.length > mostRegions) {
    if (errorBits !== null) errorBits[0] = 1n;
    return -EIO;
  }
  const result = writes ? io.writeSync(regions, memory) : io.readSync(regions[0]!, memory);
  if (errorBits !== null) errorBits[0] = result.errorBits;
  return result.errorBits === 0n ? 0 : -EIO;
}

function async<C>(
  numRegions: number,
  where: readonly IoRegion[],
  rw: number,
  memory: IoMemory,
  fn: IoNotifyFn<C>,
  context: C,
): number {
  const io = dmIoClient();
  const { mostRegions } = directionOf(rw);
  const regions = named(numRegions, where);
  if (regions.length > mostRegions) {
    if (typeof fn !== "function") throw new TypeError(`fn is ${describe(fn)}; it must be a function`);
    queueMicrotask(() => fn(1n, context));
    return -EIO;
  }
  io.notify(rw, regions, memory, fn, context);
  return 0;
}

function directionOf(rw: number): Operation {
  if (rw === READ || rw === WRITE) return operationOf(rw, "rw");
  throw new RangeError(`rw is ${describe(rw)}; it must be READ (${READ}) or WRITE (${WRITE})`);
}

/** Checks where a function that waits puts its error bits. @throws {TypeError} When it is no `BigUint64Array` of one, and not null. */
export function checkErrorBits(name: string, errorBits: BigUint64Array | null): void {
  if (errorBits !== null && !(errorBits instanceof BigUint64Array && errorBits.length >= 1)) {
    throw new TypeError(`${name} is ${describe(errorBits)}; it must be a BigUint64Array of one, or null`);
  }
}

/** The first `numRegions` regions; the array may be longer. @throws {TypeError | RangeError} When there are not so many, or more than 64. */
export function named(numRegions: number, where: readonly IoRegion[]): readonly IoRegion[] {
  if (!Array.isArray(where)) {
    throw new TypeError(`where is ${describe(where)}; it must be an array of regions`);
  }
  const most = Math.min(where.length, MAX_REGIONS);
  if (!Number.isSafeInteger(numRegions) || numRegions < 1 || numRegions > most) {
    throw new RangeError(
      `numRegions is ${
        describe(numRegions)
      }; it must be an integer from 1 to ${MAX_REGIONS}, and where holds ${where.length} regions`,
    );
  }
  return numRegions === where.length ? where : where.slice(0, numRegions);
}
