/**
 * Virtual time. What the hardware does happens inside any call of the engine; timers fire only from the event loop, as
 * they do in a real program.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { Random } from "../../src/testing/random.ts";

/** The run found something that must not be: the message says what. */
export class Violation extends Error {
  override name = "Violation";
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Events by time, then by the order in which they were made. */
class Agenda {
  readonly #heap: Event[] = [];
  #order = 0;

  add(at: number, run: () => void): Event {
    const event = { at, order: this.#order++, run, cancelled: false };
    const heap = this.#heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(heap[i]!, heap[up]!)) break;
      [heap[i], heap[up]] = [heap[up]!, heap[i]!];
      i = up;
    }
    return event;
  }

  peek(): Event | undefined {
    while (this.#heap[0]?.cancelled) this.#pop();
    return this.#heap[0];
  }

  take(): Event | undefined {
    return this.peek() && this.#pop();
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0 || !last) return first;
    heap[0] = last;
    let i = 0;
    while (true) {
      const left = 2 * i + 1;
      let least = i;
      for (const child of [left, left + 1]) {
        if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
      }
      if (least === i) return first;
      [heap[i], heap[least]] = [heap[least]!, heap[i]!];
      i = least;
    }
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Turns of the event loop without an event after which the run counts as hung. */
const IDLE_TURNS = 200;
/** Turns of the event loop that one wait may take. */
const MAX_TURNS = 200_000;

/** The clock, what will happen, and what has been seen to go wrong. */
export class World {
  /** Microseconds since the run began. */
  now = 0;
  /** Called after hardware events when the event loop runs, to end an asynchronous wait. */
  onTurn: () => boolean = () => false;
  /** The first thing that went wrong; it may have been found where a throw would be swallowed. */
  violation: Violation | undefined;
  readonly #hardware = new Agenda();
  readonly #timers = new Agenda();
  readonly #timerIds = new Map<number, Event>();
  readonly #immediates: (() => void)[] = [];
  #nextTimer = 1;
  readonly #trace: string[] | undefined;

  /** @param verbose Print each event as it happens. */
  constructor(readonly seed: number, readonly verbose: boolean) {
    this.#trace = verbose ? [] : undefined;
  }

  /** Prints one line of the trace. */
  log(line: () => string): void {
    if (this.#trace) console.log(`${this.now.toFixed(0).padStart(9)} us  ${line()}`);
  }

  /** Keeps the first violation and throws it. */
  violate(what: string): never {
    const violation = new Violation(what);
    this.violation ??= violation;
    this.log(() => `VIOLATION ${what}`);
    throw violation;
  }

  /** Lets the hardware do something `delay` microseconds from now. */
  hardware(delay: number, run: () => void): void {
    this.#hardware.add(this.now + delay, run);
  }

  /** Lets time pass inside a call: hardware acts, timers do not. */
  pass(microseconds: number): void {
    const until = this.now + microseconds;
    while ((this.#hardware.peek()?.at ?? Infinity) <= until) this.#run(this.#hardware.take()!);
    this.now = Math.max(this.now, until);
  }

  /** Runs the next hardware event if it is due by `until`. @returns Whether there was one. */
  nextHardware(until = Infinity): boolean {
    const event = this.#hardware.peek();
    if (!event || event.at > until) return false;
    this.#run(this.#hardware.take()!);
    return true;
  }

  #run(event: Event): void {
    this.now = Math.max(this.now, event.at);
    event.run();
  }

  /** As `setTimeout`, in virtual milliseconds. */
  setTimer(run: () => void, milliseconds: number): number {
    const id = this.#nextTimer++;
    const event = this.#timers.add(this.now + Math.max(0, milliseconds) * 1000, () => {
      this.#timerIds.delete(id);
      run();
    });
    this.#timerIds.set(id, event);
    return id;
  }

  /** As `clearTimeout`. */
  clearTimer(id: number): void {
    const event = this.#timerIds.get(id);
    if (event) event.cancelled = true;
    this.#timerIds.delete(id);
  }

  /** Timers that have neither fired nor been cleared. */
  get timers(): number {
    return this.#timerIds.size;
  }

  /** Runs the event loop, one event a turn, until `promise` has settled; says what was waited for when it never does. */
  async until<T>(promise: Promise<T>, what: string): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    let idle = 0;
    for (let turn = 0; !settled; turn++) {
      await turnOfEventLoop();
      if (this.violation) throw this.violation;
      if (settled) break;
      idle = this.#step() ? 0 : idle + 1;
      if (idle > IDLE_TURNS) this.violate(`${what} never ends: nothing is in flight, no timer is set`);
      if (turn > MAX_TURNS) this.violate(`${what} does not end in ${MAX_TURNS} turns of the event loop`);
    }
    return await promise;
  }

  /** Lets `turns` events happen. */
  async turns(turns: number): Promise<void> {
    for (let i = 0; i < turns; i++) {
      await turnOfEventLoop();
      if (this.violation) throw this.violation;
      this.#step();
    }
  }

  #step(): boolean {
    // A turn of a real event loop looks at its timers first, however many immediates there are.
    if ((this.#timers.peek()?.at ?? Infinity) <= this.now) {
      this.#run(this.#timers.take()!);
      return true;
    }
    const immediate = this.#immediates.shift();
    if (immediate) {
      immediate();
      return true;
    }
    if (this.onTurn()) return true;
    const hardware = this.#hardware.peek()?.at ?? Infinity;
    const timer = this.#timers.peek()?.at ?? Infinity;
    if (hardware === Infinity && timer === Infinity) return false;
    this.#run(hardware <= timer ? this.#hardware.take()! : this.#timers.take()!);
    this.onTurn();
    return true;
  }

  /** Puts this clock in the place of the global one while `body` runs. */
  async withClock<T>(body: () => Promise<T>): Promise<T> {
    const { setTimeout, clearTimeout, setImmediate, clearImmediate } = globalThis;
    const performanceNow = performance.now;
    const dateNow = Date.now;
    Object.assign(globalThis, {
      setTimeout: (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
        this.setTimer(() => run(...args), ms),
      clearTimeout: (id: number | undefined) => id === undefined || this.clearTimer(id),
      setImmediate: (run: () => void) => {
        this.#immediates.push(run);
        return run;
      },
      clearImmediate: (run: (() => void) | undefined) => {
        const at = this.#immediates.findIndex((one) => one === run);
        if (at >= 0) this.#immediates.splice(at, 1);
      },
    });
    // A look at the clock takes time, so that a loop that polls for a while comes to an end.
    performance.now = () => {
      this.pass(2);
      return this.now / 1000;
    };
    Date.now = () => 1e12 + Math.floor(this.now / 1000);
    try {
      return await body();
    } finally {
      Object.assign(globalThis, { setTimeout, clearTimeout, setImmediate, clearImmediate });
      performance.now = performanceNow;
      Date.now = dateNow;
    }
  }
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** A stream of chance for one part of a world. */
export function chanceOf(world: World, part: number): Random {
  return Random.of(world.seed, part);
}
