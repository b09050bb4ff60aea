/**
 * Syncs: the flushes of a device that is written through the page cache.
 *
 * When the kernel could not write a page, it reports that to an open file once (`file_check_and_advance_wb_err`). Of two syncs that overlap,
 * one gets the error and the other succeeds, whichever had written the page. So the syncs of one device take turns, and a sync that fails
 * fails all flushes and durable writes that were accepted before its end.
 *
 * @module
 */

/** The syncs of one device, and the regions whose flushes they carry out. */
export class Syncs<Region> {
  /** How many syncs have failed. */
  failures = 0;
  /** The error number of the last sync that failed, and whether the device was gone. */
  errno = 0;
  gone = false;

  #served: Region[] = [];
  #waiting: Region[] = [];

  /**
   * Takes a region whose flush is due.
   *
   * @param region The region.
   * @returns Whether its flush is issued now, on behalf of all regions that wait. If not, the region waits for the sync in flight to end.
   */
  admit(region: Region): boolean {
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
  end(): readonly Region[] {
    const served = this.#served;
    this.#served = [];
    return served;
  }

  /** Removes the first region that waits, unless a sync is in flight. @returns The region, whose flush is to be issued next. */
  next(): Region | undefined {
    return this.#served.length > 0 ? undefined : this.#waiting.shift();
  }

  /** Removes a region that waits. @returns Whether the region was waiting. */
  remove(region: Region): boolean {
    const at = this.#waiting.indexOf(region);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }
}
