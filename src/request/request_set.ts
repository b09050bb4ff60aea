/**
 * The requests that are under way.
 *
 * @module
 */

import type { Request } from "./request.ts";

/** A set of requests that allocates nothing to add one or take one out: each knows its place. */
export class RequestSet implements Iterable<Request> {
  readonly #requests: Request[] = [];

  /** How many there are. */
  get size(): number {
    return this.#requests.length;
  }

  /** Adds a request that is not there. */
  add(request: Request): void {
    request.place = this.#requests.push(request) - 1;
  }

  /** Takes out a request that is there; the last one takes its place. */
  delete(request: Request): void {
    const last = this.#requests.pop()!;
    if (last === request) return;
    last.place = request.place;
    this.#requests[request.place] = last;
  }

  /** Those that are there now, whatever is added or taken out while they are gone through. */
  [Symbol.iterator](): Iterator<Request> {
    return this.#requests.slice()[Symbol.iterator]();
  }
}
