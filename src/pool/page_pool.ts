/**
 * The pool's pages: which are free, allocated or lent to copies, and the queue of waiters for them.
 *
 * @module
 */

import { pageSize, physicalPages } from "../../ffi/memory.ts";
import { ALLOCATED, Chunk, LENT, type PageUse } from "./chunk.ts";
import { ChunkMaker } from "./chunk_maker.ts";
import { exhausted, noCount, type PoolState, tooFew } from "./refusals.ts";
import { Reserve } from "./reserve.ts";
import { type Run, runsOf } from "./runs.ts";
import type { Engines } from "../engine/engines.ts";
import type { PageList } from "../memory/memory.ts";
import type { Segments } from "../memory/segments.ts";
import { PageQueue, type PageWaiter } from "./page_queue.ts";
import type { Pool } from "./pool.ts";
import { checkInteger } from "../check.ts";

/** The kernel registers at most 1 GiB as one buffer. */
const CHUNK_BYTES = 2 ** 30;

/** The pages of one client. `src/pool/pool.ts` says what its public members promise. */
export class PagePool implements Pool {
  readonly #maker: ChunkMaker;
  readonly #reserve: Reserve;
  readonly #page: number = pageSize();
  readonly #chunks: Chunk[] = [];
  readonly #lost: Chunk[] = [];
  readonly #byBuffer = new Map<ArrayBufferLike, Chunk>();
  readonly #queue = new PageQueue();
  #pages = 0;
  #free = 0;
  // Pages that were put while in use. The next pages that come free go back to the system in their place.
  #owed = 0;
  #refusal: Error | null = null;
  #halted = false;
  #settling = false;
  // Whether a waiter needs more pages than are free. Then no later caller gets pages before it.
  #short = false;
  // Pages whose buffer the program transferred away.
  #lostPages = 0;

  /** @param engines The client's engines. The main one registers the pages as fixed buffers. */
  constructor(engines: Engines) {
    this.#maker = new ChunkMaker(engines);
    this.#reserve = new Reserve(this.#maker);
  }

  /** Why the kernel refused to register pages as a fixed buffer; null when it never did. */
  get registrationRefused(): string | null {
    return this.#maker.refused;
  }

  get pages(): number {
    return this.#pages;
  }

  get available(): number {
    return Math.max(0, this.#free - this.#owed);
  }

  /** How many pages the program has allocated and not freed. */
  get allocated(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.allocated, 0);
  }

