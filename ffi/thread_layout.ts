/**
 * The structures that JavaScript shares with the threads that make system calls. `thread_code.ts` is the code of the threads. All integers
 * are little-endian.
 *
 * @module
 */

/** `struct thread`: one thread. */
export const thread = {
  size: 64,
  /** u32, a futex: where its lane is, in bytes from `base`; 0: it is idle; {@linkcode THREAD_ENDED}. */
  lane: 0,
  /** u32: 1 when it waits for a next lane; 0 when it returns, as the JavaScript thread does after calls of its own. */
  stays: 4,
  /** u64: the address that lanes count from. */
  base: 8,
  /** `struct __kernel_timespec`: how long it waits for a lane before it ends. */
  idle_timeout: 16,
} as const;

/** `struct lane`: a ring of calls, from which any number of threads take. */
export const lane = {
  size: 640,
  /** u32: calls taken so far. */
  head: 0,
  /** u32: calls added so far. */
  tail: 64,
  /** u64 each: addresses of calls; call `n` is at place `n % LANE_CALLS`. */
  ring: 128,
} as const;

/** `struct call`: a system call. */
export const call = {
  size: 128,
  /** u64: its number. */
  number: 0,
  /** u64 each: its six arguments. */
  arguments: 8,
  /** i64: what the kernel returned: a result, or `-errno`. */
  result: 56,
  /** u64: the address of the `struct open_file` that it uses. */
  file: 64,
  /** u64: the address of the `struct queue` that it is added to when it has ended. */
  queue: 72,
  /** u32: its name in that queue, which is not 0. */
  name: 80,
  /** u32: the name of the call that ended before it; 0: none. */
  next: 84,
  /** Not used by a thread: a `struct open_file`, for a file that only this call uses. */
  own_file: 88,
  /** Not used by a thread: 16 bytes that an argument may point at. */
  scratch: 96,
  /** u32: the I/O priority as ioprio_set(2) has it; 0: the thread's own. */
  ioprio: 112,
} as const;

/** `struct open_file`: a file descriptor that is closed when nobody uses it any more. */
export const open_file = { size: 8, /** u32: its users. */ users: 0, /** i32 */ fd: 4 } as const;

/** `struct queue`: the calls of one engine that have ended. */
export const queue = {
  size: 64,
  /** u32: the name of the last call that ended, whose `next` names the call before it; 0: none. */
  top: 0,
  /** u32: the eventfd that the next call that ends signals, plus 1; 0: none. */
  signal: 4,
  /** u32: threads that add a call right now. */
  adding: 8,
  /** u64: 1, what is written to the eventfd. */
  one: 16,
} as const;

/** Calls that a lane holds. */
export const LANE_CALLS = 64;
/** The lane of a thread that has ended. */
export const THREAD_ENDED = 0xffffffff;
