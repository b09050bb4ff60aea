/**
 * What becomes of an SQE's bytes: when they move, which of them, and what a failed transfer or a power cut leaves behind.
 *
 * @module
 */

import type { Random } from "../../src/testing/random.ts";
import { type Outcome, SECTOR } from "./disk.ts";
import type { AddressSpace } from "./memory.ts";
import { describe, movesData, type Sqe } from "./sqe.ts";
import type { World } from "./world.ts";

/** What fills the memory of a failed read: the library has to clear it. */
const POISON = new Uint8Array(SECTOR).fill(0xdb);

/** Does what one SQE does. */
export class Transfer {
  // Whether a power cut ended it: nothing of it moves any more.
  #cut = false;

  /** @param isOpen Whether the SQE's device still is open. */
  constructor(
    readonly world: World,
    readonly memory: AddressSpace,
    readonly sqe: Sqe,
    readonly isOpen: () => boolean,
  ) {}

  /** Changes the disk at some moments within the next `delay` microseconds. */
  schedule(outcome: Outcome, delay: number, chance: Random): void {
    const { sqe, world } = this;
    if (sqe.kind === "read") return;
    const at = (change: () => void) => world.hardware(chance.below(delay + 1), () => this.#cut || change());
    if (outcome.uncertain) at(() => this.#stray(chance));
    if (outcome.result < 0) return;
    if (sqe.kind === "flush") return at(() => sqe.disk.store.flush());
    const moves = chance.between(1, 3);
    const unit = Math.max(sqe.disk.unit, SECTOR);
    const cut = (part: number) =>
      part === moves ? outcome.moved : Math.floor(outcome.moved * part / moves / unit) * unit;
    for (let part = 0; part < moves; part++) {
      const [start, stop] = [cut(part), cut(part + 1)];
      if (stop > start) at(() => this.#change(start, stop));
    }
  }

  /** Cuts the power while it is in flight: any of its blocks may have got to the disk. */
  cutPower(chance: Random): void {
    if (this.sqe.kind !== "read") this.#stray(chance);
    this.#cut = true;
    const { kind, from, length, disk } = this.sqe;
    disk.fail(kind, from, from + length, [5], false);
  }

  /** Ends it, and brings the bytes of a read to memory. @returns `cqe.res`. */
  end(outcome: Outcome, chance: Random): number {
    this.#check();
    if (this.sqe.kind === "read") {
      const moved = this.#cut ? 0 : outcome.moved;
      this.#read(moved);
      this.#strayReads(moved, chance);
    }
    return this.#cut ? -5 : outcome.result;
  }

  // Changes some bytes of the disk for good, or as far as its cache is.
  #change(start: number, stop: number): void {
    this.#check();
    const { kind, disk, from, segments, durable, opcode } = this.sqe;
    if (kind === "discard") return disk.store.discard(from + start, from + stop);
    if (!movesData(opcode)) return disk.store.zero(from + start, from + stop);
    const bytes = new Uint8Array(stop - start);
    this.memory.gather(segments, start, bytes);
    disk.store.write(from + start, bytes, durable && !this.#cut);
  }

  #read(stop: number): void {
    const { segments, disk, from } = this.sqe;
    this.memory.scatter(segments, 0, disk.bytes(from, from + stop));
  }

  // Any of its good blocks.
  #stray(chance: Random): void {
    const { disk, from, length, kind } = this.sqe;
    if (kind === "flush") {
      if (chance.chance(0.5)) disk.store.flush();
      return;
    }
    const unit = disk.facts.logicalBlockSize;
    const to = Math.min(from + length, disk.store.end);
    for (let at = from; at < to;) {
      const next = Math.min(to, (Math.floor(at / unit) + 1) * unit);
      const bad = disk.firstBad(kind, at, next);
      if (!bad && chance.chance(0.5)) this.#change(at - from, next - from);
      at = next;
    }
  }

  /** A read that failed or stopped short leaves anything in the rest of its memory. */
  #strayReads(start: number, chance: Random): void {
    const { segments, length } = this.sqe;
    for (let at = start; at < length; at += SECTOR) {
      const bytes = Math.min(SECTOR, length - at);
      if (chance.chance(0.5)) this.memory.scatter(segments, at, POISON.subarray(0, bytes));
    }
  }

  /** What an SQE names must be there until its CQE is. */
  #check(): void {
    const { world, sqe } = this;
    if (!this.isOpen()) world.violate(`${sqe.disk.name} was closed under ${describe(sqe)}`);
    if (!sqe.segments.every((segment) => this.memory.holds(segment))) {
      world.violate(`memory of ${describe(sqe)} was unregistered while in flight`);
    }
  }
}
