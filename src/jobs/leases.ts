/**
 * Leases: the pool's pages that one stream holds, from before its I/O until their bytes were copied.
 *
 * @module
 */

import { pageSize } from "../../ffi/memory.ts";
import type { StreamClient } from "./stream_client.ts";
import type { Pool } from "../pool/pool.ts";

/** A stream takes at most this part of the pages that it holds or that are free, so that later streams and the program find some. */
const SHARE = 1 / 2;
/** One lease is at most this part of its stream's share, so that two may be in flight. */
const PIECE = 1 / 2;

/** The pages of one stream. */
export class Leases {
  readonly #pool: Pool;
  readonly #unit: number;
  // Each lease's memory, and its pages of the pool: 0 for memory of its own.
  readonly #held = new Map<Uint8Array, number>();
  #pages = 0;

  /**
   * @param pool Has the pages.
   * @param block Bytes of the longest block that direct I/O goes in. A lease is a multiple of it.
   */
  constructor(pool: Pool, block: number) {
    this.#pool = pool;
    this.#unit = Math.ceil(block / pageSize());
  }

  /**
   * Takes memory for one transfer. The first lease is always granted, so that streams go on whatever others hold: when no page is free, it
   * is memory of its own, which the client copies through its reserve.
   *
   * @param bytes How much is wanted; a lease may be shorter or longer.
   * @returns The memory; null while other leases are held and no more pages may be.
   * @throws {TypeError} When the client is closed.
   */
  take(bytes: number): Uint8Array<ArrayBuffer> | null {
    const share = Math.floor((this.#pages + this.#pool.available) * SHARE);
    let pages = this.#whole(Math.min(Math.ceil(bytes / pageSize()), share * PIECE));
    if (this.#held.size > 0) return this.#pages + pages <= share ? this.#alloc(pages) : null;
    // Free pages may lie apart.
    for (; pages <= this.#pool.available; pages = this.#whole(pages / 2)) {
      const memory = this.#alloc(pages);
      if (memory !== null) return memory;
      if (pages === this.#unit) break;
    }
    const unit = this.#unit * pageSize();
    const own = new Uint8Array(Math.ceil(bytes / unit) * unit);
    this.#held.set(own, 0);
    return own;
  }

  /** Gives one lease back. A request that still uses the pages keeps them from being allocated again. */
  giveBack(memory: Uint8Array): void {
    const pages = this.#held.get(memory);
    if (pages === undefined) return;
    this.#held.delete(memory);
    this.#pages -= pages;
    // Pages that were unmapped, as the client closed, or transferred away have length 0.
    if (pages > 0 && memory.length > 0) this.#pool.free(memory);
  }

  /** Gives all leases back. */
  giveBackAll(): void {
    for (const memory of [...this.#held.keys()]) this.giveBack(memory);
  }

  #whole(pages: number): number {
    return Math.max(Math.floor(pages / this.#unit), 1) * this.#unit;
  }

  #alloc(pages: number): Uint8Array<ArrayBuffer> | null {
    try {
      const memory = this.#pool.alloc(pages);
      this.#held.set(memory, pages);
      this.#pages += pages;
      return memory;
    } catch (error) {
      // The pages are not adjacent, or others wait for them.
      if (error instanceof RangeError) return null;
      throw error;
    }
  }
}

/** Why a stream's pages are gone: the client was closed, or the program transferred their buffer away. */
export function lostPages({ closed }: StreamClient): TypeError {
  return new TypeError(
    closed
      ? "the client was closed while the stream was open"
      : "the pages of a stream are gone: the ArrayBuffer that they are views of was transferred away (see Pool)",
  );
}
