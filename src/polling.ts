/**
 * Whether to look for a completion again and again before sleeping for it.
 *
 * @module
 */

/** How long to look, in milliseconds: about what it costs to sleep and be woken. */
const LIMIT = 0.06;
/** After looking in vain, this many waits at most go by until the next try. */
const MOST_SKIPPED = 64;

/** Learns from each wait: where looking was in vain, it becomes rare; where it paid, it stays. */
export class Polling {
  /** How often it looked and found nothing, so far. */
  polls = 0;

  readonly #on: boolean;
  // How many waits go by without looking, and how many have.
  #skip = 0;
  #skipped = 0;

  /** @param on Whether to look at all. */
  constructor(on: boolean) {
    this.#on = on;
  }

  /** Whether to look, this time. */
  worth(): boolean {
    if (!this.#on) return false;
    if (this.#skipped < this.#skip) {
      this.#skipped++;
      return false;
    }
    this.#skipped = 0;
    return true;
  }

  /** Nothing was there, after this many milliseconds. @returns Whether to look again. */
  again(elapsed: number): boolean {
    this.polls++;
    if (elapsed <= LIMIT) return true;
    this.#skip = Math.min(this.#skip * 2 || 1, MOST_SKIPPED);
    return false;
  }

  /** Something was there. */
  paid(): void {
    this.#skip = 0;
  }
}
