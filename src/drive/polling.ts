/**
 * How to wait for a completion: poll the engines, nap on this thread (a bounded blocking wait), or sleep and let the event loop run.
 *
 * @module
 */

/** How long to poll, in milliseconds: about what it costs to sleep and be woken by the event loop. */
export const SPIN_LIMIT = 0.05;
/** After a poll and a nap that found nothing, at most this many waits sleep at once before the next try. */
const MOST_SKIPPED = 64;

/** Poll again. */
export const SPIN = 0;
/** Block this thread for a moment, which leaves the core to the kernel's threads. */
export const NAP = 1;
/** Wait for as long as it takes. */
export const SLEEP = 2;

/** What to do next while nothing has completed. */
export type Step = typeof SPIN | typeof NAP | typeof SLEEP;

/** Learns from each wait: polls and naps that found nothing become rare, those that found a CQE stay. */
export class Polling {
  /** How many polls found nothing, so far. */
  polls = 0;

  readonly #spins: boolean;
  #step: Step = SLEEP;
  // How many waits are to sleep at once, and how many have.
  #skip = 0;
  #skipped = 0;

  /** @param spins Whether to poll before a nap. */
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

  /** There was no CQE. @param elapsed Milliseconds since the wait began. */
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

  /** A poll or a nap found a CQE. */
  paid(): void {
    this.#skip = 0;
  }
}
