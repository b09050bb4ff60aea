/**
 * Syncs: the flushes of a device that is written through the page cache.
 *
 * The kernel reports once to an open file that it could not write a page (`file_check_and_advance_wb_err`): of two syncs that overlap, one
 * gets the error and the other succeeds, whatever either had written. So the syncs of one device take turns, and a failed one fails all
 * that was accepted before its end.
 *
 * @module
 */

import type { RegionIo } from "./io.ts";

/** The syncs of one device. */
export class Syncs {
  /** How many have failed. */
  failures = 0;
  /** The error number of the last failed one, and whether the device was gone. */
  errno = 0;
  gone = false;

  #served: RegionIo[] = [];
  #waiting: RegionIo[] = [];

  /**
   * Takes a region whose flush is due.
   *
   * @param region The region.
   * @returns Whether its flush is issued now, for all that wait. Otherwise the region waits for its turn.
   */
  admit(region: RegionIo): boolean {
    if (this.#served.length > 0) {
      this.#waiting.push(region);
      return false;
    }
    this.#served = [region, ...this.#waiting];
    this.#waiting = [];
    return true;
  }

  /** Notes that the sync in flight failed. */
  fail(errno: number, gone: boolean): void {
    this.failures++;
    this.errno = errno;
    this.gone = gone;
  }

  /** Ends the sync in flight. @returns The regions that it served. */
  end(): readonly RegionIo[] {
    const served = this.#served;
    this.#served = [];
    return served;
  }

  /** Removes and gives the first region that waits, unless a sync is in flight: its flush is to be issued next. */
  next(): RegionIo | undefined {
    return this.#served.length > 0 ? undefined : this.#waiting.shift();
  }

  /** Removes a region that waits. @returns Whether it did. */
  remove(region: RegionIo): boolean {
    const at = this.#waiting.indexOf(region);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }
}
