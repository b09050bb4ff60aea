/**
 * The queue of waiters for pages of the pool, and the order in which they are served.
 *
 * @module
 */

/** A waiter: an `allocWait`, or a copy. `take` is called in its turn whenever pages come free. */
export interface PageWaiter {
  /** Waiters with the same key are served in order. `take` may change it when it returns `"held"`. */
  readonly key: unknown;
  /** Whether it still waits. Otherwise it is skipped. */
  readonly waiting: boolean;
  /**
   * Takes its pages, if they are free now.
   *
   * @returns `"served"`; `"short"` when too few pages are free, so that all waiters behind it wait too; or `"held"` when something else
   * holds it up, so that waiters with other keys are served.
   */
  take(): "served" | "short" | "held";
  /** Ends the wait, as the client is closing. A waiter without this goes on waiting. */
  refuse?(error: Error): void;
}

interface Place {
  readonly waiter: PageWaiter;
  readonly turn: number;
}

/** Waiters with one key, in the order of their turns. */
interface Line {
  readonly key: unknown;
  places: Place[];
  /** How far it was served. */
  head: number;
  /** How long it may grow before waiters that no longer wait are removed. */
  limit: number;
}

/** A line, at the turn of its first place. */
interface Entry {
  readonly turn: number;
  readonly line: Line;
}

/** The shortest length at which waiters that no longer wait are removed from a line. */
const COMPACT = 1024;

/** First come, first served, except that a waiter held up by something other than pages does not hold up other keys. */
export class PageQueue {
  // One line for each key: thousands may wait for a device that hangs, and a walk over them would be slow.
  readonly #lines = new Map<unknown, Line>();
  // A heap, the earliest turn first. An entry is stale, and skipped, when its line has another first place by now, or none.
  readonly #entries: Entry[] = [];
  #turns = 0;

  /** Adds a waiter at the end. */
  add(waiter: PageWaiter): void {
    this.#enter({ waiter, turn: this.#turns++ });
  }

  /** How many waiters there are. */
  get size(): number {
    let size = 0;
    for (const { places, head } of this.#lines.values()) {
      for (let i = head; i < places.length; i++) if (places[i]!.waiter.waiting) size++;
    }
    return size;
  }

  /** Serves all waiters that can be served. @returns Whether one is short of pages. */
  serve(): boolean {
    const held = new Map<unknown, Line>();
    let short = false;
    while (!short) {
      const line = this.#first();
      if (line === null) break;
      if (held.has(line.key)) continue;
      const place = line.places[line.head]!;
      // Out of its line first: while it is served it may be added again, at the end.
      line.head++;
      const outcome = place.waiter.take();
      short = outcome === "short";
      if (outcome === "served") {
        this.#queue(line);
      } else if (place.waiter.key !== line.key) {
        const holder = this.#enter(place);
        held.set(holder.key, holder);
        this.#queue(line);
      } else {
        line.head--;
        held.set(line.key, line);
      }
    }
    for (const line of held.values()) this.#queue(line);
    return short;
  }

  /** Removes the waiters that may be refused. */
  removeRefusable(): PageWaiter[] {
    const removed: PageWaiter[] = [];
    for (const line of this.#lines.values()) {
      const rest = line.places.slice(line.head);
      for (const { waiter } of rest) if (waiter.refuse !== undefined && waiter.waiting) removed.push(waiter);
      line.places = rest.filter(({ waiter }) => waiter.refuse === undefined);
      line.head = 0;
      this.#queue(line);
    }
    return removed;
  }

  // Adds a place to the line of its key, in the order of turns: a waiter that changes lines keeps its turn.
  #enter(place: Place): Line {
    const { key } = place.waiter;
    let line = this.#lines.get(key);
    if (line === undefined) this.#lines.set(key, line = { key, places: [], head: 0, limit: COMPACT });
    let at = line.places.length;
    while (at > line.head && line.places[at - 1]!.turn > place.turn) at--;
    if (at === line.places.length) line.places.push(place);
    else line.places.splice(at, 0, place);
    if (at === line.head) this.#push({ turn: place.turn, line });
    return line;
  }

  // Queues a line by its first place that still waits. A line without one is removed.
  #queue(line: Line): void {
    while (line.head < line.places.length && !line.places[line.head]!.waiter.waiting) line.head++;
    if (line.head === line.places.length) {
      if (this.#lines.get(line.key) === line) this.#lines.delete(line.key);
      return;
    }
    // Served places are removed many at a time, as each removal copies the line.
    if (line.places.length > line.limit) {
      line.places = line.places.slice(line.head).filter(({ waiter }) => waiter.waiting);
      line.head = 0;
      line.limit = Math.max(line.places.length * 2, COMPACT);
    }
    this.#push({ turn: line.places[line.head]!.turn, line });
  }

  // Removes the line with the earliest turn from the heap.
  #first(): Line | null {
    for (let entry = this.#pop(); entry !== undefined; entry = this.#pop()) {
      const { line, turn } = entry;
      const place = line.places[line.head];
      if (this.#lines.get(line.key) !== line || place === undefined || place.turn !== turn) continue;
      if (place.waiter.waiting) return line;
      this.#queue(line);
    }
    return null;
  }

  #push(entry: Entry): void {
    const entries = this.#entries;
    let at = entries.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (entries[parent]!.turn <= entry.turn) break;
      entries[at] = entries[parent]!;
      at = parent;
    }
    entries[at] = entry;
  }

  #pop(): Entry | undefined {
    const entries = this.#entries;
    const top = entries[0];
    const last = entries.pop();
    if (last === undefined || last === top) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= entries.length) break;
      if (child + 1 < entries.length && entries[child + 1]!.turn < entries[child]!.turn) child++;
      if (entries[child]!.turn >= last.turn) break;
      entries[at] = entries[child]!;
      at = child;
    }
    entries[at] = last;
    return top;
  }
}
