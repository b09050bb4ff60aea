/**
 * `dm_io`, the only function of today's dm-io (drivers/md/dm-io.c), and its `struct dm_io_request` (include/linux/dm-io.h): a thin layer on
 * a client.
 *
 * @module
 */

import { EIO } from "../ffi/errno.ts";
import { checkObject, describe } from "./check.ts";
import { IoClient } from "./client.ts";
import { checkErrorBits, dmIoClient, named } from "./dm_io.ts";
import type { IoMemory } from "./memory/memory.ts";
import { operationOf, REQ_OP_DISCARD, REQ_OP_FLUSH, REQ_OP_READ, REQ_OP_WRITE } from "./op/operations.ts";
import { checkOptions, type WriteOptions } from "./request/options.ts";
import type { IoRegion } from "./request/region.ts";
import type { IoNotifyFn } from "./request/request.ts";
import type { Operation } from "./schedule/io.ts";

/** A hint that a program waits for the answer. It changes nothing here: a program waits for all I/O. */
export const REQ_SYNC = 1 << 11;
/** The data of a write is on the medium when the write is answered. */
export const REQ_FUA = 1 << 17;
/** The device of a region is flushed before the region's data is written. */
export const REQ_PREFLUSH = 1 << 18;

const REQ_OP_MASK = 0xff;

/** A request of {@linkcode dmIo} (`struct dm_io_request`). */
export interface DmIoRequest<C = unknown> {
  /** An operation, `REQ_OP_READ` to `REQ_OP_WRITE_ZEROES`, with flags: `REQ_PREFLUSH`, `REQ_FUA`, `REQ_SYNC`. */
  readonly opf: number;
  /** The memory of a read or a write; the other operations have none. */
  readonly mem?: IoMemory;
  /** `fn` is called once with the error bits and `context`, after `dmIo` has returned. Without `notify`, `dmIo` waits. */
  readonly notify?: { readonly fn: IoNotifyFn<C>; readonly context: C };
  /** The client, from {@linkcode dmIoClientCreate}. Default: the one of {@linkcode dmIoGet}. */
  readonly client?: IoClient;
  /** The I/O priority of a read or a write, from {@linkcode IOPRIO_PRIO_VALUE}. Default: the process's. */
  readonly ioprio?: number;
}

/**
 * Makes a client for {@linkcode dmIo} (`dm_io_client_create`).
 *
 * @param pages Pages of its pool. Default: 1024.
 * @returns The client.
 * @throws {RangeError} When `pages` is no count.
 * @throws {SystemError} When the system lacks memory or file descriptors. The message says what to do.
 *
 * @example
 * ```ts
 * import { dmIoClientCreate, dmIoClientDestroy } from "@dmio/dmio";
 *
 * const client = dmIoClientCreate(64);
 * console.log(client.pool.pages); // 64
 * await dmIoClientDestroy(client);
 * ```
 */
export function dmIoClientCreate(pages: number = 1024): IoClient {
  return new IoClient({ pages });
}

/**
 * Closes a client (`dm_io_client_destroy`).
 *
 * @param client The client.
 * @returns Resolves when all its requests are answered and everything is freed.
 * @throws {TypeError} When `client` is no client.
 *
 * @example
 * ```ts
 * import { dmIoClientCreate, dmIoClientDestroy } from "@dmio/dmio";
 *
 * const client = dmIoClientCreate();
 * await dmIoClientDestroy(client);
 * console.log(client.closed); // true
 * ```
 */
export function dmIoClientDestroy(client: IoClient): Promise<void> {
  assertClient(client);
  return client.close();
}

