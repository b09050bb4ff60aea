/**
 * The search for a first bad block: the kernel fails a whole transfer for one, so the transfer is tried again in halves.
 *
 * @module
 */

import { EBADMSG, EILSEQ, EIO, ENODATA, ENOSPC, EREMOTEIO } from "../../ffi/errno.ts";
import type { Transfer } from "../schedule/io.ts";

// Any other error is of the device as a whole, and would come back at every place that is tried.
const MEDIUM_ERRORS = new Set([EIO, ENOSPC, ENODATA, EBADMSG, EILSEQ, EREMOTEIO]);

/** Whether an error can belong to one place of the medium. */
export function isMediumError(errno: number): boolean {
  return MEDIUM_ERRORS.has(errno);
}

/** Notes that the requested bytes hold a bad block. @returns Whether they are more than one block, so that halving them goes on. */
export function searchesOn(transfer: Transfer, errno: number): boolean {
  if (transfer.offset + transfer.requested <= nextBlock(transfer)) return false;
  if (transfer.suspect === 0) transfer.cause = errno;
  transfer.suspect = transfer.offset + transfer.requested;
  return true;
}

/** Moves a transfer forward. When all suspect bytes were transferred, none is suspect any more. */
export function moved(transfer: Transfer, bytes: number): void {
  transfer.offset += bytes;
  if (transfer.offset >= transfer.suspect) transfer.suspect = 0;
}

/** How many bytes to request next: all that is left, or half of the suspect bytes, up to a block's border. */
export function nextLength(transfer: Transfer): number {
  const { offset, end, suspect, block } = transfer;
  if (suspect === 0) return end - offset;
  // A short transfer may have ended within a block.
  const middle = Math.floor((offset + suspect) / 2 / block) * block;
  return Math.min(Math.max(middle, nextBlock(transfer)), end) - offset;
}

function nextBlock({ offset, block }: Transfer): number {
  return (Math.floor(offset / block) + 1) * block;
}
