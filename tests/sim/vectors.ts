/**
 * The array of iovecs that SQEs name.
 *
 * @module
 */

import type { Sqe } from "../../src/engine/sqe.ts";
import type { AddressSpace, Segment } from "./memory.ts";
import { movesData, OPCODES, READV, WRITEV } from "./sqe.ts";
import type { World } from "./world.ts";

/** The iovecs of an engine. */
export class Vectors {
  #segments: Segment[] = [];
  // What `use` pointed the next SQE at.
  #named: { readonly address: number; readonly segments: readonly Segment[] } | null = null;
  #used = 0;

  /** @param most How many can be queued. */
  constructor(readonly world: World, readonly memory: AddressSpace, readonly most: number) {}

  /** How many fit before a submit. */
  get room(): number {
    return this.most - this.#used;
  }

  /** Whether there are some that no SQE has yet. */
  get pending(): boolean {
    return this.#segments.length > 0 || this.#named !== null;
  }

  /** All SQEs were taken: the array is free again. */
  submitted(): void {
    this.#used = 0;
  }

  /** As `Engine.vector`. */
  add(address: number, length: number): void {
    if (this.room <= 0) this.world.violate("vector without vectorRoom");
    this.#used++;
    this.#segments.push(this.memory.plain(address, length));
  }

  /** As `Engine.useVectors`. */
  use(sqe: Sqe): void {
    const segments = this.#segments;
    if (this.#named !== null) this.world.violate("useVectors twice without a push");
    if (segments.length === 0) this.world.violate("useVectors without a vector");
    if (segments.length > 1024) this.world.violate(`${segments.length} iovecs: more than IOV_MAX`);
    // No memory of the run's is there.
    const address = 2 ** 46 + (this.#used - segments.length) * 16;
    this.#segments = [];
    this.#named = { address, segments };
    sqe.address = address;
    sqe.length = segments.length;
  }

  /** The memory that an SQE names. */
  segmentsOf({ opcode, address, length, bufferIndex }: Sqe, fixed: boolean): readonly Segment[] {
    const named = this.#named;
    this.#named = null;
    if (opcode !== READV && opcode !== WRITEV) {
      if (named !== null) this.world.violate(`${OPCODES[opcode]} after useVectors`);
      if (!movesData(opcode)) return [];
      return [fixed ? this.memory.fixed(bufferIndex, address, length) : this.memory.plain(address, length)];
    }
    if (named === null) this.world.violate(`${OPCODES[opcode]} without useVectors`);
    if (address !== named.address || length !== named.segments.length) {
      this.world.violate(
        `${OPCODES[opcode]} over ${length} iovecs at ${address}, which are not those of useVectors`,
      );
    }
    return named.segments;
  }
}