/**
 * Carries out one operation on one or more regions (`dm_io`).
 *
 * @param request The operation, its memory, its callback, its client and its I/O priority.
 * @param numRegions How many of `where`, 1 to 64.
 * @param where The regions. A region of 0 sectors is skipped, unless the request flushes.
 * @param syncErrorBits Element 0 is set when the call waits: bit `i` when region `i` failed. May be null.
 * @returns 0 when all regions succeeded, or when the request was accepted; -5 (`-EIO`) when any bit is set, and for a read of more than one
 * region: nothing is read, and `notify.fn` gets `1n`.
 * @throws {TypeError | RangeError | SystemError} Before any I/O, for what the caller got wrong: see {@linkcode IoClient.write}.
 *
 * @example
 * ```ts
 * import { BlockDevice, dmIo, dmIoClientCreate, dmIoClientDestroy, REQ_FUA, REQ_OP_WRITE, REQ_PREFLUSH } from "@dmio/dmio";
 *
 * const client = dmIoClientCreate();
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * const errorBits = new BigUint64Array(1);
 * const request = { opf: REQ_OP_WRITE | REQ_PREFLUSH | REQ_FUA, mem: new Uint8Array(4096), client };
 * console.log(dmIo(request, 1, [{ bdev: device, sector: 0, count: 8 }], errorBits)); // 0
 * await dmIoClientDestroy(client);
 * ```
 */
export function dmIo<C = unknown>(
  request: DmIoRequest<C>,
  numRegions: number,
  where: readonly IoRegion[],
  syncErrorBits: BigUint64Array | null = null,
): number {
  checkObject("request", request, "{ opf, mem, notify, client, ioprio }");
  const { opf, mem, notify, client: given, ioprio } = request;
  const { number, op, options } = parse(opf, ioprio);
  const client = given === undefined ? dmIoClient() : given;
  assertClient(client);
  const regions = named(numRegions, where);
  if (op.data && mem === undefined) throw new TypeError(`request.mem is left out; a ${op.name} needs memory`);
  if (!op.data && mem !== undefined) {
    throw new TypeError(`request.mem is ${describe(mem)}; a ${op.name} takes no memory`);
  }
  const refused = regions.length > op.mostRegions;
  if (notify !== undefined) {
    if (typeof notify !== "object" || notify === null || typeof notify.fn !== "function") {
      throw new TypeError(`request.notify is ${describe(notify)}; it must be { fn, context }`);
    }
    const { fn, context } = notify;
    if (refused) queueMicrotask(() => fn(1n, context));
    else client.notify(number, regions, mem ?? null, fn, context, options);
    return refused ? -EIO : 0;
  }
  checkErrorBits("syncErrorBits", syncErrorBits);
  const bits = refused ? 1n : wait(client, number, regions, mem, options);
  if (syncErrorBits !== null) syncErrorBits[0] = bits;
  return bits === 0n ? 0 : -EIO;
}

function wait(
  client: IoClient,
  number: number,
  regions: readonly IoRegion[],
  mem: IoMemory | undefined,
  options: WriteOptions,
): bigint {
  switch (number) {
    case REQ_OP_READ:
      return client.readSync(regions[0]!, mem!, options).errorBits;
    case REQ_OP_WRITE:
      return client.writeSync(regions, mem!, options).errorBits;
    case REQ_OP_FLUSH:
      return client.flushSync(regions).errorBits;
    case REQ_OP_DISCARD:
      return client.discardSync(regions).errorBits;
    default:
      return client.writeZeroesSync(regions).errorBits;
  }
}

interface Parsed {
  readonly number: number;
  readonly op: Operation;
  readonly options: WriteOptions;
}

function parse(opf: number, ioprio: number | undefined): Parsed {
  if (!Number.isSafeInteger(opf) || opf < 0) {
    throw new TypeError(`request.opf is ${describe(opf)}; it must be a REQ_OP_ number with REQ_ flags`);
  }
  const number = opf & REQ_OP_MASK;
  const op = operationOf(number, "the operation of request.opf");
  const known = REQ_OP_MASK | REQ_SYNC | REQ_FUA | REQ_PREFLUSH;
  if (opf > known || (opf & ~known) !== 0) {
    throw new RangeError(
      `request.opf is 0x${opf.toString(16)}; of the flags it may have REQ_SYNC, REQ_FUA and REQ_PREFLUSH`,
    );
  }
  const options: WriteOptions = {};
  if ((opf & REQ_FUA) !== 0) options.fua = true;
  if ((opf & REQ_PREFLUSH) !== 0) options.preflush = true;
  if (ioprio !== undefined) options.ioprio = ioprio;
  checkOptions(options, op);
  return { number, op, options };
}

function assertClient(client: IoClient): void {
  if (!(client instanceof IoClient)) {
    throw new TypeError(`client is ${describe(client)}; it must be an IoClient, from dmIoClientCreate`);
  }
}
