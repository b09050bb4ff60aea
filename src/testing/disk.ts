/**
 * A disk in memory: a medium, and before it a write cache that a power cut empties.
 *
 * @module
 */

import type { Random } from "./random.ts";
import { SparseBytes } from "./sparse_bytes.ts";

/** Where a write goes first: to a cache that a power cut empties (`"volatile"`), or to the medium (`"none"`). */
export type WriteCache = "volatile" | "none";

/** A part of the medium that fails. */
export interface BadRange {
  /** Its bytes are `[from, to)`. */
  readonly from: number;
  readonly to: number;
  /** The positive error number. */
  readonly errno: number;
  /** Whether reads fail there. */
  readonly reads: boolean;
  /** Whether writes fail there. */
  readonly writes: boolean;
}

/** The first byte that fails, and how. */
export interface FirstBad {
  readonly at: number;
  readonly errno: number;
}

/** Versions of a block that the cache remembers, so that the medium may have any of them after a power cut. */
const MOST_VERSIONS = 8;
/** How likely a block of the cache is to survive a power cut: one of these, for the whole cut. */
const SURVIVAL = [0, 0.1, 0.5, 0.9, 1];

/**
 * A disk in memory. Offsets and lengths are in bytes. It stores whatever it is given: its caller checks `end` and `firstBad` first.
 *
 * A block is written whole or not at all. Bytes that were never written are zeros and take no memory.
 */
export class Disk {
  /** The bytes of a logical block. */
  readonly blockSize: number;
  /** The size of the disk now, in bytes; I/O beyond it fails. */
  end: number;
  /** The parts of the medium that fail. */
  readonly bad: Set<BadRange> = new Set();

  readonly #medium = new SparseBytes();
  // The versions of each block that were written since it last was durable, the newest last; null without a cache.
  readonly #cache: Map<number, Uint8Array[]> | null;
  readonly #zeros: Uint8Array;

  /**
   * @param bytes Its size, a multiple of the block.
   * @param blockSize Bytes of a logical block.
   * @param cache Where a write goes first.
   */
  constructor(bytes: number, blockSize: number, cache: WriteCache) {
    this.end = bytes;
    this.blockSize = blockSize;
    this.#cache = cache === "volatile" ? new Map() : null;
    this.#zeros = new Uint8Array(blockSize);
  }

  /** Blocks that a power cut may drop. */
  get unflushed(): number {
    return this.#cache?.size ?? 0;
  }

