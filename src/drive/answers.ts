/**
 * Answers that are due, and their delivery: each once, and a callback that throws does not keep the next from being called.
 *
 * @module
 */

import type { IoNotifyFn, Request, SpareRequests } from "../request/request.ts";
import { answerOf } from "../request/result.ts";
import { Histogram } from "../stats.ts";

/** A list that a burst made longer than this is dropped after the burst. */
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

  /** Adds a request, to be answered in the next round. */
  add(request: Request): void {
    this.#due[this.#count++] = request;
  }

  /**
   * Delivers all that are due.
   *
   * @param now The time, in milliseconds.
   * @param spare Keeps the settled requests for reuse.
   * @returns How many answers.
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
      // An earlier callback broke the client, which answered all requests.
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

  /** Empties the list, for a client that broke. @returns The requests. */
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

/** Runs code of a caller. An error that it throws surfaces as uncaught, and interrupts nothing. */
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
