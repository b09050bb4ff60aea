/**
 * The requests that are under way.
 *
 * @module
 */

import type { Request } from "./request.ts";

/** A set of requests. Each request knows its place, so that adding and removing one allocates nothing. */
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

  /** Removes a request that is there; the last one moves to its place. */
  delete(request: Request): void {
    const last = this.#requests.pop()!;
    if (last === request) return;
    last.place = request.place;
    this.#requests[request.place] = last;
  }

  /** Iterates over the requests that are in the set now; later changes of the set do not matter. */
  [Symbol.iterator](): Iterator<Request> {
    return this.#requests.slice()[Symbol.iterator]();
  }
}
