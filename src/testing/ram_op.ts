/**
 * One operation on a disk in RAM, from its SQE to its CQE.
 *
 * @module
 */

import { EINVAL, ENOTTY, EOPNOTSUPP } from "../../ffi/errno.ts";
import {
  BLKDISCARD,
  BLKZEROOUT,
  BLOCK_URING_CMD_DISCARD,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_URING_CMD,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  RWF_DSYNC,
} from "../../ffi/uapi.ts";
import { OP_IOCTL, type Sqe } from "../engine/sqe.ts";
import { Segments } from "../memory/segments.ts";
import type { FaultOp, FaultRule, Hittable } from "./fault_rules.ts";

/** The lie of an operation: it answers success, but keeps nothing (`"lose"`) or changed bytes (`"corrupt"`). */
export type Lie = "lose" | "corrupt";

/** The engine of operations. */
export interface Carrier {
  /** Notes that a disk lets an operation go on that it held up. */
  released(): void;
}

/** An operation under way. */
export class RamOp implements Hittable {
  readonly kind: FaultOp;
  /** Its bytes on the device. */
  readonly from: number;
  readonly to: number;
  /** Whether it is a write with FUA. */
  readonly durable: boolean;
  readonly userData: number;
  readonly generation: number;
  /** When it ends at the earliest, in milliseconds of `performance.now()`. */
  due = 0;
  /** The faults that keep it from ending. */
  readonly hangs: Set<FaultRule> = new Set();
  /** The positive error number that it ends with; 0 for none. */
  errno: number;
  /** The most bytes that it moves. */
  most = Infinity;
  lie: Lie | null = null;

  readonly #segments: Segments | null;
  // Where its memory begins, in bytes from the start of the segments.
  readonly #start: number;

  /**
   * Takes what it needs from an SQE.
   *
   * @param sqe The SQE.
   * @param carrier Its engine.
   */
  constructor(sqe: Sqe, readonly carrier: Carrier) {
    const { kind, from, length, errno } = decode(sqe);
    this.kind = kind;
    this.from = from;
    this.to = from + length;
    this.errno = errno;
    this.durable = kind === "write" && (sqe.opFlags & RWF_DSYNC) !== 0;
    this.userData = sqe.userData;
    this.generation = sqe.generation;
    this.#segments = kind === "read" || kind === "write" ? sqe.segments : null;
    let start = sqe.segmentAt;
    for (let i = 0; i < sqe.segment; i++) start += sqe.segments?.length[i] ?? 0;
    this.#start = start;
  }

  /** Copies the memory of a write. @returns Null when the program detached or shrank it. */
  gather(length: number): Uint8Array<ArrayBuffer> | null {
    const bytes = new Uint8Array(length);
    return this.#segments!.copyTo(this.#start, flat(bytes), 0, length) === length ? bytes : null;
  }

  /** Fills the memory of a read. @returns Whether all of it was still there. */
  scatter(bytes: Uint8Array): boolean {
    return flat(bytes).copyTo(0, this.#segments!, this.#start, bytes.length) === bytes.length;
  }
}

function flat(bytes: Uint8Array): Segments {
  const segments = new Segments();
  segments.add(null, bytes, 0, bytes.length);
  return segments;
}

interface Decoded {
  readonly kind: FaultOp;
  readonly from: number;
  readonly length: number;
  readonly errno: number;
}

function decode(sqe: Sqe): Decoded {
  const offset = sqe.offsetHigh * 2 ** 32 + sqe.offsetLow;
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_READ_FIXED:
    case IORING_OP_READV:
      return { kind: "read", from: offset, length: sqe.bytes, errno: 0 };
    case IORING_OP_WRITE:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_WRITEV:
      return { kind: "write", from: offset, length: sqe.bytes, errno: 0 };
    case IORING_OP_FSYNC:
      return { kind: "flush", from: 0, length: 0, errno: 0 };
    case IORING_OP_FALLOCATE:
      return {
        kind: "zeroes",
        from: offset,
        length: sqe.address,
        errno: makesZeroes(sqe.length) ? 0 : EOPNOTSUPP,
      };
    case IORING_OP_URING_CMD: {
      const errno = sqe.offsetLow === BLOCK_URING_CMD_DISCARD ? 0 : EOPNOTSUPP;
      return { kind: "discard", from: sqe.address, length: sqe.address3, errno };
    }
    case OP_IOCTL: {
      const kind = sqe.opFlags === BLKZEROOUT ? "zeroes" : "discard";
      const errno = kind === "zeroes" || sqe.opFlags === BLKDISCARD ? 0 : ENOTTY;
      return { kind, from: sqe.address, length: sqe.address3, errno };
    }
    default:
      return { kind: "flush", from: 0, length: 0, errno: EINVAL };
  }
}

// A block device takes these modes of fallocate(2) alone (blkdev_fallocate in block/fops.c).
function makesZeroes(mode: number): boolean {
  return (mode & ~FALLOC_FL_KEEP_SIZE) === FALLOC_FL_ZERO_RANGE ||
    mode === (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}