  /** Bytes of memory that its contents take. */
  get held(): number {
    let versions = 0;
    for (const { length } of this.#cache?.values() ?? []) versions += length;
    return this.#medium.held + versions * this.blockSize;
  }

  /** The first byte of `[from, to)` whose medium fails. @returns Null when there is none. */
  firstBad(write: boolean, from: number, to: number): FirstBad | null {
    let first: FirstBad | null = null;
    for (const range of this.bad) {
      if (!(write ? range.writes : range.reads) || range.to <= from) continue;
      const at = Math.max(from, range.from);
      if (at < (first?.at ?? to)) first = { at, errno: range.errno };
    }
    return first;
  }

  /** Fills `into` with the bytes from `at` on, as they were last written. */
  read(at: number, into: Uint8Array): void {
    this.#medium.read(at, into);
    if (this.unflushed === 0) return;
    const { blockSize } = this;
    const last = blockOf(at + into.length - 1, blockSize);
    for (let block = blockOf(at, blockSize); block <= last; block++) {
      const newest = this.#cache!.get(block)?.at(-1);
      if (newest === undefined) continue;
      const start = block * blockSize;
      const [from, to] = [Math.max(at, start), Math.min(at + into.length, start + blockSize)];
      into.set(newest.subarray(from - start, to - start), from - at);
    }
  }

  /**
   * Writes bytes.
   *
   * @param at Where to.
   * @param bytes What.
   * @param durable Whether they go to the medium at once, as the data of a write with FUA. Other blocks stay in the cache.
   */
  write(at: number, bytes: Uint8Array, durable = false): void {
    if (this.#cache === null) return this.#medium.write(at, bytes);
    const { blockSize } = this;
    const copy = bytes.slice();
    const last = blockOf(at + bytes.length - 1, blockSize);
    for (let block = blockOf(at, blockSize); block <= last; block++) {
      const start = block * blockSize;
      const [from, to] = [Math.max(at, start), Math.min(at + bytes.length, start + blockSize)];
      let version = copy.subarray(from - at, to - at);
      if (version.length < blockSize) version = this.#patched(block, from, version);
      if (durable) this.#settle(block, version);
      else this.#keep(block, version);
    }
  }

  /** Makes `[from, to)` read as zeros, which a power cut may undo. Blocks that were never written cost no time. */
  zero(from: number, to: number): void {
    if (this.#cache === null) return this.#medium.zero(from, to);
    for (const block of this.#heldBlocks(from, to)) {
      const start = Math.max(from, block * this.blockSize);
      const end = Math.min(to, (block + 1) * this.blockSize);
      const whole = end - start === this.blockSize;
      this.#keep(
        block,
        whole ? this.#zeros : this.#patched(block, start, this.#zeros.subarray(0, end - start)),
      );
    }
  }

  /** Drops the whole blocks of `[from, to)`: they read as zeros from here on, also after a power cut. */
  discard(from: number, to: number): void {
    const first = Math.ceil(from / this.blockSize) * this.blockSize;
    const last = Math.floor(to / this.blockSize) * this.blockSize;
    if (first >= last) return;
    if (this.#cache !== null) {
      for (const block of this.#heldBlocks(first, last)) {
        this.#cache.delete(block);
      }
    }
    this.#medium.zero(first, last);
  }

  /** Brings the whole cache to the medium. */
  flush(): void {
    if (this.#cache === null) return;
    for (const [block, versions] of this.#cache) this.#settle(block, versions.at(-1)!);
  }

  /** Cuts the power: of each block in the cache, the medium has any version that was written since it last was durable, or none. */
  powerCut(random: Random): void {
    if (this.#cache === null) return;
    const survival = random.pick(SURVIVAL);
    for (const [block, versions] of this.#cache) {
      // When a version is lost, an older one may be on the medium: the cache may have written it before.
      const version = versions.findLast(() => random.chance(survival));
      if (version !== undefined) this.#settle(block, version);
    }
    this.#cache.clear();
  }

  #settle(block: number, version: Uint8Array): void {
    const start = block * this.blockSize;
    if (version === this.#zeros) this.#medium.zero(start, start + this.blockSize);
    else this.#medium.write(start, version);
    this.#cache!.delete(block);
  }

  #keep(block: number, version: Uint8Array): void {
    const versions = this.#cache!.get(block);
    if (versions === undefined) this.#cache!.set(block, [version]);
    else if (versions.push(version) > MOST_VERSIONS) versions.shift();
  }

  // A block as it is now, with other bytes from an offset of the disk on.
  #patched(block: number, at: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    const patched = new Uint8Array(this.blockSize);
    const start = block * this.blockSize;
    this.read(start, patched);
    patched.set(bytes, at - start);
    return patched;
  }

  // Blocks of a range that were written, and so may not be zeros.
  #heldBlocks(from: number, to: number): Set<number> {
    const blocks = new Set<number>();
    const first = Math.floor(from / this.blockSize);
    const last = Math.ceil(to / this.blockSize);
    for (const block of this.#cache!.keys()) if (block >= first && block < last) blocks.add(block);
    for (const [start, end] of this.#medium.runs(from, to)) {
      const last = blockOf(end - 1, this.blockSize);
      for (let block = blockOf(start, this.blockSize); block <= last; block++) blocks.add(block);
    }
    return blocks;
  }
}

function blockOf(at: number, blockSize: number): number {
  return Math.floor(at / blockSize);
}
