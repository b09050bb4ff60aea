/**
 * The requests that are under way.
 *
 * @module
 */

import type { Request } from "./request.ts";

/** A list that a burst made longer than this is dropped when it is empty. */
const MOST_KEPT = 1024;

/** A set of requests that allocates nothing to add one or to delete one: each knows its place. */
export class RequestSet implements Iterable<Request> {
  // The array keeps its length, as an array that shrinks and grows is a new one each time.
  #requests: (Request | null)[] = [];
  #size = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** Adds a request that is not there. */
  add(request: Request): void {
    request.place = this.#size;
    this.#requests[this.#size++] = request;
  }

  /** Deletes a request that is there; the last one takes its place. */
  delete(request: Request): void {
    const last = this.#requests[--this.#size]!;
    this.#requests[this.#size] = null;
    if (last !== request) {
      last.place = request.place;
      this.#requests[request.place] = last;
    }
    if (this.#size === 0 && this.#requests.length > MOST_KEPT) this.#requests = [];
  }

  /** Those that are there now, whatever is added or deleted during the iteration. */
  [Symbol.iterator](): Iterator<Request> {
    return (this.#requests.slice(0, this.#size) as Request[])[Symbol.iterator]();
  }
}
