/**
 * Bytes that tell where they came from, and comparisons that say where two buffers differ.
 *
 * @module
 */

import { AssertionError } from "@std/assert";
import { Buffer } from "node:buffer";

/** A range of bytes. */
export interface ByteRange {
  /** Its first byte. */
  readonly offset: number;
  /** How many bytes. */
  readonly length: number;
}

/**
 * Fills memory with a pattern: the same seed gives the same bytes, another seed others, and no two sectors of it
 * are alike.
 *
 * @param target The memory.
 * @param seed Any integer.
 * @returns `target`.
 */
export function fillPattern<T extends Uint8Array>(target: T, seed: number): T {
  // xorshift32 never leaves zero, so the seed is spread and made odd first.
  let state = (Math.imul(seed ^ (seed >>> 16), 0x9e3779b1) ^ 0x85ebca6b) | 1;
  const words = target.byteOffset % 4 === 0
    ? new Uint32Array(target.buffer, target.byteOffset, target.length >>> 2)
    : new Uint32Array(target.length >>> 2);
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  if (words.buffer !== target.buffer) target.set(new Uint8Array(words.buffer));
  for (let i = words.length * 4; i < target.length; i++) {
    target[i] = (state = Math.imul(state, 69069) + 1) >>> 24;
  }
  return target;
}

/**
 * Memory with a pattern, see {@linkcode fillPattern}.
 *
 * @param length In bytes.
 * @param seed Any integer.
 */
export function pattern(length: number, seed: number): Uint8Array<ArrayBuffer> {
  return fillPattern(new Uint8Array(length), seed);
}

/**
 * Fails unless two buffers are alike, and says where the first difference is.
 *
 * @param actual What there is.
 * @param expected What there should be.
 * @param what What is compared, for the message.
 */
export function expectSame(actual: Uint8Array, expected: Uint8Array, what = "bytes"): void {
  if (actual.length !== expected.length) {
    throw new AssertionError(`${what}: ${actual.length} bytes, expected ${expected.length}`);
  }
  const first = firstDifference(actual, expected, 0, actual.length);
  if (first === -1) return;
  let count = 0;
  let last = first;
  for (let i = first; i < actual.length; i++) {
    if (actual[i] !== expected[i]) count++, last = i;
  }
  throw new AssertionError(
    `${what}: byte ${place(first)} is ${hex(actual[first])}, expected ${hex(expected[first])}; ` +
      `${count} of ${actual.length} bytes differ, the last at ${place(last)}`,
  );
}

/**
 * Fails if a byte outside of some ranges has changed.
 *
 * @param before The bytes as they were.
 * @param after The bytes as they are.
 * @param ranges Where changes are allowed; in any order, and they may overlap.
 * @param what What is compared, for the message.
 */
export function expectOnlyChanged(
  before: Uint8Array,
  after: Uint8Array,
  ranges: readonly ByteRange[],
  what = "bytes",
): void {
  if (before.length !== after.length) {
    throw new AssertionError(`${what}: ${after.length} bytes, were ${before.length}`);
  }
  let from = 0;
  const end = { offset: before.length, length: 0 };
  for (const { offset, length } of [...ranges].sort((a, b) => a.offset - b.offset).concat(end)) {
    const at = firstDifference(before, after, from, offset);
    if (at !== -1) {
      throw new AssertionError(
        `${what}: byte ${place(at)} changed from ${hex(before[at])} to ${hex(after[at])}`,
      );
    }
    from = Math.max(from, offset + length);
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array, from: number, to: number): number {
  if (to <= from || Buffer.compare(a.subarray(from, to), b.subarray(from, to)) === 0) return -1;
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return i;
  return -1;
}

function place(offset: number): string {
  return `${offset} (sector ${Math.floor(offset / 512)}, ${offset % 512} in it)`;
}

function hex(byte: number | undefined): string {
  return `0x${(byte ?? 0).toString(16).padStart(2, "0")}`;
}
