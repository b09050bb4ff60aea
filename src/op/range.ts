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
export const RETRIES = 16;

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

/** Takes in an error: the transfer is tried again, or fails. It is not searched for a bad block. */
export function failed(transfer: Transfer, errno: number): Outcome {
  const again = errno === EAGAIN || errno === EBUSY || errno === EINTR;
  if (again && ++transfer.retries <= RETRIES) return AGAIN;
  return ended(transfer, errno);
}

/** Fails a transfer with any error number. */
export function ended(transfer: Transfer, errno: number): Outcome {
  const region = transfer.region!;
  if (isGone(region.device)) region.gone = true;
  transfer.errno = errno;
  return FAILED;
}
