/**
 * Runs of memory, as requests carry them.
 *
 * @module
 */

/** Memory whose address the kernel may use: it neither moves nor is freed while this object is referenced. */
export interface Arena {
  /** Its address. */
  readonly address: number;
  /** The same memory. */
  readonly bytes: Uint8Array;
  /** Its place in the engine's table of fixed buffers; -1 when it has none. */
  readonly index: number;
}

// Longer arrays are not kept for the next request.
const KEPT = 64;

/** A place in segments. */
export interface Cursor {
  /** The run that holds it. */
  segment: number;
  /** Where in that run it is, in bytes. */
  segmentAt: number;
}

/** Runs of memory, in order. Entry `i` of each array belongs together. */
export class Segments {
  /** How many there are. */
  count = 0;
  /** The arena that holds the run; null for memory whose address the kernel may not use. */
  arena: (Arena | null)[] = [];
  /** The bytes that the run lies in. */
  bytes: Uint8Array[] = [];
  /** Where in those bytes it begins. */
  at: number[] = [];
  /** Its length in bytes. */
  length: number[] = [];

  /** Adds a run; one that follows the last run of the same arena becomes part of that. */
  add(arena: Arena | null, bytes: Uint8Array, at: number, length: number): void {
    const last = this.count - 1;
    if (
      last >= 0 && arena !== null && this.arena[last] === arena && this.at[last]! + this.length[last]! === at
    ) {
      this.length[last]! += length;
      return;
    }
    this.arena[this.count] = arena;
    this.bytes[this.count] = bytes;
    this.at[this.count] = at;
    this.length[this.count] = length;
    this.count++;
  }

  /** Removes all runs, and drops the references to their memory. */
  clear(): void {
    if (this.count > KEPT) {
      this.arena = [];
      this.bytes = [];
      this.at = [];
      this.length = [];
    } else {
      for (let i = 0; i < this.count; i++) {
        this.arena[i] = null;
        this.bytes[i] = NOTHING;
      }
    }
    this.count = 0;
  }

  /**
   * Whether a direct device can use every run as it is.
   *
   * @param memoryAlignment What each address must be a multiple of, in bytes.
   * @param blockSize What each length must be a multiple of, in bytes.
   */
  aligned(memoryAlignment: number, blockSize: number): boolean {
    const mask = memoryAlignment - 1;
    for (let i = 0; i < this.count; i++) {
      const arena = this.arena[i];
      if (arena === null || arena === undefined) return false;
      // Both are powers of two: a mask does for numbers of any size, where a remainder of an address takes a call.
      if (((arena.address + this.at[i]!) & mask) !== 0 || (this.length[i]! & (blockSize - 1)) !== 0) {
        return false;
      }
    }
    return true;
  }

  /**
   * Fills bytes of the whole with zeros.
   *
   * @param start Byte offset in the whole.
   * @param end Where to stop.
   */
  zero(start: number, end: number): void {
    let offset = 0;
    for (let i = 0; i < this.count && offset < end; i++) {
      const length = this.length[i]!;
      const from = Math.max(start - offset, 0);
      const to = Math.min(end - offset, length);
      if (from < to) this.zeroRun(i, from, to - from);
      offset += length;
    }
  }

  /** Fills bytes of one run with zeros. Detached memory is skipped, as it cannot be read any more. */
  zeroRun(i: number, at: number, length: number): void {
    const bytes = this.bytes[i]!;
    if (bytes.length > 0) bytes.fill(0, this.at[i]! + at, this.at[i]! + at + length);
  }

  /**
   * Copies bytes to other segments.
   *
   * @param start Byte offset in the whole of these.
   * @param target Where to.
   * @param targetStart Byte offset in the whole of those.
   * @param length How many bytes.
   * @returns How many were copied: fewer when the caller has detached or shrunk some of the memory.
   */
  copyTo(start: number, target: Segments, targetStart: number, length: number): number {
    const from = this.#find(start);
    const to = target.#find(targetStart);
    let copied = 0;
    while (copied < length) {
      const run = Math.min(
        this.length[from.segment]! - from.segmentAt,
        target.length[to.segment]! - to.segmentAt,
        length - copied,
      );
      const source = this.bytes[from.segment]!;
      const sink = target.bytes[to.segment]!;
      const sourceAt = this.at[from.segment]! + from.segmentAt;
      const sinkAt = target.at[to.segment]! + to.segmentAt;
      if (sourceAt + run > source.length || sinkAt + run > sink.length) break;
      sink.set(run === source.length ? source : source.subarray(sourceAt, sourceAt + run), sinkAt);
      copied += run;
      this.advance(from, run);
      target.advance(to, run);
    }
    return copied;
  }

  #find(offset: number): Cursor {
    const cursor = { segment: 0, segmentAt: 0 };
    this.advance(cursor, offset);
    return cursor;
  }

  /** Moves a place forward, over as many runs as that takes. */
  advance(cursor: Cursor, bytes: number): void {
    cursor.segmentAt += bytes;
    while (cursor.segment < this.count && cursor.segmentAt >= this.length[cursor.segment]!) {
      cursor.segmentAt -= this.length[cursor.segment++]!;
    }
  }
}

const NOTHING = new Uint8Array(0);
