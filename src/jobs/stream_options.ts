/**
 * Options of streams, and the blocks that transfers of a stream are multiples of.
 *
 * @module
 */

import { checkBoolean, checkInteger, describe } from "../check.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import { arm } from "../request/deadline.ts";
import { type CheckedOptions, checkOptions, type IoOptions } from "../request/options.ts";
import { checkRegions, type IoRegion } from "../request/region.ts";
import { write } from "../op/write.ts";
import type { Operation } from "../schedule/io.ts";

/**
 * Options of {@linkcode IoClient.readable}. `timeout` counts for each transfer by itself. When `signal` aborts, the stream errors with the
 * signal's reason.
 */
export interface StreamOptions extends IoOptions {
  /**
   * Bytes of one transfer, a multiple of 512 and of the logical blocks of direct devices. Where the pool has few pages, transfers are
   * shorter. Default: 64 KiB.
   */
  chunk?: number;
}

/** Options of {@linkcode IoClient.writable}. */
export interface WritableOptions extends StreamOptions {
  /**
   * What happens when a region fails. `"abort"`, the default: the stream errors with an `IoError`. `"continue"`: the region drops out, the
   * other regions go on, and the stream errors when all regions have failed. `result` names the regions that failed.
   */
  onFailure?: "abort" | "continue";
  /** Whether closing the stream flushes the devices, so that all its data is on the medium then. Default: `true`. */
  flush?: boolean;
}

/** Options of a stream that were checked. */
export interface StreamSettings {
  readonly chunk: number;
  /** The options of each transfer. */
  readonly each: CheckedOptions;
}

/** Options of a stream that writes, checked. */
export interface WritableSettings extends StreamSettings {
  readonly onFailure: "abort" | "continue";
  readonly flush: boolean;
}

/** The default `chunk`: long enough that the fixed cost of a chunk is small compared with the copy of its bytes. */
const CHUNK = 64 * 1024;
/** The longest chunk: each read of a default reader allocates as many bytes. */
const MOST_CHUNK = 2 ** 30;

/**
 * Checks the options of a stream, reading each property once.
 *
 * @param options The options.
 * @param op The operation of its transfers.
 * @param block Bytes of the longest block; a transfer is a multiple of it.
 * @returns The checked options.
 * @throws {TypeError | RangeError | SystemError} For a wrong option.
 */
export function checkStreamOptions(options: StreamOptions, op: Operation, block: number): StreamSettings {
  const each = checkOptions(options, op);
  const { chunk = Math.ceil(CHUNK / block) * block } = options;
  checkInteger("options.chunk", chunk, block, MOST_CHUNK);
  if (chunk % block !== 0) {
    throw new RangeError(
      `options.chunk is ${chunk}; it must be a multiple of ${block} bytes, the longest block here`,
    );
  }
  return { chunk, each };
}

/** As {@linkcode checkStreamOptions}, for a stream that writes. */
export function checkWritableOptions(options: WritableOptions, block: number): WritableSettings {
  const settings = checkStreamOptions(options, write, block);
  const { onFailure = "abort", flush = true } = options;
  if (onFailure !== "abort" && onFailure !== "continue") {
    throw new TypeError(`options.onFailure is ${describe(onFailure)}; it must be "abort" or "continue"`);
  }
  checkBoolean("options.flush", flush);
  return { ...settings, onFailure, flush };
}

/**
 * Checks the regions of a stream.
 *
 * @param regions The regions.
 * @param op The operation of the stream's transfers.
 * @returns A copy of them.
 * @throws {TypeError | RangeError} As `IoClient.read` and `IoClient.write`.
 */
export function checkedRegions(regions: readonly IoRegion[], op: Operation): IoRegion[] {
  const copy: IoRegion[] = [];
  checkRegions(regions, op, { addRegion: (bdev, sector, count) => copy.push({ bdev, sector, count }) });
  return copy;
}

/** Bytes of the unit of I/O to a region: the logical block of a direct device, or a sector. */
export function blockOf({ bdev }: IoRegion): number {
  return bdev.direct ? Math.max(bdev.logicalBlockSize, SECTOR_SIZE) : SECTOR_SIZE;
}

/** Bytes of the longest unit of I/O to some regions. Each unit is a power of two, so it divides the longest one. */
export function longestBlock(regions: readonly IoRegion[]): number {
  return Math.max(...regions.map(blockOf));
}

const reason = Object.getOwnPropertyDescriptor(AbortSignal.prototype, "reason")!.get!;

/** The reason of a signal's abort, by the platform's own getter, as a caller's signal may override it. */
export function reasonOf({ signal }: CheckedOptions): unknown {
  return reason.call(signal);
}

/**
 * Listens for the abort of the signal.
 *
 * @param options Options that were checked.
 * @param aborted Is called with the reason.
 * @returns A function that removes the listener.
 */
export function onAbort(options: CheckedOptions, aborted: (reason: unknown) => void): () => void {
  const { signal } = options;
  if (signal === undefined) return () => {};
  const expire = () => {
    aborted(reasonOf(options));
    return 0;
  };
  return arm({ ...options, timeout: undefined }, { expire });
}
