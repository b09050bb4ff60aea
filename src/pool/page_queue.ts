/**
 * The queue of those who wait for pages of the pool, and the order in which they are served.
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
  /** Called when it waits in vain, as the client is closing. One without this goes on waiting. */
  refuse?(error: Error): void;
}

interface Place {
  readonly waiter: PageWaiter;
  readonly turn: number;
}

/** Those with one key, in the order of their turns. */
interface Line {
  readonly key: unknown;
  places: Place[];
  /** How far it was served. */
  head: number;
  /** How long it may grow before it is looked through for places that are done with. */
  limit: number;
}

/** A line, at the turn of its first place. */
interface Entry {
  readonly turn: number;
  readonly line: Line;
}

/** A line that is no longer is not looked through. */
const COMPACT = 1024;

/** First come, first served, but for those who are held up by something other than pages. */
export class PageQueue {
  // One line a key: a device that hangs may leave thousands behind it, which are not to be walked over.
  readonly #lines = new Map<unknown, Line>();
  // A heap, the earliest turn first. An entry whose line has another first place by now, or none, is passed over.
  readonly #entries: Entry[] = [];
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
    const held = new Map<unknown, Line>();
    let short = false;
    while (!short) {
      const line = this.#first();
      if (line === null) break;
      if (held.has(line.key)) continue;
      const place = line.places[line.head]!;
      // Out of the queue first: what it does with its pages may bring it back, at the end.
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

  /** Takes out those who may be refused. */
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

  // Into its line, in the order of turns: a waiter that changes lines keeps its turn.
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

  // Queues a line by its first place that still waits; one without any is gone.
  #queue(line: Line): void {
    while (line.head < line.places.length && !line.places[line.head]!.waiter.waiting) line.head++;
    if (line.head === line.places.length) {
      if (this.#lines.get(line.key) === line) this.#lines.delete(line.key);
      return;
    }
    // Places that are done with are let go of now and then, not one by one.
    if (line.places.length > line.limit) {
      line.places = line.places.slice(line.head).filter(({ waiter }) => waiter.waiting);
      line.head = 0;
      line.limit = Math.max(line.places.length * 2, COMPACT);
    }
    this.#push({ turn: line.places[line.head]!.turn, line });
  }

  // Takes out the line whose first place came first.
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
