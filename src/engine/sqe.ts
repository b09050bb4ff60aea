/**
 * One SQE, as the scheduler fills it.
 *
 * @module
 */

/** The fields of a `struct io_uring_sqe`: a reused, mutable record, so that filling one allocates nothing. */
export class Sqe {
  /** An `IORING_OP_*` constant. */
  opcode = 0;
  /** `IOSQE_*` flags. */
  flags = 0;
  /** The file descriptor, or its place in the table of files with `IOSQE_FIXED_FILE`. */
  fd = 0;
  /** Bits 0 to 31 of the byte offset on the device. */
  offsetLow = 0;
  /** Bits 32 to 63 of it. */
  offsetHigh = 0;
  /** Address of the memory, exact as a double (Linux keeps user addresses below 2^56; V8 below 2^47). */
  address = 0;
  /** Bytes, or how many iovecs lie at `address`. */
  length = 0;
  /** The place of the registered buffer that holds the memory, for the `_FIXED` opcodes; otherwise 0. */
  bufferIndex = 0;
  /** The low half of `user_data`; comes back in the CQE. */
  userData = 0;
  /** The high half of `user_data`; comes back in the CQE. */
  generation = 0;
}
