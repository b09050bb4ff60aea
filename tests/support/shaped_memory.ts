/**
 * Memory of every kind and origin, with guards around each part of it.
 *
 * @module
 */

import type { BioVec, IoMemory, PageList, Pool } from "../../mod.ts";
import { type ByteRange, fillPattern } from "./bytes.ts";

const PAGE = 4096;
const SECTOR = 512;

/** Where memory comes from, and by how many bytes it misses the start of a page. */
export const ORIGINS = {
  "pool pages": { from: "pool", shift: 0 },
  "pool pages off by 100 bytes": { from: "pool", shift: 100 },
  "a SharedArrayBuffer": { from: "shared", shift: 0 },
  "a SharedArrayBuffer off by a byte": { from: "shared", shift: 1 },
  "an ArrayBuffer": { from: "array", shift: 0 },
} as const;

/** The name of an origin. */
export type Origin = keyof typeof ORIGINS;

/** The parts of a page that memory of each kind is made of: offset and length of part `i`. */
export const SHAPES = {
  "vm": null,
  "page list": () => ({ offset: 0, length: PAGE }),
  "page list from byte 512": (i: number) => firstPage(i, 512),
  "page list from byte 1300": (i: number) => firstPage(i, 1300),
  "page list from byte 4095": (i: number) => firstPage(i, 4095),
  "bvecs of 512 bytes": (i: number) => ({ offset: (i * 5 % 8) * SECTOR, length: SECTOR }),
  "bvecs of every length": (i: number) => {
    const sectors = 1 + (i * 3 + 7) % 8;
    return { offset: (i * 5 % (9 - sectors)) * SECTOR, length: sectors * SECTOR };
  },
} as const satisfies Record<string, ((i: number) => ByteRange) | null>;

/** The name of a shape. */
export type Shape = keyof typeof SHAPES;

function firstPage(i: number, offset: number): ByteRange {
  return i === 0 ? { offset, length: PAGE - offset } : { offset: 0, length: PAGE };
}

/** Memory for a request within more memory, so that a byte too many is seen. */
export class ShapedMemory {
  /** What the request is given. */
  readonly memory: IoMemory;
  /** All the memory around it. */
  readonly whole: Uint8Array;
  readonly #ranges: readonly ByteRange[];

  /**
   * @param shape The kind of memory.
   * @param bytes How many bytes it has to hold; it holds a few more.
   * @param make Gives so many bytes of memory.
   */
  constructor(shape: Shape, bytes: number, make: (bytes: number) => Uint8Array) {
    const part = SHAPES[shape];
    if (part === null) {
      this.#ranges = [{ offset: PAGE, length: bytes + SECTOR }];
      this.whole = make(bytes + SECTOR + 2 * PAGE);
      this.memory = this.whole.subarray(PAGE, PAGE + bytes + SECTOR);
      return;
    }
    const parts: ByteRange[] = [];
    for (let left = bytes + SECTOR; left > 0; left -= parts.at(-1)!.length) parts.push(part(parts.length));
    const numbers = pageNumbers(parts.length);
    this.whole = make((Math.max(...numbers) + 2) * PAGE);
    this.#ranges = parts.map(({ offset, length }, i) => ({ offset: numbers[i]! * PAGE + offset, length }));
    const pages = numbers.map((number) => this.whole.subarray(number * PAGE, (number + 1) * PAGE));
    this.memory = shape.startsWith("bvecs")
      ? { bvecs: parts.map(({ offset, length }, i): BioVec => ({ page: pages[i]!, offset, len: length })) }
      : { pageList: listOf(pages), offset: parts[0]!.offset };
  }

  /** Fills everything with a pattern. */
  fill(seed: number): void {
    fillPattern(this.whole, seed);
  }

  /** The first bytes of the request's memory. */
  gather(length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.#each(length, (at, offset, run) => out.set(this.whole.subarray(offset, offset + run), at));
    return out;
  }

  /** What everything is to be after `data` was read into the request's memory. */
  expected(data: Uint8Array): Uint8Array {
    const out = this.whole.slice();
    this.#each(data.length, (at, offset, run) => out.set(data.subarray(at, at + run), offset));
    return out;
  }

  #each(length: number, visit: (at: number, offset: number, run: number) => void): void {
    let at = 0;
    for (const range of this.#ranges) {
      const run = Math.min(range.length, length - at);
      if (run <= 0) break;
      visit(at, range.offset, run);
      at += run;
    }
    if (at < length) throw new RangeError(`the memory holds ${at} bytes; ${length} were asked for`);
  }
}

/**
 * Makes memory.
 *
 * @param shape The kind of memory.
 * @param origin Where it comes from.
 * @param bytes How many bytes it has to hold.
 * @param pool For pool pages.
 */
export function shapedMemory(
  shape: Shape,
  origin: Origin,
  bytes: number,
  pool: Pool,
): ShapedMemory & Disposable {
  const { from, shift } = ORIGINS[origin];
  let pages: Uint8Array | null = null;
  const shaped = new ShapedMemory(shape, bytes, (length) => {
    if (from === "pool") pages = pool.alloc(Math.ceil((shift + length) / PAGE));
    const all = pages ?? aligned(from === "shared" ? SharedArrayBuffer : ArrayBuffer, shift + length);
    return all.subarray(shift, shift + length);
  });
  return Object.assign(shaped, {
    [Symbol.dispose]: () => {
      if (pages !== null) pool.free(pages);
    },
  });
}

/** A view of memory that begins on a page. */
export function aligned(
  kind: ArrayBufferConstructor | SharedArrayBufferConstructor,
  length: number,
): Uint8Array {
  const bytes = new Uint8Array(new kind(length + PAGE));
  const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>)));
  const from = (PAGE - address % PAGE) % PAGE;
  return bytes.subarray(from, from + length);
}

/** A list of pages, in their order. */
export function listOf(pages: readonly Uint8Array[]): PageList {
  let list: PageList | null = null;
  for (const page of pages.toReversed()) list = { next: list, page };
  return list!;
}

// Two adjacent pages, a hole, two adjacent pages, ...; and the second half of it first.
function pageNumbers(count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i + (i >> 1) + 1);
  return [...numbers.slice(count >> 1), ...numbers.slice(0, count >> 1)];
}
