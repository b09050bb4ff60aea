/**
 * The moving of bytes: when, which of them, and what a failed transfer leaves behind.
 *
 * @module
 */

import { type Outcome, SECTOR } from "./disk.ts";
import type { AddressSpace } from "./memory.ts";
import type { Random } from "../../src/testing/random.ts";
import { describe, isWrite, type Sqe } from "./sqe.ts";
import type { World } from "./world.ts";

/** What fills the memory of a failed read: the library has to clear it. */
const POISON = new Uint8Array(SECTOR).fill(0xdb);

/** Moves the bytes of one SQE. */
export class Transfer {
  /** @param isOpen Whether the SQE's device still is open. */
  constructor(
    readonly world: World,
    readonly memory: AddressSpace,
    readonly sqe: Sqe,
    readonly isOpen: () => boolean,
  ) {}

  /** Takes the bytes of a write from memory at some moments within the next `delay` microseconds. */
  schedule(outcome: Outcome, delay: number, chance: Random): void {
    if (!isWrite(this.sqe.opcode)) return;
    const moves = chance.between(1, 3);
    const cut = (part: number) =>
      part === moves ? outcome.moved : Math.floor(outcome.moved * part / moves / SECTOR) * SECTOR;
    for (let part = 0; part < moves; part++) {
      const [start, stop] = [cut(part), cut(part + 1)];
      if (stop > start) this.world.hardware(chance.below(delay + 1), () => this.#move(start, stop));
    }
    if (outcome.uncertain) this.world.hardware(chance.below(delay + 1), () => this.#strayWrites(chance));
  }

  /** Brings the bytes of a read to memory: it has ended. */
  end(outcome: Outcome, chance: Random): void {
    this.#check();
    if (isWrite(this.sqe.opcode)) return;
    this.#move(0, outcome.moved);
    this.#strayReads(outcome.moved, chance);
  }

  #move(start: number, stop: number): void {
    this.#check();
    const { segments, disk, from, opcode } = this.sqe;
    const data = disk.data.subarray(from + start, from + stop);
    if (isWrite(opcode)) this.memory.gather(segments, start, data);
    else this.memory.scatter(segments, start, data);
  }

  /** A failed write reaches any of its good blocks. */
  #strayWrites(chance: Random): void {
    const { disk, from, length } = this.sqe;
    const unit = disk.logicalBlockSize;
    for (let at = from; at < from + length;) {
      const next = Math.min(from + length, (Math.floor(at / unit) + 1) * unit);
      const bad = disk.firstBad(true, at, next);
      if (!bad && chance.chance(0.5)) this.#move(at - from, next - from);
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
