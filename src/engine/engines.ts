/**
 * The engines of one client: its own, and those that its devices bring. An SQE goes to the engine of its device; all of them are submitted,
 * waited for and closed together.
 *
 * @module
 */

import type { EngineMaker } from "../device/kind.ts";
import type { Engine } from "./engine.ts";

/** A set of engines. */
export class Engines {
  /** All that were made, in that order. */
  readonly all: Engine[] = [];
  /** How many SQEs may be queued or in flight at once, over all engines. */
  readonly capacity: number;

  readonly #makeMain: (() => Engine) | null;
  readonly #brought = new Map<EngineMaker, Engine>();
  #main: Engine | null = null;

  /**
   * @param main The client's own engine, or a function that makes it when the first device or page needs it.
   * @param capacity How many SQEs that engine holds, if it is not made yet.
   */
  constructor(main: Engine | (() => Engine), capacity: number) {
    const made = typeof main === "function" ? null : main;
    this.#makeMain = typeof main === "function" ? main : null;
    this.capacity = made === null ? capacity : made.capacity;
    this.#main = made;
    if (made !== null) this.all.push(made);
  }

  /** The client's own engine; null until something needs it. */
  get main(): Engine | null {
    return this.#main;
  }

  /**
   * The engine that carries a device's I/O. The first call for a maker makes it.
   *
   * @param maker The maker of the device's kind; null for the client's own engine.
   * @throws Whatever the maker throws.
   */
  of(maker: EngineMaker | null): Engine {
    if (maker === null) return this.#main ?? (this.#main = this.#add(this.#makeMain!()));
    let engine = this.#brought.get(maker);
    if (engine === undefined) {
      engine = this.#add(maker(this.capacity));
      this.#brought.set(maker, engine);
    }
    return engine;
  }

  /** SQEs that are queued in an engine and were not taken by its kernel. */
  get queued(): number {
    const { all } = this;
    let queued = 0;
    for (let i = 0; i < all.length; i++) queued += all[i]!.queued;
    return queued;
  }

  /** Gives all queued SQEs to their kernels. */
  submit(): void {
    const { all } = this;
    for (let i = 0; i < all.length; i++) all[i]!.submit();
  }

  /** Submits, then sleeps on this thread until any engine has a CQE. @param timeout Microseconds to sleep at most. */
  wait(timeout?: number): void {
    if (this.all.length === 1) return this.all[0]!.wait(timeout);
    this.submit();
    let due = timeout ?? Infinity;
    for (const engine of this.all) if (engine.due < due) due = engine.due;
    if (due === 0) return;
    // The kernel can end only the wait of the client's own engine, and only while SQEs of that are in flight.
    const own = this.#main !== null && this.#main.inFlight > 0 ? this.#main : null;
    const sleeper = own ?? this.all.find((engine) => engine.inFlight > 0) ?? this.all[0]!;
    sleeper.wait(due === Infinity ? undefined : due);
  }

  /** Lets the kernel's threads have this core for a moment. */
  relax(): void {
    for (const engine of this.all) engine.relax();
  }

  /** Resolves when any engine may have a CQE, or at `wake`. One at a time. */
  async waitAsync(): Promise<void> {
    if (this.all.length === 1) return await this.all[0]!.waitAsync();
    const waits = this.all.map((engine) => engine.waitAsync());
    await Promise.race(waits);
    // The next wait begins only when all of these have ended.
    this.wake();
    await Promise.all(waits);
  }

  /** Ends a `waitAsync` that is under way. */
  wake(): void {
    for (const engine of this.all) engine.wake();
  }

  /** Frees what can be freed of all engines without waiting. @returns Resolves when all of them are freed. */
  async close(): Promise<void> {
    await Promise.all(this.all.map((engine) => engine.close()));
  }

  #add(engine: Engine): Engine {
    this.all.push(engine);
    // A wait that is under way does not wait for this one.
    this.wake();
    return engine;
  }
}
