/**
 * Translates SQEs into system calls.
 *
 * @module
 */

import {
  BLKDISCARD,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_URING_CMD,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  SYS_fallocate,
  SYS_fdatasync,
  SYS_ioctl,
  SYS_preadv2,
  SYS_pwritev2,
} from "../../ffi/uapi.ts";
import { DmioFault } from "../fault.ts";
import { OP_IOCTL, type Sqe } from "./sqe.ts";
import type { ThreadCalls } from "./thread_calls.ts";

/** The place of `flags` among the arguments of `preadv2` and `pwritev2`. */
export const RW_FLAGS = 5;

/**
 * Fills a call with all but its file.
 *
 * @param calls The calls of an engine.
 * @param i The call.
 * @param sqe The SQE of an operation of src/op/. Reads and writes name iovecs or one run of memory.
 */
export function translate(calls: ThreadCalls, i: number, sqe: Sqe): void {
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_READV:
      return move(calls, i, sqe, SYS_preadv2);
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_WRITEV:
      return move(calls, i, sqe, SYS_pwritev2);
    case IORING_OP_FSYNC:
      return calls.setNumber(i, SYS_fdatasync);
    case IORING_OP_FALLOCATE:
      calls.setNumber(i, SYS_fallocate);
      calls.setArgument(i, 1, sqe.length);
      calls.setHalves(i, 2, sqe.offsetLow, sqe.offsetHigh);
      return calls.setArgument(i, 3, sqe.address);
    case IORING_OP_URING_CMD: // the only command is a discard
      return ioctl(calls, i, sqe, BLKDISCARD);
    case OP_IOCTL:
      return ioctl(calls, i, sqe, sqe.opFlags);
    default:
      throw new DmioFault(`there is no system call for opcode ${sqe.opcode}`);
  }
}

/** Fills a call with an `ioctl(2)` on the range of bytes that an SQE names. */
export function ioctl(calls: ThreadCalls, i: number, sqe: Sqe, request: number): void {
  calls.setNumber(i, SYS_ioctl);
  calls.setArgument(i, 1, request);
  calls.setArgument(i, 2, calls.setScratch(i, sqe.address, sqe.address3));
}

function move(calls: ThreadCalls, i: number, sqe: Sqe, number: number): void {
  const vectored = sqe.opcode === IORING_OP_READV || sqe.opcode === IORING_OP_WRITEV;
  calls.setNumber(i, number);
  calls.setArgument(i, 1, vectored ? sqe.address : calls.setScratch(i, sqe.address, sqe.length));
  calls.setArgument(i, 2, vectored ? sqe.length : 1);
  // The system call takes the offset as two longs. On 64 bits the first long holds all of it.
  calls.setHalves(i, 3, sqe.offsetLow, sqe.offsetHigh);
  calls.setArgument(i, 4, 0);
  calls.setArgument(i, RW_FLAGS, sqe.opFlags);
}
