/**
 * Who waits for pages of the pool, and in which order they are served.
 *
 * @module
 */

/** Somebody who waits for pages; asked in its turn whenever pages come free. */
export interface PageWaiter {
  /** Those with the same key wait behind each other. It may change when `take` says `"held"`: to what holds it up. */
  readonly key: unknown;
  /** Whether it still waits; one that does not is passed over. */
  readonly waiting: boolean;
  /**
   * Takes what it waits for, if that is there now.
   *
   * @returns `"served"`, `"short"` (of pages: everybody behind it waits too) or `"held"` (by something else: other keys go on).
   */
  take(): "served" | "short" | "held";
  /** Told that it waits in vain, as the client is closing. One without this goes on waiting. */
  refuse?(error: Error): void;
}

interface Place {
  readonly waiter: PageWaiter;
  readonly turn: number;
}

interface Line {
  places: Place[];
  /** How far it was served. */
  head: number;
  /** How long it may grow before it is looked through for places that are done with. */
  limit: number;
}

/** A line that is no longer is not looked through. */
const COMPACT = 1024;

/** First come, first served, but for those who are held up by something other than pages. */
export class PageQueue {
  // One queue a key: a device that hangs may leave thousands behind it, which are not to be walked over.
  readonly #lines = new Map<unknown, Line>();
  #turns = 0;

  /** Adds somebody at the end. */
  add(waiter: PageWaiter): void {
    this.#enter({ waiter, turn: this.#turns++ });
  }

  /** How many wait. */
  get size(): number {
    let size = 0;
    for (const { places, head } of this.#lines.values()) {
      for (let i = head; i < places.length; i++) if (places[i]!.waiter.waiting) size++;
    }
    return size;
  }

  /** Serves all who can be served. @returns Whether somebody is short of pages. */
  serve(): boolean {
    const held = new Set<unknown>();
    for (;;) {
      const key = this.#next(held);
      if (key === undefined) return false;
      const line = this.#lines.get(key.of)!;
      const place = line.places[line.head]!;
      const { waiter } = place;
      // Out of the queue first: what it does with its pages may bring it back, at the end.
      line.head++;
      const outcome = waiter.take();
      if (outcome === "served") continue;
      if (outcome === "held" && waiter.key !== key.of) this.#enter(place);
      else line.head--;
      if (outcome === "short") return true;
      held.add(waiter.key);
    }
  }

  /** Takes out those who may be refused. */
  removeRefusable(): PageWaiter[] {
    const removed: PageWaiter[] = [];
    for (const line of this.#lines.values()) {
      const rest = line.places.slice(line.head);
      for (const { waiter } of rest) if (waiter.refuse !== undefined && waiter.waiting) removed.push(waiter);
      line.places = rest.filter(({ waiter }) => waiter.refuse === undefined);
      line.head = 0;
    }
    return removed;
  }

  // Into its line, in the order of turns: who changes lines brings his turn along.
  #enter(place: Place): void {
    const { key } = place.waiter;
    let line = this.#lines.get(key);
    if (line === undefined) this.#lines.set(key, line = { places: [], head: 0, limit: COMPACT });
    let at = line.places.length;
    while (at > line.head && line.places[at - 1]!.turn > place.turn) at--;
    if (at === line.places.length) line.places.push(place);
    else line.places.splice(at, 0, place);
  }

  // The key whose first waiter came first, of those that are not held up.
  #next(held: Set<unknown>): { of: unknown } | undefined {
    let first: { of: unknown } | undefined;
    let turn = Infinity;
    for (const [key, line] of this.#lines) {
      while (line.head < line.places.length && !line.places[line.head]!.waiter.waiting) line.head++;
      if (line.head === line.places.length) {
        this.#lines.delete(key);
        continue;
      }
      // Who was served, or waits no more, is let go of now and then, not place by place.
      if (line.places.length > line.limit) {
        line.places = line.places.slice(line.head).filter(({ waiter }) => waiter.waiting);
        line.head = 0;
        line.limit = Math.max(line.places.length * 2, COMPACT);
      }
      const place = line.places[line.head]!;
      if (!held.has(key) && place.turn < turn) {
        first = { of: key };
        turn = place.turn;
      }
    }
    return first;
  }
}
