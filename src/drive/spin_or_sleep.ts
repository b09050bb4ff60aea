/**
 * Two ways to do one thing, of which now one and now the other is faster.
 *
 * @module
 */

/** In so many turns the slower way gets its trial. */
const ROUND = 1024;
/** So many turns long is a trial. */
const TRIAL = 4;
/** How much one turn counts against those before it. */
const WEIGHT = 1 / 8;

/** Learns by trial which of two ways takes less time. */
export class SpinOrSleep {
  #first = 0;
  #second = 0;
  #turn = 0;

  /** Whether the second way is to be taken, this time. */
  pick(): boolean {
    const second = this.#second < this.#first;
    return this.#turn++ % ROUND < TRIAL ? !second : second;
  }

  /** A turn was taken. @param second Which way. @param milliseconds How long it took. */
  took(second: boolean, milliseconds: number): void {
    if (second) this.#second += (milliseconds - this.#second) * WEIGHT;
    else this.#first += (milliseconds - this.#first) * WEIGHT;
  }
}
