/**
 * Times of the kernel (`struct __kernel_timespec`).
 *
 * @module
 */

import { __kernel_timespec } from "./layout.ts";

/**
 * Writes a time.
 *
 * @param view The memory.
 * @param at The offset of the structure in the memory, in bytes.
 * @param microseconds The time; a fraction of a nanosecond is rounded up.
 */
export function setTimespec(view: DataView, at: number, microseconds: number): void {
  const seconds = Math.floor(microseconds / 1e6);
  const nanoseconds = Math.ceil((microseconds - seconds * 1e6) * 1000);
  view.setBigInt64(at + __kernel_timespec.tv_sec, BigInt(seconds), true);
  view.setBigInt64(at + __kernel_timespec.tv_nsec, BigInt(nanoseconds), true);
}
