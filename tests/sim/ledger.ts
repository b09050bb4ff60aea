/**
 * What the medium of a disk may hold after a power cut: of each block, the versions that were written since it last was durable for certain.
 * It knows what the program was told and when, and nothing of the disk's cache.
 *
 * @module
 */

import { type Disk, SECTOR } from "./disk.ts";
import { equal } from "./loan.ts";
import { LARGE } from "./shape.ts";
import type { World } from "./world.ts";

/** Something that was written to a block, or is being written. */
interface Version {
  /** What the block holds then; null when it may hold anything. */
  readonly bytes: Uint8Array | null;
  /** When the program learned that it was written; `Infinity` while it does not know. */
  acknowledged: number;
  /** Whether it may still be written. */
  pending: boolean;
  /** Whether the power was cut while it was being written. */
  cut: boolean;
}

/** A change of some blocks, from its request to its answer. */
export interface Change {
  readonly from: number;
  /** The versions of its blocks, in order. */
  readonly versions: readonly Version[];
}

// Holds a whole disk for the length of a check.
const scratch = new Uint8Array(LARGE * SECTOR);

/** The ledger of one disk. */
export class Ledger {
  /** Counts what the program learns. */
  now = 0;
  readonly #block: number;
  // What blocks without other versions hold for certain.
  readonly #image: Uint8Array;
  // Of other blocks the versions, oldest first. The first is on the medium, unless a later one is.
  readonly #versions = new Map<number, Version[]>();

  constructor(readonly world: World, readonly disk: Disk) {
    this.#block = disk.facts.logicalBlockSize;
    this.#image = disk.bytes(0, disk.size);
  }

  /** A request begins that may change `[from, from + bytes.length)`, whole blocks. @param known Whether what it writes is known. */
  begin(from: number, bytes: Uint8Array, known: boolean): Change {
    const versions: Version[] = [];
    for (let at = 0; at < bytes.length; at += this.#block) {
      const block = known ? bytes.subarray(at, at + this.#block) : null;
      const version = { bytes: block, acknowledged: Infinity, pending: true, cut: false };
      versions.push(version);
      const i = (from + at) / this.#block;
      const all = this.#versions.get(i);
      if (all === undefined) this.#versions.set(i, [certain(this.#of(this.#image, i).slice()), version]);
      else all.push(version);
    }
    return { from, versions };
  }

  /** The program learns that the first `sure` bytes of a change were written. */
  acknowledge({ from, versions }: Change, sure: number, durable: boolean): void {
    this.now++;
    const first = from / this.#block;
    for (let i = 0; (i + 1) * this.#block <= sure; i++) {
      const version = versions[i]!;
      // What was written before a cut may have been lost by it, before the program was told.
      if (version.cut && !durable) continue;
      version.acknowledged = this.now;
      const all = this.#versions.get(first + i)!;
      if (durable) all.splice(0, all.indexOf(version));
    }
  }

  /** Nothing of a change is in flight any more. */
  settle({ versions }: Change): void {
    for (const version of versions) version.pending = false;
  }

  /** The program learns that all that it knew to be written at some time is durable. */
  flushed(since: number): void {
    for (const all of this.#versions.values()) {
      const last = all.findLastIndex(({ acknowledged }) => acknowledged <= since);
      if (last > 0) all.splice(0, last);
    }
  }

  /** The power was cut: each block must hold one of its versions. */
  cut(): void {
    const bytes = scratch.subarray(0, this.disk.size);
    this.disk.store.read(0, bytes);
    for (const [i, all] of this.#versions) {
      const block = this.#of(bytes, i);
      this.#check(i, block);
      this.#of(this.#image, i).set(block);
      const pending = all.filter((it) => it.pending);
      for (const it of pending) it.cut = true;
      if (pending.length === 0) this.#versions.delete(i);
      else this.#versions.set(i, [certain(block.slice()), ...pending]);
    }
    if (!equal(bytes, this.#image)) {
      this.world.violate(
        `after a power cut, ${this.disk.name} holds something else where nothing was written`,
      );
    }
  }

  /** Whether each block of `[from, from + bytes.length)` is one of its versions; says which is not. */
  check(from: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += this.#block) {
      this.#check((from + at) / this.#block, bytes.subarray(at, at + this.#block));
    }
  }

  #of(bytes: Uint8Array, i: number): Uint8Array {
    return bytes.subarray(i * this.#block, (i + 1) * this.#block);
  }

  #check(i: number, now: Uint8Array): void {
    const all = this.#versions.get(i) ?? [certain(this.#of(this.#image, i))];
    if (all.some(({ bytes }) => bytes === null || equal(bytes, now))) return;
    // Through the page cache, a block may be written in parts.
    const mixed = this.disk.unit === 1 &&
      now.every((byte, at) => all.some(({ bytes }) => bytes![at] === byte));
    if (mixed) return;
    this.world.violate(
      `after a power cut, block ${i} of ${this.disk.name} holds none of the ${all.length} versions that it may hold`,
    );
  }
}

function certain(bytes: Uint8Array): Version {
  return { bytes, acknowledged: 0, pending: false, cut: false };
}
