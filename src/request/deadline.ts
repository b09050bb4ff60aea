/**
 * The deadline of a request: a timer, and a listener for the signal.
 *
 * @module
 */

import { ECANCELED, ETIMEDOUT } from "../../ffi/errno.ts";
import type { CheckedOptions } from "./options.ts";

// A caller's signal may override these methods. The library calls the platform's, which run no code of the caller.
const { addEventListener, removeEventListener } = EventTarget.prototype;

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
