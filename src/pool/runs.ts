/**
 * Finds the runs of pages under memory that a caller gives back.
 *
 * @module
 */

import { describe } from "../check.ts";
import type { PageList } from "../memory/memory.ts";
import { bufferOf, byteLengthOf, byteOffsetOf } from "../memory/view.ts";
import type { Chunk } from "./chunk.ts";

/** Adjacent pages of a chunk. */
export interface Run {
  readonly chunk: Chunk;
  /** The first page's number. */
  readonly first: number;
  /** How many pages. */
  readonly count: number;
}

/**
 * The allocated pages that memory covers whole.
 *
 * @param memory A view of pages, or a list of them.
 * @param page Bytes of a page.
 * @param most Pages that a list may have at most: one that is longer goes round in a circle.
 * @param chunkOf Finds the chunk that a buffer is.
 * @returns The runs; no page is in two of them.
 * @throws {TypeError} When it is no memory, not of the pool, not whole pages, freed before, or names a page twice.
 */
export function runsOf(
  memory: Uint8Array | PageList,
  page: number,
  most: number,
  chunkOf: (buffer: ArrayBufferLike) => Chunk | null,
): Run[] {
  const runs = viewsOf(memory, page, most).map((view) => runOf(view, page, chunkOf(bufferOf(view))));
  // Only a list can name a page twice; each view of it is one page.
  const pages = new Set(runs.map(({ chunk, first }) => chunk.address + first * page));
  if (pages.size !== runs.length) throw new TypeError("memory names a page of the pool twice");
  return runs;
}

function viewsOf(memory: Uint8Array | PageList, pageSize: number, most: number): Uint8Array[] {
  if (memory instanceof Uint8Array) return [memory];
  const views: Uint8Array[] = [];
  let node: PageList | null = memory;
  do {
    const { page, next }: Partial<PageList> = typeof node === "object" && node !== null ? node : {};
    if (!(page instanceof Uint8Array) || byteLengthOf(page) !== pageSize) {
      throw new TypeError(
        `memory is ${describe(node)}; it must be a Uint8Array or a PageList of single pages`,
      );
    }
    views.push(page);
    node = next ?? null;
  } while (node !== null && views.length <= most);
  return views;
}

function runOf(view: Uint8Array, page: number, chunk: Chunk | null): Run {
  if (chunk === null) {
    throw new TypeError(`memory is ${describe(view)}, and not of this pool (or its pages are gone)`);
  }
  const start = byteOffsetOf(view);
  const length = byteLengthOf(view);
  const first = start / page;
  const count = length / page;
  if (!Number.isInteger(first) || !Number.isInteger(count) || count === 0) {
    throw new TypeError(
      `memory begins at byte ${start} and has ${length} bytes; only whole pages can be freed`,
    );
  }
  if (!chunk.isAllocated(first, count)) {
    throw new TypeError("memory was freed before, wholly or in part");
  }
  return { chunk, first, count };
}
