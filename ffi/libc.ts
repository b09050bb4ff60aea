/**
 * The functions of the C library that are used beside liburing: mapped memory, eventfd, ioctl, statx, limits.
 *
 * @module
 */

import { assertPlatform, openLibrary } from "./library.ts";

const symbols = {
  __errno_location: { parameters: [], result: "pointer" },
  sched_yield: { parameters: [], result: "i32" },
  getpagesize: { parameters: [], result: "i32" },
  sysconf: { parameters: ["i32" /* int name */], result: "i64" }, // long
  mmap: {
    parameters: [
      "pointer", // void *addr
      "usize", // size_t length
      "i32", // int prot
      "i32", // int flags
      "i32", // int fd
      "i64", // off_t offset
    ],
    result: "pointer",
  },
  munmap: { parameters: ["pointer", /* void *addr */ "usize" /* size_t length */], result: "i32" },
  madvise: {
    parameters: [
      "pointer", // void *addr
      "usize", // size_t length
      "i32", // int advice
    ],
    result: "i32",
  },
  mprotect: {
    parameters: [
      "pointer", // void *addr
      "usize", // size_t len
      "i32", // int prot
    ],
    result: "i32",
  },
  // `syscall(2)` is variadic. Both architectures pass variadic arguments of these types as they pass others.
  futex: {
    name: "syscall",
    parameters: [
      "i64", // long number: SYS_futex
      "pointer", // uint32_t *uaddr
      "i32", // int futex_op
      "u32", // uint32_t val
    ],
    result: "i32", // long: threads woken
  },
  io_setup: {
    name: "syscall",
    parameters: [
      "i64", // long number: SYS_io_setup
      "u32", // unsigned nr_events
      "pointer", // aio_context_t *ctx_idp
    ],
    result: "i32", // long
  },
  io_submit: {
    name: "syscall",
    parameters: [
      "i64", // long number: SYS_io_submit
      "u64", // aio_context_t ctx_id
      "i64", // long nr
      "pointer", // struct iocb **iocbpp
    ],
    result: "i32", // long
  },
  io_getevents: {
    name: "syscall",
    parameters: [
      "i64", // long number: SYS_io_getevents
      "u64", // aio_context_t ctx_id
      "i64", // long min_nr
      "i64", // long nr
      "pointer", // struct io_event *events
      "pointer", // struct timespec *timeout
    ],
    result: "i32", // long
  },
  fcntl: { parameters: ["i32", /* int fd */ "i32", /* int op */ "i32" /* int arg */], result: "i32" },
  eventfd: { parameters: ["u32", /* unsigned initval */ "i32" /* int flags */], result: "i32" },
  open: {
    parameters: [
      "buffer", // const char *pathname
      "i32", // int flags
    ],
    result: "i32",
  },
  close: { parameters: ["i32" /* int fd */], result: "i32" },
  write: {
    parameters: [
      "i32", // int fd
      "buffer", // const void *buf
      "usize", // size_t count
    ],
    result: "i32", // ssize_t: at most 8 here
  },
  read: {
    parameters: [
      "i32", // int fd
      "buffer", // void *buf
      "usize", // size_t count
    ],
    result: "i32", // ssize_t: at most 8 here
  },
  // Blocks until the eventfd is signalled, so it runs on a thread of Deno's pool.
  readAsync: {
    name: "read",
    parameters: [
      "i32", // int fd
      "pointer", // void *buf: C memory, for the collector may move a buffer while the thread waits
      "usize", // size_t count
    ],
    result: "i32", // ssize_t: at most 8 here
    nonblocking: true,
  },
  poll: {
    parameters: [
      "buffer", // struct pollfd *fds
      "u64", // nfds_t nfds
      "i32", // int timeout, milliseconds
    ],
    result: "i32",
  },
  ppoll: {
    parameters: [
      "buffer", // struct pollfd *fds
      "u64", // nfds_t nfds
      "buffer", // const struct timespec *tmo_p
      "pointer", // const sigset_t *sigmask
    ],
    result: "i32",
  },
  ioctl: {
    parameters: [
      "i32", // int fd
      "u64", // unsigned long request
      "buffer", // char *argp
    ],
    result: "i32",
  },
  capget: {
    parameters: ["buffer", /* cap_user_header_t header */ "buffer" /* cap_user_data_t data */],
    result: "i32",
  },
  // For a request that waits for the device. A thread of Deno's pool makes the call, and its `errno` cannot be read here.
  ioctlAsync: {
    name: "ioctl",
    parameters: [
      "i32", // int fd
      "u64", // unsigned long request
      "pointer", // char *argp
    ],
    result: "i32",
    nonblocking: true,
  },
  statx: {
    parameters: [
      "i32", // int dirfd
      "buffer", // const char *pathname
      "i32", // int flags
      "u32", // unsigned mask
      "buffer", // struct statx *statxbuf
    ],
    result: "i32",
  },
  fstatfs: { parameters: ["i32", /* int fd */ "buffer" /* struct statfs *buf */], result: "i32" },
  getrlimit: { parameters: ["i32", /* int resource */ "buffer" /* struct rlimit *rlim */], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type Libc = Deno.DynamicLibrary<typeof symbols>["symbols"];

let opened: Libc | undefined;

/**
 * The C library, opened on first use.
 *
 * @returns Its functions.
 * @throws {Error} When this is not 64-bit Linux, or no C library loads.
 */
export function libc(): Libc {
  if (opened !== undefined) return opened;
  assertPlatform();
  return opened = openLibrary(
    ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"],
    symbols,
    "dmio needs the system's C library (glibc 2.28 or musl 1.2.4 and later)",
  );
}

/**
 * `errno` of the last C library call on this thread.
 *
 * @returns The positive error number. Nothing else may run between the call and this.
 */
export function errno(): number {
  const location = libc().__errno_location();
  return location === null ? 0 : new Deno.UnsafePointerView(location).getInt32();
}
