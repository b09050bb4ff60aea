/**
 * Threads of the C library, which run machine code. Threads of Deno's pool cannot be used: Deno has 32 for everything that blocks in the
 * program, and a call on one of them keeps the event loop alive.
 *
 * @module
 */

import { openLibrary } from "./library.ts";
import { PTHREAD_CREATE_DETACHED } from "./uapi.ts";

const symbols = {
  pthread_attr_init: { parameters: ["buffer" /* pthread_attr_t *attr */], result: "i32" },
  pthread_attr_setdetachstate: {
    parameters: ["buffer", /* pthread_attr_t *attr */ "i32" /* int detachstate */],
    result: "i32",
  },
  pthread_attr_setstacksize: {
    parameters: ["buffer", /* pthread_attr_t *attr */ "usize" /* size_t stacksize */],
    result: "i32",
  },
  pthread_create: {
    parameters: [
      "buffer", // pthread_t *thread
      "buffer", // const pthread_attr_t *attr
      "pointer", // void *start_routine: void *(*)(void *)
      "pointer", // void *arg
    ],
    result: "i32",
  },
} as const satisfies Deno.ForeignLibraryInterface;

type Pthread = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** At least `sizeof(pthread_attr_t)`: 56 bytes, 64 on aarch64. */
const ATTR_BYTES = 128;
/** The code needs less than a page, and the C library's data of a thread a few pages. aarch64 allows no less than 128 KiB. */
const STACK_BYTES = 256 << 10;

interface Opened {
  readonly functions: Pthread;
  readonly attr: Uint8Array<ArrayBuffer>;
}

let opened: Opened | undefined;

/** Opens the library, so that `startThread` need not. */
export function openPthread(): Opened {
  return opened ??= open();
}

/**
 * Starts a thread that nobody joins.
 *
 * @param code Its code: a `void *(*)(void *)`.
 * @param argument Its argument.
 * @returns 0, or a positive error number: `EAGAIN` when the process may have no more threads.
 */
export function startThread(code: Deno.PointerObject, argument: Deno.PointerObject): number {
  const { functions, attr } = openPthread();
  return functions.pthread_create(new Uint8Array(8), attr, code, argument);
}

function open(): Opened {
  // Before glibc 2.34 the functions were in libpthread.
  const names = ["libc.so.6", "libpthread.so.0", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"];
  const functions = openLibrary(names, symbols, "dmio needs the system's C library with POSIX threads");
  const attr = new Uint8Array(ATTR_BYTES);
  functions.pthread_attr_init(attr);
  functions.pthread_attr_setdetachstate(attr, PTHREAD_CREATE_DETACHED);
  functions.pthread_attr_setstacksize(attr, BigInt(STACK_BYTES));
  return { functions, attr };
}
