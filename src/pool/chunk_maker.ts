/**
 * Makes chunks of pages: mapped, and registered as a fixed buffer when the table has a place and the system has memory to lock.
 *
 * @module
 */

import { ENOMEM, errnoName } from "../../ffi/errno.ts";
import type { Engines } from "../engine/engines.ts";
import { FreePlaces } from "../engine/free_places.ts";
import { memlockAdvice } from "../engine/setup.ts";
import { Chunk } from "./chunk.ts";

/** Makes the chunks of one pool. */
export class ChunkMaker {
  /** Why the kernel refused to register pages as a fixed buffer; null when it never did. */
  refused: string | null = null;

  readonly #engines: Engines;
  #places: FreePlaces | null = null;

  /** @param engines The client's engines. The main one registers the pages in its table of fixed buffers. */
  constructor(engines: Engines) {
    this.#engines = engines;
  }

  /**
   * Makes a chunk. Without a place or memory to lock, its pages work too, but the kernel maps them anew for each request.
   *
   * @param pages How many, at most 1 GiB of them.
   * @throws {SystemError} When the system has no room for them.
   */
  make(pages: number): Chunk {
    const { main } = this.#engines;
    const chunk = new Chunk(main, pages);
    if (main === null) return chunk;
    this.#places ??= new FreePlaces(main.features.fixedBuffers ? main.tableEntries : 0);
    const place = this.#places.take();
    const result = chunk.register(place);
    if (result < 0) {
      this.#places.give(place);
      this.refused = result === -ENOMEM ? memlockAdvice() : `io_uring_register: ${errnoName(-result)}`;
    }
    return chunk;
  }

  /** Unmaps a chunk. Nothing may be in flight. */
  unmake(chunk: Chunk): void {
    const { place } = chunk;
    chunk.dispose();
    this.#places?.give(place);
  }
}
