/**
 * The free places of a table that an engine registers things in: fixed buffers, or files.
 *
 * @module
 */

/** Places, the lowest first. */
export class FreePlaces {
  readonly #places: number[] = [];

  /** @param entries How many places the table has. */
  constructor(entries: number) {
    for (let place = entries - 1; place >= 0; place--) this.#places.push(place);
  }

  /** Takes a place. @returns -1 when none is free. */
  take(): number {
    return this.#places.pop() ?? -1;
  }

  /** Gives a place back; -1 is none. */
  give(place: number): void {
    if (place >= 0) this.#places.push(place);
  }
}
