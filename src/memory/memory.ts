/**
 * The three kinds of memory, reduced to one list of segments (the "dpages" of drivers/md/dm-io.c).
 *
 * @module
 */

import { mayCallC } from "../../ffi/library.ts";
import { addressOf, pageSize } from "../../ffi/memory.ts";
import { checkInteger, describe } from "../check.ts";
import type { Arena, Segments } from "./segments.ts";
import { bufferOf, byteLengthOf, byteOffsetOf } from "./view.ts";

/** One page of memory: a `Uint8Array` of exactly {@linkcode pageSize} bytes. */
export type Page = Uint8Array;

/** A singly linked list of pages (`struct page_list` in drivers/md/dm-io.h). */
export interface PageList {
  /** The rest of the list. */
  next: PageList | null;
  /** This page. */
  page: Page;
}

/** A piece of one page (`struct bio_vec` in linux/bvec.h, within its page). */
export interface BioVec {
  /** The page. */
  page: Page;
  /** Bytes from the start of the page. */
  offset: number;
  /** Length in bytes, at least 1; `offset + len` is at most the page. */
  len: number;
}

/** Memory for a request: one contiguous buffer, a page list with an offset in its first page, or bio vectors. */
export type IoMemory = Uint8Array | { pageList: PageList; offset?: number } | { bvecs: readonly BioVec[] };

/** Memory that repeats the same bytes, as often as a request needs them. */
export class Repeated {
  /** @param bytes The bytes; the library's own, so that no caller changes them. */
  constructor(readonly bytes: Uint8Array<ArrayBuffer>) {}
}

/** Finds the arena of an `ArrayBuffer`; null when it has none. */
export type FindArena = (buffer: ArrayBufferLike) => Arena | null;

/** The most pages of a list that one request follows: 4 GiB in pages of 4 KiB. It ends a list that is a circle. */
const MAX_PAGES = 2 ** 20;

/**
 * Reduces any kind of memory to segments, as far as a request needs it.
 *
 * @param memory The memory.
 * @param need Bytes of the longest region.
 * @param segments Is filled.
 * @param findArena Finds the arena of an `ArrayBuffer`.
 * @throws {TypeError} When `memory`, or a page of it, is of no such type.
 * @throws {RangeError} For memory shorter than the longest region, an offset outside the first page, a bvec outside its page.
 */
export function reduce(
  memory: IoMemory | Repeated,
  need: number,
  segments: Segments,
  findArena: FindArena,
): void {
  if (memory instanceof Uint8Array) {
    const length = byteLengthOf(memory);
    if (length < need) throw tooShort(length, need);
    if (need > 0) addRun(segments, memory, 0, need, findArena);
  } else if (memory instanceof Repeated) {
    const { bytes } = memory;
    for (let left = need; left > 0; left -= bytes.length) {
      segments.add(null, bytes, 0, Math.min(bytes.length, left));
    }
  } else if (typeof memory === "object" && memory !== null && "pageList" in memory) {
    reducePageList(memory.pageList, memory.offset ?? 0, need, segments, findArena);
  } else if (typeof memory === "object" && memory !== null && "bvecs" in memory) {
    reduceBvecs(memory.bvecs, need, segments, findArena);
  } else {
    throw new TypeError(
      `memory is ${describe(memory)}; it must be a Uint8Array, { pageList, offset } or { bvecs }`,
    );
  }
}

function reducePageList(
  list: PageList,
  offset: number,
  need: number,
  segments: Segments,
  findArena: FindArena,
): void {
  const size = pageSize();
  checkInteger("offset", offset, 0, size - 1);
  let left = need;
  let from = offset;
  let index = 0;
  // The list is followed only as far as the request needs it: it may be longer, or a circle.
  for (let node: PageList | null = list; left > 0; node = node.next, index++) {
    if (node === null) throw tooShort(need - left, need);
    if (typeof node !== "object") throw new TypeError(`pageList is ${describe(node)}; it must be a PageList`);
    if (index === MAX_PAGES) {
      throw new RangeError(`pageList is longer than ${MAX_PAGES} pages, the most that one request follows`);
    }
    const { page }: PageList = node;
    checkPage(page, `pageList page ${index}`);
    const length = Math.min(size - from, left);
    addRun(segments, page, from, length, findArena);
    left -= length;
    from = 0;
  }
}

function reduceBvecs(bvecs: readonly BioVec[], need: number, segments: Segments, findArena: FindArena): void {
  if (!Array.isArray(bvecs)) {
    throw new TypeError(`bvecs is ${describe(bvecs)}; it must be an array of BioVec`);
  }
  const size = pageSize();
  let left = need;
  for (let i = 0; i < bvecs.length; i++) {
    const bvec: BioVec = bvecs[i]!;
    if (typeof bvec !== "object" || bvec === null) {
      throw new TypeError(`bvecs[${i}] is ${describe(bvec)}; it must be { page, offset, len }`);
    }
    const { page, offset, len } = bvec;
    checkPage(page, `bvecs[${i}].page`);
    const fits = Number.isSafeInteger(offset) && Number.isSafeInteger(len) && offset >= 0 && len >= 1 &&
      offset + len <= size;
    if (!fits) {
      throw new RangeError(
        `bvecs[${i}]: offset ${describe(offset)} and len ${
          describe(len)
        } must be integers within a page of ${size} bytes`,
      );
    }
    const length = Math.min(len, left);
    if (length > 0) addRun(segments, page, offset, length, findArena);
    left -= length;
  }
  if (left > 0) throw tooShort(need - left, need);
}

function checkPage(page: Page, name: string): void {
  if (!(page instanceof Uint8Array)) {
    throw new TypeError(`${name} is ${describe(page)}; it must be a Uint8Array of one page`);
  }
  if (byteLengthOf(page) !== pageSize()) {
    throw new RangeError(`${name} has ${byteLengthOf(page)} bytes; a page has ${pageSize()}`);
  }
}

function addRun(
  segments: Segments,
  view: Uint8Array,
  at: number,
  length: number,
  findArena: FindArena,
): void {
  const buffer = bufferOf(view);
  const start = byteOffsetOf(view);
  const arena = findArena(buffer);
  if (arena !== null) segments.add(arena, arena.bytes, start + at, length);
  else segments.add(null, new Uint8Array(buffer, start, byteLengthOf(view)), at, length);
}

function tooShort(have: number, need: number): RangeError {
  return new RangeError(`memory holds ${have} bytes; the longest region needs ${need}`);
}

const sharedArenas = new WeakMap<SharedArrayBuffer, Arena>();

/**
 * The arena of a `SharedArrayBuffer`, which can be neither detached nor shrunk, and stays where it is while it is referenced. An
 * `ArrayBuffer` has no arena: the caller can transfer it, and it may be collected while the kernel still writes there.
 *
 * @param buffer Any buffer.
 * @returns Its arena, or null when it is not shared, or the program may not ask where it lies.
 */
export function sharedArena(buffer: ArrayBufferLike): Arena | null {
  if (!(buffer instanceof SharedArrayBuffer) || buffer.byteLength === 0) return null;
  let arena = sharedArenas.get(buffer);
  if (arena === undefined) {
    if (!mayCallC()) return null;
    const bytes = new Uint8Array(buffer);
    arena = { address: addressOf(Deno.UnsafePointer.of(bytes)), bytes, index: -1 };
    sharedArenas.set(buffer, arena);
  }
  return arena;
}
