/**
 * Deadlines: when a caller stops waiting for an answer.
 *
 * @module
 */

import { ECANCELED, ETIMEDOUT } from "../ffi/errno.ts";
import { describe } from "./describe.ts";

/** When to stop waiting for an answer. */
export interface IoOptions {
  /** Milliseconds after which a region that has not answered gets its bit, with `ETIMEDOUT`. */
  timeout?: number;
  /** At its abort, a region that has not answered gets its bit, with `ECANCELED`. */
  signal?: AbortSignal;
}

/** The longest timer there is, in milliseconds. */
export const MAX_TIMEOUT: number = 2 ** 31 - 1;

/**
 * Checks a deadline.
 *
 * @param options The deadline.
 * @throws {TypeError} When the signal is none.
 * @throws {RangeError} When the timeout is no time.
 */
export function checkDeadline(options: IoOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options is ${describe(options)}; it must be { timeout, signal }`);
  }
  const { timeout, signal } = options;
  if (timeout !== undefined && !(typeof timeout === "number" && timeout > 0 && timeout <= MAX_TIMEOUT)) {
    throw new RangeError(
      `options.timeout is ${describe(timeout)}; it must be above 0 and at most ${MAX_TIMEOUT} ms`,
    );
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`options.signal is ${describe(signal)}; it must be an AbortSignal`);
  }
}

/**
 * Starts the timer and listens to the signal.
 *
 * @param options A deadline that was checked.
 * @param expire Called once, when it has come, with `ETIMEDOUT` or `ECANCELED`.
 * @returns Ends both.
 */
export function arm(options: IoOptions, expire: (errno: number) => void): () => void {
  const { timeout, signal } = options;
  const timer = timeout === undefined ? undefined : setTimeout(() => expire(ETIMEDOUT), timeout);
  const onAbort = () => expire(ECANCELED);
  signal?.addEventListener("abort", onAbort, { once: true });
  return () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
}
