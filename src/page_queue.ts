/**
 * Who waits for pages of the pool, and in which order they are served.
 *
 * @module
 */

/** Somebody who waits for pages; asked in its turn whenever pages come free. */
export interface PageWaiter {
  /** Those with the same key wait behind each other; what holds up one key does not hold up the others. */
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

/** First come, first served, but for those who are held up by something other than pages. */
export class PageQueue {
  // One queue a key, and how far it was served: a device that hangs may leave thousands behind it, which are not to be walked over.
  readonly #lines = new Map<unknown, { places: Place[]; head: number }>();
  #turns = 0;

  /** Adds somebody at the end. */
  add(waiter: PageWaiter): void {
    let line = this.#lines.get(waiter.key);
    if (line === undefined) this.#lines.set(waiter.key, line = { places: [], head: 0 });
    line.places.push({ waiter, turn: this.#turns++ });
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
      const { waiter } = line.places[line.head]!;
      // Out of the queue first: what it does with its pages may bring it back, at the end.
      line.head++;
      const outcome = waiter.take();
      if (outcome === "served") continue;
      line.head--;
      if (outcome === "short") return true;
      held.add(key.of);
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
      // What was served is let go of now and then, not place by place.
      if (line.head > 1024 && line.head * 2 > line.places.length) {
        line.places = line.places.slice(line.head);
        line.head = 0;
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
