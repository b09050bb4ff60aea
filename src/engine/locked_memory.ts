/**
 * Locked memory: what the rings of this isolate hold of `RLIMIT_MEMLOCK`, and how long what they gave up stays charged.
 *
 * The kernel counts it for a user over all processes, and gives back what a closed ring held later than `io_uring_queue_exit`
 * returns: after tens of milliseconds as a rule, after seconds on Linux 6.1.
 *
 * @module
 */

import { ENOMEM } from "../../ffi/errno.ts";
import { rlimit } from "../../ffi/layout.ts";
import { libc } from "../../ffi/libc.ts";
import { RLIMIT_MEMLOCK } from "../../ffi/uapi.ts";

/** How long after memory was given up the kernel may still charge it, in milliseconds. */
const CHARGED_MS = 4000;
/** How long after the start of an isolate it may charge what an earlier one held (`deno run --watch` restarts), in milliseconds. */
const EARLIER_MS = 1000;
/** The longest pause between two tries, in milliseconds. */
const LONGEST_PAUSE_MS = 32;

let held = 0;
// By `performance.now()`, which counts from the isolate's start.
let chargedUntil = EARLIER_MS;

/**
 * Asks the kernel for locked memory. When it refuses although the limit has room for it beside what this isolate holds, it is asked
 * again, while it may still charge what was given up; the thread sleeps between the tries.
 *
 * @param bytes How much the call locks.
 * @param call Asks once. @returns `-errno`, or what is not negative.
 * @returns The last answer.
 */
export function lockMemory(bytes: number, call: () => number): number {
  let answer = call();
  if (answer === -ENOMEM && held + bytes <= memlockLimit()) {
    for (let pause = 1; answer === -ENOMEM && performance.now() < chargedUntil; pause *= 2) {
      libc().poll(null, 0n, Math.min(pause, LONGEST_PAUSE_MS));
      answer = call();
    }
  }
  if (answer >= 0) held += bytes;
  return answer;
}

/** Notes that memory of a `lockMemory` was given up. */
export function unlockMemory(bytes: number): void {
  if (bytes === 0) return;
  held -= bytes;
  chargedUntil = performance.now() + CHARGED_MS;
}

/** `RLIMIT_MEMLOCK` of this process in bytes; `Infinity` when there is no limit. */
export function memlockLimit(): number {
  const limit = new DataView(new ArrayBuffer(rlimit.size));
  libc().getrlimit(RLIMIT_MEMLOCK, new Uint8Array(limit.buffer));
  const high = limit.getUint32(rlimit.rlim_cur + 4, true);
  const low = limit.getUint32(rlimit.rlim_cur, true);
  return high === 0xffffffff ? Infinity : high * 2 ** 32 + low;
}
