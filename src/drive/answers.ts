/**
 * Answers that are due, and how they are handed out: each once, by code that a throw of one caller does not keep from the next.
 *
 * @module
 */

import type { IoNotifyFn, Request, SpareRequests } from "../request/request.ts";
import { answerOf } from "../request/result.ts";
import { Histogram } from "../stats.ts";

/** A list that a burst made longer than this is given up after it. */
const MOST_KEPT = 1024;

/** The answers of one client. */
export class Answers {
  /** How long requests took. */
  readonly latency: Histogram = new Histogram();
  // Two arrays take turns, and keep their length, so that nothing is allocated for each batch.
  #due: Request[] = [];
  #delivering: Request[] = [];
  #count = 0;

  /** How many are due. */
  get due(): number {
    return this.#count;
  }

  /** Adds a request whose answer is known. */
  add(request: Request): void {
    this.#due[this.#count++] = request;
  }

  /**
   * Hands out all that are due.
   *
   * @param now The time, in milliseconds.
   * @param spare Is given those requests that are settled as well.
   * @returns How many.
   */
  deliver(now: number, spare: SpareRequests): number {
    const count = this.#count;
    if (count === 0) return 0;
    const due = this.#due;
    this.#due = this.#delivering;
    this.#delivering = due;
    this.#count = 0;
    for (let i = 0; i < count; i++) {
      const request = due[i]!;
      // A callback before it broke the client, which answered the request.
      if (request.answered) continue;
      if (request.began > 0) this.latency.add(now - request.began);
      const { resolve, fn, context } = request;
      const result = request.result ?? answerOf(request.io);
      request.answered = true;
      if (request.settled) spare.give(request);
      if (fn === null) resolve!(result);
      else call(fn, result.errorBits, context);
    }
    if (due.length > MOST_KEPT) due.length = 0;
    return count;
  }

  /** Takes out all that are due, for a client that broke. */
  takeAll(): Request[] {
    const all = this.#due.slice(0, this.#count);
    this.#count = 0;
    return all;
  }
}

/** Calls a caller's function. */
export function call(fn: IoNotifyFn<unknown>, error: bigint, context: unknown): void {
  try {
    fn(error, context);
  } catch (thrown) {
    surface(thrown);
  }
}

/** Runs code that a caller may have supplied. What it throws surfaces as uncaught, and keeps nothing else from being done. */
export function guarded(code: () => void): void {
  try {
    code();
  } catch (thrown) {
    surface(thrown);
  }
}

function surface(thrown: unknown): void {
  queueMicrotask(() => {
    throw thrown;
  });
}
