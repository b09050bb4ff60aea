/**
 * What read and write share: the SQE that moves a transfer's bytes, and what its CQE means.
 *
 * @module
 */

import { EIO } from "../../ffi/errno.ts";
import { RWF_DSYNC } from "../../ffi/uapi.ts";
import { isGone, SECTOR_SIZE } from "../device/device.ts";
import { type Engine, MAX_VECTORS } from "../engine/engine.ts";
import type { Sqe } from "../engine/sqe.ts";
import { AGAIN, DONE, FAILED, type Outcome, type RegionIo, type Transfer } from "../schedule/io.ts";
import { isMediumError, moved, nextLength, searchesOn } from "./locate.ts";
import { mayRetry, passes, place, wholeBlocks } from "./range.ts";

/** Bytes of one SQE: long enough for full speed, short enough that regions share a device and a copy stays in the CPU's cache. */
export const MOST_BYTES: number = 512 << 10;

/** A run of at least this many bytes is worth an SQE of its own, with a fixed buffer. */
const OWN_SQE = 64 << 10;

/** The opcodes of one direction. */
export interface Opcodes {
  /** For memory in a registered buffer. */
  readonly fixed: number;
  /** For one run of other memory. */
  readonly plain: number;
  /** For several runs. */
  readonly vectored: number;
}

/** The length of sectors in bytes. */
export function inBytes(sectors: number): number {
  return sectors * SECTOR_SIZE;
}

/**
 * The bytes of a region that the next SQE carries: one long run of memory, or as many short ones as an iovec array holds.
 *
 * @param region The region.
 * @param mostBytes The most bytes, unless a logical block is longer.
 */
export function nextRun(region: RegionIo, mostBytes: number = MOST_BYTES): number {
  const { length } = region.io.segments;
  const { direct, logicalBlockSize } = region.device;
  // A direct device takes whole blocks, which may be longer than one SQE's most bytes: those of ZFS have up to 16 MiB.
  const block = direct ? logicalBlockSize : 1;
  const most = Math.min(region.end - region.issued, Math.max(mostBytes, block));
  let total = length[region.segment]! - region.segmentAt;
  if (total < most && total < Math.max(OWN_SQE, block)) {
    for (let i = 1; i < MAX_VECTORS && total < most; i++) total += length[region.segment + i]!;
  }
  // A block that is longer than a page may not end where a run of pages does.
  return total >= most ? most : total - total % block;
}

/** Fills the SQE of a transfer: one run of memory by its address, several as an array of iovecs. */
export function prepData(opcodes: Opcodes, transfer: Transfer, sqe: Sqe, engine: Engine): void {
  const region = transfer.region!;
  const { segments, ioprio } = region.io;
  const { requested, segment, segmentAt } = transfer;
  sqe.opFlags = region.rwFlags;
  sqe.ioprio = ioprio;
  sqe.address3 = 0;
  sqe.segments = segments;
  sqe.segment = segment;
  sqe.segmentAt = segmentAt;
  sqe.bytes = requested;
  place(transfer, sqe);
  if (segmentAt + requested <= segments.length[segment]! && engine.features.plainOpcodes) {
    const arena = segments.arena[segment]!;
    const fixed = transfer.fixed = arena.index >= 0 && region.queue.takesFixed;
    sqe.opcode = fixed ? opcodes.fixed : opcodes.plain;
    sqe.address = arena.address + segments.at[segment]! + segmentAt;
    sqe.length = requested;
    sqe.bufferIndex = fixed ? arena.index : 0;
    return;
  }
  let left = requested;
  let from = segmentAt;
  for (let i = segment; left > 0; i++, from = 0) {
    const run = Math.min(segments.length[i]! - from, left);
    engine.vector(segments.arena[i]!.address + segments.at[i]! + from, run);
    left -= run;
  }
  transfer.fixed = false;
  sqe.opcode = opcodes.vectored;
  sqe.bufferIndex = 0;
  engine.useVectors(sqe);
}

/** Takes in a CQE: continues a short transfer, retries, or searches for the bad block. */
export function completeData(transfer: Transfer, result: number): Outcome {
  if (result === transfer.requested && transfer.suspect === 0) return DONE;
  const outcome = result > 0 ? transferred(transfer, result) : failed(transfer, -result);
  if (outcome === AGAIN) transfer.requested = nextLength(transfer);
  return outcome;
}

function transferred(transfer: Transfer, result: number): Outcome {
  const whole = wholeBlocks(transfer, result);
  if (whole === 0) return tryAgain(transfer, EIO);
  transfer.retries = 0;
  transfer.region!.io.segments.advance(transfer, whole);
  moved(transfer, whole);
  return transfer.offset >= transfer.end ? DONE : AGAIN;
}

function failed(transfer: Transfer, errno: number): Outcome {
  const region = transfer.region!;
  // Nothing transferred, without an error: the end of a device that shrank, or a write without progress.
  if (errno === 0) return fail(transfer, EIO);
  if (passes(errno)) return tryAgain(transfer, errno);
  if (!isMediumError(errno)) {
    // A device that dies during the search reports the error that started the search.
    return fail(transfer, transfer.suspect > 0 ? transfer.cause : errno);
  }
  if (isGone(region.device)) {
    region.gone = true;
    return fail(transfer, errno);
  }
  // The flush of a durable write reports once that the device's cache lost data, also of other writes. A second try would succeed and hide
  // that. No neighbour can have failed this write, as the kernel merges no FUA write (REQ_NOMERGE_FLAGS).
  if ((region.rwFlags & RWF_DSYNC) !== 0) return fail(transfer, errno);
  if (region.errno !== 0 && region.failedAt <= transfer.offset) return fail(transfer, errno);
  if (region.io.locate) return searchesOn(transfer, errno) ? AGAIN : fail(transfer, errno);
  // The kernel may have merged it with a neighbour into one command, which the neighbour failed.
  if (transfer.alone) return fail(transfer, errno);
  transfer.alone = true;
  return AGAIN;
}

function tryAgain(transfer: Transfer, errno: number): Outcome {
  return mayRetry(transfer) ? AGAIN : fail(transfer, errno);
}

function fail(transfer: Transfer, errno: number): Outcome {
  transfer.errno = errno;
  return FAILED;
}
