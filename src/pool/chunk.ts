/**
 * A run of the pool's pages: one mapping, one place in the table of fixed buffers.
 *
 * @module
 */

import { MappedMemory, pageSize } from "../../ffi/memory.ts";
import type { Engine } from "../engine/engine.ts";
import type { Arena } from "../memory/segments.ts";
import { HeapMemory, type PageMemory } from "./heap_memory.ts";

const FREE = 0;
/** Allocated by the program. */
export const ALLOCATED = 1;
/** Given back by the program while a request uses it: free when the last pin is undone. */
const FREED_IN_USE = 2;
/** Given back to the system for good. */
const CUT = 3;
/** Lent to a copy: the program may neither name nor free it. */
export const LENT = 4;

/** The use that a page is allocated for. */
export type PageUse = typeof ALLOCATED | typeof LENT;

/** Adjacent pages, each free, allocated or cut, and pinned by as many requests as use it. */
export class Chunk implements Arena {
  /** Their address. */
  readonly address: number;
  /** Their memory; length 0 once it is unmapped. */
  readonly bytes: Uint8Array;
  /** Pages that are not cut; they are the first ones. */
  pages: number;
  /** Pages that are free. */
  free: number;

  readonly #engine: Engine | null;
  readonly #memory: PageMemory;
  readonly #page: number = pageSize();
  // From a byte to its page: a chunk has at most 1 GiB, so a shift does, which costs less than a division that is to be rounded.
  readonly #shift: number = Math.log2(this.#page);
  readonly #state: Uint8Array;
  readonly #pins: Uint32Array;
  #place = -1;
  #registered = false;
  // Where the last search ended. The next one begins there, which keeps searches short.
  #cursor = 0;

  /**
   * @param engine The engine whose table of fixed buffers to use. Without an engine the pages are memory of JavaScript's heap, which the
   * kernel never uses.
   * @param pages How many pages.
   * @throws {SystemError} When the system has no room for them.
   */
  constructor(engine: Engine | null, pages: number) {
    this.#engine = engine;
    this.pages = this.free = pages;
    const bytes = pages * this.#page;
    this.#memory = engine === null ? new HeapMemory(bytes) : new MappedMemory(bytes);
    this.address = this.#memory.address;
    this.bytes = new Uint8Array(this.#memory.buffer);
    this.#state = new Uint8Array(pages);
    this.#pins = new Uint32Array(pages);
  }

  /** The place in the table of fixed buffers; -1 when it is in none. */
  get index(): number {
    return this.#registered ? this.#place : -1;
  }

  /** The place that it took in the table, registered or not; -1 when it took none. */
  get place(): number {
    return this.#place;
  }

  /** How many pages the program has allocated. */
  get allocated(): number {
    let count = 0;
    for (const state of this.#state) if (state === ALLOCATED) count++;
    return count;
  }

  /** The buffer that its pages are views of. */
  get buffer(): ArrayBuffer {
    return this.#memory.buffer;
  }

  /** Whether the program transferred its buffer away. Its pages are not allocated again. */
  get lost(): boolean {
    return this.#memory.buffer.detached;
  }

  /**
   * Puts the pages into the table of fixed buffers, if there is a place for them.
   *
   * @param place The place; -1 for none.
   * @returns 0, or `-errno`; then it does not have the place.
   */
  register(place: number): number {
    if (place < 0 || this.#engine === null) return 0;
    const refused = this.#engine.registerBuffer(place, this.address, this.pages * this.#page);
    this.#registered = refused === 0;
    if (this.#registered) this.#place = place;
    return refused;
  }

  /** Takes the pages out of the table; requests in flight keep them until they are done. */
  unregister(): void {
    if (this.#registered) this.#engine!.registerBuffer(this.#place, 0, 0);
    this.#registered = false;
  }

  /**
   * Allocates adjacent pages.
   *
   * @param count How many.
   * @param use What for.
   * @returns The first page's number, or -1 when no run is long enough.
   */
  allocate(count: number, use: PageUse): number {
    if (count > this.free || this.lost) return -1;
    let first = this.#search(this.#cursor, this.pages, count);
    if (first < 0) first = this.#search(0, Math.min(this.#cursor + count - 1, this.pages), count);
    if (first < 0) return -1;
    this.#state.fill(use, first, first + count);
    this.free -= count;
    this.#cursor = first + count === this.pages ? 0 : first + count;
    return first;
  }

  /** Whether these pages all are allocated. */
  isAllocated(first: number, count: number): boolean {
    for (let page = first; page < first + count; page++) if (this.#state[page] !== ALLOCATED) return false;
    return true;
  }

  /**
   * Gives allocated pages back. A page that a request uses is free when the last pin is undone.
   *
   * @returns How many are free at once.
   */
  release(first: number, count: number): number {
    const before = this.free;
    for (let page = first; page < first + count; page++) {
      if (this.#pins[page] === 0) {
        this.#state[page] = FREE;
        this.free++;
      } else {
        this.#state[page] = FREED_IN_USE;
      }
    }
    return this.free - before;
  }

  /**
   * Keeps pages from being allocated again.
   *
   * @param at Byte offset of the memory in use.
   * @param length Its length in bytes.
   */
  pin(at: number, length: number): void {
    const last = (at + length - 1) >> this.#shift;
    for (let page = at >> this.#shift; page <= last; page++) this.#pins[page]!++;
  }

  /** Undoes one `pin`. @returns How many pages became free by it. */
  unpin(at: number, length: number): number {
    const before = this.free;
    const last = (at + length - 1) >> this.#shift;
    for (let page = at >> this.#shift; page <= last; page++) {
      if (--this.#pins[page]! === 0 && this.#state[page] === FREED_IN_USE) {
        this.#state[page] = FREE;
        this.free++;
      }
    }
    return this.free - before;
  }

  /** Whether all of some bytes lie in allocated pages. */
  owns(at: number, length: number): boolean {
    const first = at >> this.#shift;
    return this.isAllocated(first, ((at + length - 1) >> this.#shift) - first + 1);
  }

  /**
   * Cuts free pages off the end and gives them back to the system. Their addresses stay mapped until the chunk goes, so that a
   * stale view of them reads zeros.
   *
   * @param most How many at most.
   * @returns How many.
   */
  cut(most: number): number {
    let last = this.pages;
    while (last > 0 && this.pages - last < most && this.#state[last - 1] === FREE) last--;
    const count = this.pages - last;
    if (count === 0) return 0;
    this.#state.fill(CUT, last, this.pages);
    this.pages = last;
    this.free -= count;
    this.#cursor = 0;
    const registered = this.#registered;
    this.unregister();
    this.#memory.discard(last * this.#page, count * this.#page);
    // What was registered at its full length fits at a shorter one; if the kernel refuses all the same, it works unregistered.
    if (registered && last > 0) this.register(this.#place);
    return count;
  }

  /** Unmaps the pages. Nothing may be in flight. */
  dispose(): void {
    this.unregister();
    this.#memory[Symbol.dispose]();
  }

  #search(from: number, to: number, count: number): number {
    let run = 0;
    for (let page = from; page < to; page++) {
      run = this.#state[page] === FREE ? run + 1 : 0;
      if (run === count) return page - count + 1;
    }
    return -1;
  }
}
