/**
 * Deadlines: when a caller stops waiting for an answer.
 *
 * @module
 */

import { ECANCELED, ETIMEDOUT } from "../../ffi/errno.ts";
import { describe } from "../check.ts";

/** When to stop waiting for an answer. */
export interface IoOptions {
  /** Milliseconds after which a region that has not answered gets its bit, with `ETIMEDOUT`. */
  timeout?: number;
  /** At its abort, a region that has not answered gets its bit, with `ECANCELED`. */
  signal?: AbortSignal;
}

/** A deadline that was checked. */
export interface Deadline {
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The longest timer there is, in milliseconds. */
export const MAX_TIMEOUT: number = 2 ** 31 - 1;

/**
 * Checks a deadline, reading each property once.
 *
 * @param options The deadline.
 * @returns What was checked.
 * @throws {TypeError} When the signal is none.
 * @throws {RangeError} When the timeout is no time.
 */
export function checkDeadline(options: IoOptions): Deadline {
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
  return { timeout, signal };
}

/**
 * Starts the timer and listens to the signal.
 *
 * @param deadline A deadline that was checked.
 * @param expire Called once, when it has come, with `ETIMEDOUT` or `ECANCELED`.
 * @returns Ends both.
 */
export function arm({ timeout, signal }: Deadline, expire: (errno: number) => void): () => void {
  const timer = timeout === undefined ? undefined : setTimeout(() => expire(ETIMEDOUT), timeout);
  const onAbort = () => expire(ECANCELED);
  signal?.addEventListener("abort", onAbort, { once: true });
  return () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
}
