/**
 * The SQE as a record: one operation on its way to the kernel.
 *
 * @module
 */

import type { Segments } from "../memory/segments.ts";

/**
 * The opcode of an `ioctl(2)` on a range of bytes. io_uring has none for it, so an engine makes the call on a thread. `opFlags` is the request
 * (`BLKDISCARD`, `BLKZEROOUT`), `address` the first byte, `address3` the number of bytes.
 */
export const OP_IOCTL = 256;

/**
 * The fields of a `struct io_uring_sqe` (io_uring_enter(2)). A scheduler owns one, fills it for each operation and hands it to
 * {@linkcode Engine.push}, which copies it; so an SQE costs no object. Each field is a non-negative number.
 */
export class Sqe {
  /** An `IORING_OP_*` constant, 8 bits, or {@linkcode OP_IOCTL}. */
  opcode = 0;
  /** `IOSQE_*` bits: `IOSQE_FIXED_FILE`, and `IOSQE_ASYNC` for a file that could block the submitting thread; 8 bits. */
  flags = 0;
  /** The I/O priority as ioprio_set(2) has it, of reads and writes; 0: the process's; 16 bits. */
  ioprio = 0;
  /** The file descriptor, or its place in the table of files with `IOSQE_FIXED_FILE`; 31 bits. */
  fd = 0;
  /** Bits 0 to 31 of the byte offset on the device; the command of `IORING_OP_URING_CMD`. */
  offsetLow = 0;
  /** Bits 32 to 63 of the byte offset. */
  offsetHigh = 0;
  /**
   * Address of the memory, or of the iovecs, exact as a double (Linux keeps user addresses below 2^56, V8 below 2^47). The length in bytes
   * for `IORING_OP_FALLOCATE`, the first byte for `IORING_OP_URING_CMD`.
   */
  address = 0;
  /** Bytes, or the number of iovecs for `IORING_OP_READV` and `IORING_OP_WRITEV`; the mode of `IORING_OP_FALLOCATE`; 32 bits. */
  length = 0;
  /** A second 64-bit argument: the number of bytes for `IORING_OP_URING_CMD`. */
  address3 = 0;
  /** Flags of the operation: `rw_flags` (`RWF_*`) of reads and writes, `fsync_flags` of `IORING_OP_FSYNC`; 32 bits. */
  opFlags = 0;
  /** The place in the table of fixed buffers that holds the memory, for the `_FIXED` opcodes; otherwise 0; 16 bits. */
  bufferIndex = 0;
  /** The memory of a read or a write, for an engine that uses no addresses. */
  segments: Segments | null = null;
  /** The segment that holds the first byte, and where in it that is. */
  segment = 0;
  segmentAt = 0;
  /** Bytes that a read or a write moves. */
  bytes = 0;
  /** Whether the call blocks this thread until its request is done: an engine may then make the system call on this thread. */
  blocks = false;
  /** The low half of `user_data`, which comes back in the CQE; 32 bits. */
  userData = 0;
  /** The high half of `user_data`; 32 bits. */
  generation = 0;
}
