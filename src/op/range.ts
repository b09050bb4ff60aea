/**
 * What operations without data share: an SQE that names a range of a device, and a CQE that says success or an error.
 *
 * @module
 */

import { EAGAIN, EBUSY, EINTR } from "../../ffi/errno.ts";
import { IORING_OP_FALLOCATE } from "../../ffi/uapi.ts";
import { isGone, SECTOR_SIZE } from "../device/device.ts";
import { OP_IOCTL, type Sqe } from "../engine/sqe.ts";
import { AGAIN, FAILED, type Outcome, type Transfer } from "../schedule/io.ts";

/** SQEs in a row that may complete without progress (`EAGAIN`, `EBUSY`, `EINTR`, less than a block) before the transfer fails. */
const RETRIES = 16;

/** The first byte of a transfer on its device. It is a multiple of 512, so a double holds it exactly beyond 2^53, too. */
export function firstByte({ region, offset }: Transfer): number {
  return region!.sector * SECTOR_SIZE + offset;
}

/** Empties an SQE. Its file, its flags and its user data stay. */
export function clear(sqe: Sqe): void {
  sqe.opcode =
    sqe.ioprio =
    sqe.opFlags =
    sqe.offsetLow =
    sqe.offsetHigh =
    sqe.address =
    sqe.address3 =
    sqe.length =
    sqe.bufferIndex =
      0;
  sqe.segments = null;
}

/** Sets the byte offset of an SQE to the start of a transfer. */
export function place(transfer: Transfer, sqe: Sqe): void {
  const { region, offset } = transfer;
  // A byte offset may pass 2^53, its two halves do not; a sector is a safe integer, so its low 32 bits survive the shift.
  const sector = region!.sector + Math.floor(offset / SECTOR_SIZE);
  sqe.offsetLow = ((sector << 9) | (offset % SECTOR_SIZE)) >>> 0;
  sqe.offsetHigh = Math.floor(sector / 2 ** 23);
}

/** Fills an SQE with `fallocate(2)` on the range of a transfer. */
export function fallocate(transfer: Transfer, sqe: Sqe, mode: number): void {
  clear(sqe);
  place(transfer, sqe);
  sqe.opcode = IORING_OP_FALLOCATE;
  sqe.address = transfer.requested;
  sqe.length = mode;
}

/** Fills an SQE with an `ioctl(2)` on the range of a transfer. */
export function ioctl(transfer: Transfer, sqe: Sqe, request: number): void {
  clear(sqe);
  sqe.opcode = OP_IOCTL;
  sqe.opFlags = request;
  sqe.address = firstByte(transfer);
  sqe.address3 = transfer.requested;
}

/** Whether an error says that nothing was done, and that the same SQE may succeed. */
export function passes(errno: number): boolean {
  return errno === EAGAIN || errno === EBUSY || errno === EINTR;
}

/** Counts an SQE without progress. @returns Whether the transfer may be tried again. */
export function mayRetry(transfer: Transfer): boolean {
  return ++transfer.retries <= RETRIES;
}

/** The bytes that a CQE moved and that need not be moved again. Direct I/O continues at a block. */
export function wholeBlocks(transfer: Transfer, result: number): number {
  if (result === transfer.requested || !transfer.region!.device.direct) return result;
  return result - result % transfer.block;
}

/** Takes in an error: the transfer is tried again, or fails. It is not searched for a bad block. */
export function failed(transfer: Transfer, errno: number): Outcome {
  return passes(errno) && mayRetry(transfer) ? AGAIN : ended(transfer, errno);
}

/** Fails a transfer with any error number. */
export function ended(transfer: Transfer, errno: number): Outcome {
  const region = transfer.region!;
  if (isGone(region.device)) region.gone = true;
  transfer.errno = errno;
  return FAILED;
}
