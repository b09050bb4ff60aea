/**
 * The reserve: pages that only copies use, so that copies go on while the program holds every page of the pool. The first copy makes it.
 * Its pages are not counted in `pages` and `available` of the pool.
 *
 * @module
 */

import { type Chunk, LENT } from "./chunk.ts";
import type { ChunkMaker } from "./chunk_maker.ts";
import type { Run } from "./runs.ts";

/** Enough for a few copies at a time, and no burden on a small limit of locked memory. */
const PAGES = 16;

/** The reserve of one pool. */
export class Reserve {
  readonly #maker: ChunkMaker;
  readonly #chunks: Chunk[] = [];

  /** @param maker Makes its chunks. */
  constructor(maker: ChunkMaker) {
    this.#maker = maker;
  }

  /** How many of its pages are free. */
  get free(): number {
    let free = 0;
    for (const chunk of this.#chunks) free += chunk.free;
    return free;
  }

  /** Makes it hold at least so many adjacent pages. @throws {SystemError} When the system has no room for them. */
  hold(pages: number): void {
    if (this.#chunks.some((chunk) => chunk.pages >= pages)) return;
    // Twice as many, so that a device that hangs with its part leaves as much to the others.
    this.#chunks.push(this.#maker.make(Math.max(2 * pages, PAGES)));
  }

  /** Lends adjacent pages. @returns Null when too few are free. */
  lend(pages: number): Run | null {
    for (const chunk of this.#chunks) {
      const first = chunk.allocate(pages, LENT);
      if (first >= 0) return { chunk, first, count: pages };
    }
    return null;
  }

  /** Whether a chunk is of the reserve. */
  has(chunk: Chunk): boolean {
    return this.#chunks.includes(chunk);
  }

  /** Unmaps all of it. Nothing may be in flight. */
  close(): void {
    for (const chunk of this.#chunks.splice(0)) this.#maker.unmake(chunk);
  }
}