  /** How many pages a copy may take: those of the reserve, and the pool's free pages unless a waiter is short of them. */
  get availableForCopies(): number {
    return (this.#short ? 0 : this.available) + this.#reserve.free;
  }

  /** Makes the reserve hold at least so many adjacent pages. @throws {SystemError} When the system has no room for them. */
  reserve(pages: number): void {
    this.#reserve.hold(pages);
  }

  get(pages: number): void {
    this.#assertOpen();
    // The kernel grants any mapping, and runs out of memory as the pages are touched.
    checkInteger("pages", pages, 0, physicalPages() - this.#pages, "what this machine has besides");
    const made: Chunk[] = [];
    const most = CHUNK_BYTES / this.#page;
    try {
      for (let left = pages; left > 0; left -= most) made.push(this.#maker.make(Math.min(left, most)));
    } catch (error) {
      for (const chunk of made) this.#maker.unmake(chunk);
      throw error;
    }
    for (const chunk of made) {
      this.#chunks.push(chunk);
      this.#byBuffer.set(chunk.buffer, chunk);
      this.#free += chunk.pages;
    }
    this.#pages += pages;
    this.serve();
  }

  put(pages: number): void {
    this.#assertOpen();
    this.#checkCount(pages, 0);
    this.#pages -= pages;
    this.#owed += pages;
    this.serve();
  }

  alloc(pages: number): Uint8Array<ArrayBuffer> {
    this.#checkRun(pages);
    const view = this.#short ? null : this.#take(pages);
    if (view === null) throw exhausted(this.#state, pages, "adjacent ");
    return view;
  }

  allocWait(pages: number): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkRun(pages);
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    this.wait({
      key: this,
      waiting: true,
      take: () => {
        const view = this.#take(pages);
        if (view !== null) resolve(view);
        else if (pages > this.#longestRun()) reject(tooFew(this.#state, pages));
        else {
          // When enough pages are free, but not adjacent, later waiters may still take other pages.
          if (pages > this.available) this.#short = true;
          return "held";
        }
        return "served";
      },
      refuse: reject,
    });
    return promise;
  }

  allocList(pages: number): PageList {
    this.#assertOpen();
    this.#checkCount(pages, 1);
    if (pages > this.available || this.#short) throw exhausted(this.#state, pages, "");
    // A run of adjacent pages is tried first: it goes to the device as one SQE.
    const run = this.#take(pages);
    let list: PageList | null = null;
    for (let i = pages - 1; i >= 0; i--) {
      const page = run?.subarray(i * this.#page, (i + 1) * this.#page) ?? this.#take(1);
      if (page === null) {
        if (list !== null) this.free(list);
        throw exhausted(this.#state, pages, "");
      }
      list = { next: list, page };
    }
    return list!;
  }

  free(memory: Uint8Array | PageList): void {
    const runs = runsOf(memory, this.#page, this.#pages + this.#owed, (buffer) => this.chunkOf(buffer));
    for (const { chunk, first, count } of runs) this.#free += chunk.release(first, count);
    this.serve();
  }

  /** The chunk that an `ArrayBuffer` is, or null. */
  chunkOf(buffer: ArrayBufferLike): Chunk | null {
    return this.#byBuffer.get(buffer) ?? null;
  }

  /**
   * Keeps the pages under some segments until `unpin`.
   *
   * @throws {TypeError} When one of them is not allocated: it was freed before the request was made.
   */
  pin(segments: Segments): void {
    for (let i = 0; i < segments.count; i++) {
      const chunk = segments.arena[i];
      if (chunk instanceof Chunk && !chunk.owns(segments.at[i]!, segments.length[i]!)) {
        throw new TypeError("memory lies in pages of the pool that were freed");
      }
    }
    for (let i = 0; i < segments.count; i++) {
      const chunk = segments.arena[i];
      if (chunk instanceof Chunk) chunk.pin(segments.at[i]!, segments.length[i]!);
    }
  }

  /** Undoes one `pin`. */
  unpin(segments: Segments): void {
    let freed = 0;
    for (let i = 0; i < segments.count; i++) {
      const chunk = segments.arena[i];
      if (!(chunk instanceof Chunk)) continue;
      const free = chunk.unpin(segments.at[i]!, segments.length[i]!);
      if (free > 0 && !this.#lost.includes(chunk)) freed += free;
    }
    if (freed === 0) return;
    this.#free += freed;
    this.serve();
  }

  /** Takes up to `most` free pages as segments, adjacent ones if there are. @returns How many. */
  takeInto(segments: Segments, most: number): number {
    const lend = (pages: number) =>
      (this.#short ? null : this.#find(pages, LENT)) ?? this.#reserve.lend(pages);
    const count = Math.min(most, this.availableForCopies);
    const run = count > 0 ? lend(count) : null;
    if (run !== null) {
      segments.add(run.chunk, run.chunk.bytes, run.first * this.#page, count * this.#page);
      return count;
    }
    for (let taken = 0; taken < count; taken++) {
      const page = lend(1);
      if (page === null) return taken;
      segments.add(page.chunk, page.chunk.bytes, page.first * this.#page, this.#page);
    }
    return count;
  }

  /** Gives back what `takeInto` took. */
  giveBack(segments: Segments): void {
    for (let i = 0; i < segments.count; i++) {
      const chunk = segments.arena[i] as Chunk;
      const free = chunk.release(segments.at[i]! / this.#page, segments.length[i]! / this.#page);
      if (!this.#lost.includes(chunk) && !this.#reserve.has(chunk)) this.#free += free;
    }
    this.serve();
  }

  /** Queues a waiter. It is served at once when pages are free and no other waiter is before it. */
  wait(waiter: PageWaiter): void {
    this.#queue.add(waiter);
    this.serve();
  }

  /** Gives owed pages back to the system, then serves the waiters in order. */
  serve(): void {
    if (this.#settling || this.#halted) return;
    this.#settling = true;
    try {
      this.#repay();
      this.#loseTransferred();
      this.#short = false;
      if (this.#queue.serve()) this.#short = true;
    } finally {
      this.#settling = false;
    }
  }

  /** Refuses the waiters that may be refused, and all calls from here on. */
  refuse(error: Error): void {
    this.#refusal = error;
    for (const waiter of this.#queue.removeRefusable()) waiter.refuse!(error);
    this.serve();
  }

  /** Stops serving waiters, as the client broke. Pages stay mapped, as the kernel may still use them. */
  halt(error: Error): void {
    this.#halted = true;
    this.refuse(error);
  }

  /** Frees all pages, allocated ones too. Views of them have length 0 from here on. Nothing may be in flight. */
  close(): void {
    this.#halted = true;
    for (const chunk of [...this.#chunks.splice(0), ...this.#lost.splice(0)]) chunk.dispose();
    this.#reserve.close();
    this.#byBuffer.clear();
    this.#pages = this.#free = this.#owed = 0;
  }

  // The newest chunks go first: dmIoPut usually undoes the last dmIoGet.
  #repay(): void {
    for (let i = this.#chunks.length - 1; i >= 0 && this.#owed > 0; i--) {
      const chunk = this.#chunks[i]!;
      const cut = chunk.cut(this.#owed);
      this.#owed -= cut;
      this.#free -= cut;
      if (chunk.pages === 0) {
        this.#chunks.splice(i, 1);
        this.#byBuffer.delete(chunk.buffer);
        this.#maker.unmake(chunk);
      }
    }
  }

  #find(pages: number, use: PageUse = ALLOCATED): Run | null {
    if (pages > this.available) return null;
    for (const chunk of this.#chunks) {
      if (chunk.lost) {
        this.#lose(chunk);
        return this.#find(pages, use);
      }
      const first = chunk.allocate(pages, use);
      if (first < 0) continue;
      this.#free -= pages;
      return { chunk, first, count: pages };
    }
    return null;
  }

  // Comes before the count of free pages: a waiter that counted on pages of a lost chunk would wait for good.
  #loseTransferred(): void {
    for (let i = this.#chunks.length - 1; i >= 0; i--) {
      const chunk = this.#chunks[i]!;
      if (chunk.lost) this.#lose(chunk);
    }
  }

  // Removes a chunk whose buffer the program transferred away. It stays mapped, and its pages are not allocated again.
  #lose(chunk: Chunk): void {
    this.#chunks.splice(this.#chunks.indexOf(chunk), 1);
    this.#lost.push(chunk);
    this.#pages -= chunk.pages;
    this.#free -= chunk.free;
    this.#lostPages += chunk.pages;
  }

  #take(pages: number): Uint8Array<ArrayBuffer> | null {
    const found = this.#find(pages);
    if (found === null) return null;
    return new Uint8Array(found.chunk.buffer, found.first * this.#page, pages * this.#page);
  }

  #longestRun(): number {
    return this.#chunks.reduce((most, chunk) => Math.max(most, chunk.pages), 0);
  }

  #checkRun(pages: number): void {
    this.#assertOpen();
    this.#checkCount(pages, 1);
    if (pages > this.#longestRun()) throw tooFew(this.#state, pages);
  }

  #checkCount(pages: number, least: number): void {
    if (Number.isSafeInteger(pages) && pages >= least && pages <= this.#pages) return;
    throw noCount(this.#state, pages, least);
  }

  get #state(): PoolState {
    return {
      page: this.#page,
      pages: this.#pages,
      available: this.available,
      longestRun: this.#longestRun(),
      mostAdjacent: CHUNK_BYTES / this.#page,
      waiting: this.#short ? this.#queue.size : 0,
      lost: this.#lostPages,
    };
  }

  #assertOpen(): void {
    if (this.#refusal !== null) throw this.#refusal;
  }
}
