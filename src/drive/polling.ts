/**
 * How to wait for a completion: look again and again, nap on this thread, or sleep and let the event loop wait.
 *
 * @module
 */

/** How long to look, in milliseconds: about what it costs to sleep and be woken by the event loop. */
export const SPIN_LIMIT = 0.05;
/** After waiting in vain, this many waits at most go to sleep at once until the next try. */
const MOST_SKIPPED = 64;

/** Look again. */
export const SPIN = 0;
/** Stand still for a moment, which leaves the core to the kernel's own threads. */
export const NAP = 1;
/** Wait for as long as it takes. */
export const SLEEP = 2;

/** What to do next while nothing has completed. */
export type Step = typeof SPIN | typeof NAP | typeof SLEEP;

/** Learns from each wait: where looking and napping were in vain they become rare, where they paid they stay. */
export class Polling {
  /** How often it looked and found nothing, so far. */
  polls = 0;

  readonly #spins: boolean;
  #step: Step = SLEEP;
  // How many waits go to sleep at once, and how many have.
  #skip = 0;
  #skipped = 0;

  /** @param spins Whether to look at all, or nap at once. */
  constructor(spins: boolean) {
    this.#spins = spins;
  }

  /** A wait begins. */
  begin(): Step {
    if (this.#skipped < this.#skip) {
      this.#skipped++;
      return this.#step = SLEEP;
    }
    this.#skipped = 0;
    return this.#step = this.#spins ? SPIN : NAP;
  }

  /** Nothing was there. @param elapsed Milliseconds since the wait began. */
  next(elapsed: number): Step {
    if (this.#step === SPIN) {
      this.polls++;
      if (elapsed > SPIN_LIMIT) this.#step = NAP;
    } else {
      this.#skip = Math.min(this.#skip * 2 || 1, MOST_SKIPPED);
      this.#step = SLEEP;
    }
    return this.#step;
  }

  /** Something was there. */
  paid(): void {
    this.#skip = 0;
  }
}
