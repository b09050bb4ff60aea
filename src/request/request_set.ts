/**
 * The requests that are under way.
 *
 * @module
 */

import type { Request } from "./request.ts";

/** A set of requests that allocates nothing to add one or take one out: each knows its place. */
export class RequestSet implements Iterable<Request> {
  readonly #requests: Request[] = [];
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

  /** Takes out a request that is there; the last one takes its place. */
  delete(request: Request): void {
    const last = this.#requests[--this.#size]!;
    last.place = request.place;
    this.#requests[request.place] = last;
  }

  /** Those that are there now, whatever is added or taken out while they are gone through. */
  [Symbol.iterator](): Iterator<Request> {
    return this.#requests.slice(0, this.#size)[Symbol.iterator]();
  }
}
