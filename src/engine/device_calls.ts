/**
 * The system calls of one device: the calls in its lane, and the calls that wait for room there.
 *
 * @module
 */

/** A list that a burst made longer than this is dropped when it is empty. */
const MOST_KEPT = 1024;

/** The calls of one device, for {@linkcode CallThreads}. */
export class DeviceCalls {
  /** Calls that are in the lane, that a thread makes, or whose results were not taken. */
  out = 0;
  /** Its lane; -1 while it has none. */
  lane = -1;
  // Addresses of the calls that wait: from #next on.
  #waiting: number[] = [];
  #next = 0;

  /** @param fd The file descriptor by which the device is known. */
  constructor(readonly fd: number) {}

  /** How many calls wait. */
  get waiting(): number {
    return this.#waiting.length - this.#next;
  }

  /** Adds a call that waits. */
  add(address: number): void {
    this.#waiting.push(address);
  }

  /** Adds calls before all that wait. */
  putBack(addresses: readonly number[]): void {
    this.#waiting = [...addresses, ...this.#waiting.slice(this.#next)];
    this.#next = 0;
  }

  /** Takes the first call that waits. There must be one. */
  shift(): number {
    const address = this.#waiting[this.#next++]!;
    if (this.#next === this.#waiting.length) {
      if (this.#next > MOST_KEPT) this.#waiting = [];
      this.#waiting.length = this.#next = 0;
    }
    return address;
  }

  /** Removes the waiting calls that `isMeant` names. @returns Their addresses. */
  drop(isMeant: (address: number) => boolean): number[] {
    const all = this.#waiting.slice(this.#next);
    this.#waiting = all.filter((address) => !isMeant(address));
    this.#next = 0;
    return all.filter(isMeant);
  }
}
