/**
 * Chooses between spinning and sleeping by measured time, as neither is always faster. The slower one is tried again 4 times in 1024.
 *
 * @module
 */

/** The slower way is tried once in so many waits. */
const ROUND = 1024;
/** Waits that one trial takes. */
const TRIAL = 4;
/** The weight of one wait in the moving average of its way. */
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
