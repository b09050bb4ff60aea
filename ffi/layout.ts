/**
 * Sizes and byte offsets of the C structures that are read and written in memory. `tests/package/layout_test.ts` compares
 * each with what a C compiler says of liburing's and the kernel's headers.
 *
 * A name is the structure, then the field: `sqe.user_data` is `offsetof(struct io_uring_sqe, user_data)`.
 *
 * @module
 */

/** `struct io_uring` (liburing.h): the mapped rings' addresses. */
export const io_uring = {
  size: 216,
  "sq.khead": 0,
  "sq.ktail": 8,
  "sq.kflags": 32,
  "sq.array": 48,
  "sq.sqes": 56,
  "cq.khead": 104,
  "cq.ktail": 112,
  "cq.kflags": 136,
  "cq.cqes": 152,
  ring_fd: 196,
} as const;

/** `struct io_uring_params` (linux/io_uring.h). */
export const io_uring_params = { size: 120, sq_entries: 0, cq_entries: 4, flags: 8, features: 20 } as const;

/** `struct io_uring_sqe` (linux/io_uring.h), without the 128-byte form. */
export const io_uring_sqe = {
  size: 64,
  opcode: 0,
  flags: 1,
  ioprio: 2,
  fd: 4,
  off: 8,
  addr: 16,
  len: 24,
  rw_flags: 28,
  user_data: 32,
  buf_index: 40,
  file_index: 44,
  addr3: 48,
  __pad2: 56,
} as const;

/** `struct io_uring_cqe` (linux/io_uring.h). */
export const io_uring_cqe = { size: 16, user_data: 0, res: 8 } as const;

/** `struct io_uring_getevents_arg` (linux/io_uring.h): what `IORING_ENTER_EXT_ARG` passes. */
export const io_uring_getevents_arg = { size: 24, ts: 16 } as const;

/** `struct io_uring_probe` (linux/io_uring.h), and the `struct io_uring_probe_op` that follow it. */
export const io_uring_probe = { size: 16, ops_len: 1 } as const;

/** `struct io_uring_probe_op` (linux/io_uring.h). */
export const io_uring_probe_op = { size: 8, flags: 2 } as const;

/** `struct __user_cap_header_struct` (linux/capability.h). */
export const __user_cap_header_struct = { size: 8, version: 0 } as const;

/** `struct __user_cap_data_struct` (linux/capability.h). */
export const __user_cap_data_struct = { size: 12, effective: 0 } as const;

/** `struct iovec` (sys/uio.h). */
export const iovec = { size: 16, iov_base: 0, iov_len: 8 } as const;

/** `struct __kernel_timespec` (linux/time_types.h). */
export const __kernel_timespec = { size: 16, tv_sec: 0, tv_nsec: 8 } as const;

/** `struct statx` (linux/stat.h). */
export const statx = {
  size: 256,
  stx_mask: 0,
  stx_blksize: 4,
  stx_mode: 28,
  stx_ino: 32,
  stx_size: 40,
  stx_rdev_major: 128,
  stx_rdev_minor: 132,
  stx_dev_major: 136,
  stx_dev_minor: 140,
  stx_dio_mem_align: 152,
  stx_dio_offset_align: 156,
} as const;

/** `struct statfs` (sys/statfs.h). */
export const statfs = { size: 120, f_type: 0 } as const;

/** `struct pollfd` (poll.h). */
export const pollfd = { size: 8, fd: 0, events: 4 } as const;

/** `struct aiocb` (aio.h). musl's has these fields at the same offsets. */
export const aiocb = { size: 168, aio_fildes: 0, "aio_sigevent.sigev_notify": 44 } as const;

/** `struct rlimit` (sys/resource.h). */
export const rlimit = { size: 16, rlim_cur: 0, rlim_max: 8 } as const;

/** `struct iocb` (linux/aio_abi.h), on little-endian machines. */
export const iocb = {
  size: 64,
  aio_data: 0,
  aio_rw_flags: 12,
  aio_lio_opcode: 16,
  aio_reqprio: 18,
  aio_fildes: 20,
  aio_buf: 24,
  aio_nbytes: 32,
  aio_offset: 40,
  aio_flags: 56,
  aio_resfd: 60,
} as const;

/** `struct io_event` (linux/aio_abi.h). */
export const io_event = { size: 32, data: 0, res: 16 } as const;
