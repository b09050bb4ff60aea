/**
 * The legs of a mirror, and its durable state: which legs have all data, and which parts are dirty, as they may differ between legs.
 *
 * @module
 */
import type { BlockDevice, IoRegion, IoResult, IoService } from "../../mod.ts";
import { DATA, partOf, readState, type State, writeState } from "./state.ts";

/** One leg. */
export interface Leg {
  readonly bdev: BlockDevice;
  /** A `"current"` leg has all data; a `"copying"` one gets each write, but lacks some data; a `"failed"` one gets no writes. */
  state: "current" | "copying" | "failed";
}

/** The legs of one mirror, and the dirty bits of its parts. */
export class Legs {
  /** The mirror's size. */
  readonly sectors: number;
  /** Sectors of a part. */
  readonly part: number;
  #state: State;
  #durable: Uint8Array; // the dirty bits that the legs hold
  #saving: Promise<void> = Promise.resolve();
  #nextSave: Promise<void> | null = null;

  private constructor(readonly io: Pick<IoService, "read" | "write">, readonly all: Leg[], state: State) {
    this.#state = state;
    this.#durable = state.dirty.slice();
    this.sectors = state.sectors;
    this.part = partOf(state.sectors);
  }

  /** Reads the state of each leg. A leg that missed a change of the state is failed. */
  static async open(io: Legs["io"], devices: BlockDevice[]): Promise<Legs> {
    const states = await Promise.all(devices.map((bdev) => readState(io, bdev)));
    const newest = states.reduce((a, b) => b.changes > a.changes ? b : a);
    const stranger = states.findIndex(({ mirror }) => mirror !== newest.mirror);
    if (stranger >= 0) throw new Error(`${devices[stranger]!.path} is of another mirror than the others`);
    const legs = devices.map((bdev, i): Leg => ({
      bdev,
      state: states[i]!.changes === newest.changes ? "current" : "failed",
    }));
    return new Legs(io, legs, newest);
  }

  /** The legs that have all data. */
  get current(): Leg[] {
    return this.all.filter(({ state }) => state === "current");
  }

  /** The legs that get writes. */
  get working(): Leg[] {
    return this.all.filter(({ state }) => state !== "failed");
  }

  /** Whether a part may differ between legs. */
  isDirty(part: number): boolean {
    return (this.#state.dirty[part >> 3]! >> (part & 7) & 1) === 1;
  }

  /** Marks the parts of some sectors as dirty. It resolves when the marks are durable. */
  async mark(sector: number, count: number): Promise<void> {
    this.#check(sector, count);
    let known = true;
    for (let part = Math.floor(sector / this.part); part * this.part < sector + count; part++) {
      this.#state.dirty[part >> 3]! |= 1 << (part & 7);
      known &&= (this.#durable[part >> 3]! >> (part & 7) & 1) === 1;
    }
    if (!known) await this.#save();
  }

  /** Marks all parts as clean, unless a leg is missing or failed. The data must be durable, and nothing in flight. */
  async clean(): Promise<void> {
    if (this.current.length === this.#state.legs) this.#state.dirty.fill(0);
    await this.#save();
  }

  /**
   * Marks the legs that failed. The last current leg stays current, as no other leg has all data. It resolves when the other legs hold a newer
   * state, so that no open takes a failed leg for current.
   *
   * @throws {IoError} When the last current leg failed.
   */
  async lose(result: IoResult, legs: Leg[]): Promise<void> {
    this.#fail(result, legs);
    // A leg that failed another write may miss this one. So this write, too, is answered only after the state without that leg is durable.
    await (result.ok ? this.#saving : this.#save());
    if (legs.some((leg, i) => leg.state === "current" && result.failed(i))) result.orThrow();
  }

  /** Where some sectors of the mirror are on a leg. */
  at({ bdev }: Leg, sector: number, count: number): IoRegion {
    this.#check(sector, count);
    return { bdev, sector: DATA + sector, count };
  }

  #check(sector: number, count: number): void {
    if (sector + count <= this.sectors) return;
    throw new RangeError(`sector ${sector} and count ${count}: the mirror has ${this.sectors} sectors`);
  }

  #fail({ failures }: IoResult, legs: Leg[]): void {
    for (const { region } of failures) {
      if (this.current.some((leg) => leg !== legs[region])) legs[region]!.state = "failed";
    }
  }

  // Calls that come while a state is being written share the next write.
  #save(): Promise<void> {
    return this.#nextSave ??= this.#saving = this.#saving.then(() => {
      this.#nextSave = null;
      return this.#write();
    });
  }

  // Writes the next state to the current legs, until all legs that did not fail hold it.
  async #write(): Promise<void> {
    for (let done = false; !done;) {
      this.#state = { ...this.#state, changes: this.#state.changes + 1 };
      const durable = this.#state.dirty.slice();
      const legs = this.current;
      const result = await writeState(this.io, legs.map(({ bdev }) => bdev), this.#state);
      this.#fail(result, legs);
      if (legs.every((_, i) => result.failed(i))) result.orThrow();
      if (result.ok) this.#durable = durable;
      done = result.ok;
    }
  }
}
