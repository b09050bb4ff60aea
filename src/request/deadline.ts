/**
 * Options of a request, and its deadline: a timer, and a listener for the signal.
 *
 * @module
 */

import { ECANCELED, ETIMEDOUT } from "../../ffi/errno.ts";
import { describe } from "../check.ts";

/** How a request is carried out, and when to stop waiting for its answer. */
export interface IoOptions {
  /**
   * Whether a transfer that failed is searched for its first bad block, by halves. Default: `true` for a read; `false` for a write,
   * which is tried once more, alone, and then reported at its first sector: a dying device gets no more work than that.
   */
  locate?: boolean;
  /**
   * Milliseconds after which a region that is not done gets its bit, with `ETIMEDOUT`. The ring is looked at first, so that I/O which
   * the device has done does not fail. When the program kept the event loop from running, the timeout is extended once by that time.
   */
  timeout?: number;
  /** At its abort, a region that is not done gets its bit, with `ECANCELED`. */
  signal?: AbortSignal;
}

/** Options that were checked. */
export interface CheckedOptions {
  readonly locate: boolean | undefined;
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The longest timer there is, in milliseconds. */
export const MAX_TIMEOUT: number = 2 ** 31 - 1;

// A caller's signal may override these members. The library calls those of the platform, which run no code of the caller.
const { addEventListener, removeEventListener } = EventTarget.prototype;
const abortedOf = Object.getOwnPropertyDescriptor(AbortSignal.prototype, "aborted")!.get!;

/**
 * Checks the options of a request, reading each property once.
 *
 * @param options The options.
 * @returns What was checked.
 * @throws {TypeError} When the signal is none, or `locate` is no boolean.
 * @throws {RangeError} When the timeout is no time.
 */
export function checkOptions(options: IoOptions): CheckedOptions {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options is ${describe(options)}; it must be { locate, timeout, signal }`);
  }
  const { locate, timeout, signal } = options;
  if (locate !== undefined && typeof locate !== "boolean") {
    throw new TypeError(`options.locate is ${describe(locate)}; it must be a boolean`);
  }
  if (timeout !== undefined && !(typeof timeout === "number" && timeout > 0 && timeout <= MAX_TIMEOUT)) {
    throw new RangeError(
      `options.timeout is ${describe(timeout)}; it must be above 0 and at most ${MAX_TIMEOUT} ms`,
    );
  }
  if (signal === undefined) return { locate, timeout, signal };
  const wrong = new TypeError(`options.signal is ${describe(signal)}; it must be an AbortSignal`);
  if (!(signal instanceof AbortSignal)) throw wrong;
  try {
    abortedOf.call(signal);
  } catch { // an object with the prototype of an AbortSignal, or a Proxy
    throw wrong;
  }
  return { locate, timeout, signal };
}

/** Whether the signal of checked options is aborted by now. */
export function isAborted({ signal }: CheckedOptions): boolean {
  return signal !== undefined && abortedOf.call(signal);
}

/** Ends a request whose deadline has come. */
export interface Judge {
  /**
   * Ends the request, or extends its deadline.
   *
   * @param errno `ETIMEDOUT` or `ECANCELED`.
   * @param late Milliseconds by which the event loop ran the timer late.
   * @returns Milliseconds by which the deadline is extended, or 0.
   */
  expire(errno: number, late: number): number;
}

/**
 * Starts the timer and listens to the signal.
 *
 * @param options Options that were checked.
 * @param judge Is called when the deadline comes.
 * @returns A function that stops the timer and removes the listener.
 */
export function arm({ timeout, signal }: CheckedOptions, judge: Judge): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wait = (milliseconds: number, forgives: boolean) => {
    const due = performance.now() + milliseconds;
    timer = setTimeout(() => {
      const more = judge.expire(ETIMEDOUT, forgives ? performance.now() - due : 0);
      if (more > 0) wait(more, false);
    }, milliseconds);
  };
  const onAbort = () => void judge.expire(ECANCELED, 0);
  if (signal !== undefined) addEventListener.call(signal, "abort", onAbort, { once: true });
  if (timeout !== undefined) wait(timeout, true);
  return () => {
    clearTimeout(timer);
    if (signal !== undefined) removeEventListener.call(signal, "abort", onAbort);
  };
}
