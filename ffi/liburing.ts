/**
 * The system's liburing (2.3 and later). The functions that its header inlines are not in it; src/engine/ does their work.
 *
 * @module
 */

import { assertPlatform, openLibrary } from "./library.ts";

const symbols = {
  io_uring_queue_init_params: {
    parameters: [
      "u32", // unsigned entries
      "pointer", // struct io_uring *ring
      "pointer", // struct io_uring_params *p
    ],
    result: "i32",
  },
  io_uring_queue_exit: { parameters: ["pointer" /* struct io_uring *ring */], result: "void" },
  io_uring_enter: {
    parameters: [
      "i32", // unsigned int fd
      "u32", // unsigned int to_submit
      "u32", // unsigned int min_complete
      "u32", // unsigned int flags
      "pointer", // sigset_t *sig
    ],
    result: "i32",
  },
  io_uring_enter2: {
    parameters: [
      "i32", // unsigned int fd
      "u32", // unsigned int to_submit
      "u32", // unsigned int min_complete
      "u32", // unsigned int flags
      "pointer", // sigset_t *sig, or struct io_uring_getevents_arg *
      "usize", // size_t sz
    ],
    result: "i32",
  },
  io_uring_register: {
    parameters: [
      "i32", // unsigned int fd
      "u32", // unsigned int opcode
      "pointer", // const void *arg
      "u32", // unsigned int nr_args
    ],
    result: "i32",
  },
  io_uring_register_iowq_max_workers: {
    parameters: ["pointer", /* struct io_uring *ring */ "pointer" /* unsigned int *values */],
    result: "i32",
  },
  io_uring_register_eventfd: {
    parameters: ["pointer", /* struct io_uring *ring */ "i32" /* int fd */],
    result: "i32",
  },
  io_uring_register_buffers_sparse: {
    parameters: ["pointer", /* struct io_uring *ring */ "u32" /* unsigned nr */],
    result: "i32",
  },
  io_uring_register_buffers_update_tag: {
    parameters: [
      "pointer", // struct io_uring *ring
      "u32", // unsigned off
      "pointer", // const struct iovec *iovecs
      "pointer", // const __u64 *tags
      "u32", // unsigned nr
    ],
    result: "i32",
  },
  io_uring_register_files_sparse: {
    parameters: ["pointer", /* struct io_uring *ring */ "u32" /* unsigned nr */],
    result: "i32",
  },
  io_uring_register_files_update: {
    parameters: [
      "pointer", // struct io_uring *ring
      "u32", // unsigned off
      "pointer", // const int *files
      "u32", // unsigned nr_files
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

type Liburing = Deno.DynamicLibrary<typeof symbols>["symbols"];

const ADVICE =
  `Install liburing 2.3 or later, or name its file in LIBURING_PATH (and pass --allow-env=LIBURING_PATH):
  Debian, Ubuntu:  apt-get install liburing2
  Fedora:          dnf install liburing
  Arch:            pacman -S liburing
  Alpine:          apk add liburing`;

const UNREAD =
  "LIBURING_PATH could not be read without --allow-env=LIBURING_PATH; if it is set, it was not tried.\n";

let opened: Liburing | undefined;

/**
 * liburing, opened on first use: `LIBURING_PATH` if that is set and may be read, then the system's names.
 *
 * @returns Its functions.
 * @throws {Error} When this is not 64-bit Linux, or no liburing loads: what was tried, why each failed, what to install; and whether
 * `LIBURING_PATH` could not be read.
 */
export function liburing(): Liburing {
  if (opened !== undefined) return opened;
  assertPlatform();
  // The variable is optional, so a program without --allow-env must neither fail nor see a permission prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: "LIBURING_PATH" });
  const granted = state === "granted";
  const path = granted ? Deno.env.get("LIBURING_PATH") : undefined;
  const names = [...(path ? [path] : []), "liburing.so.2", "liburing.so"];
  return opened = openLibrary(names, symbols, granted ? ADVICE : UNREAD + ADVICE);
}
