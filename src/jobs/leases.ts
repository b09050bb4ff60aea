/**
 * Leases: the pages of the pool that one stream holds. A lease begins before a transfer, and ends when its bytes were copied or written.
 *
 * @module
 */

import { pageSize } from "../../ffi/memory.ts";
import type { StreamClient } from "./stream_client.ts";
import type { Pool } from "../pool/pool.ts";

/** A stream holds at most this part of the pages that are its own or free, so that later streams and the program find free pages. */
const SHARE = 1 / 2;
/** One lease is at most this part of its stream's share, so that a stream may have two. */
const LEASE = 1 / 2;

/** The pages of one stream. */
export class Leases {
  readonly #pool: Pool;
  readonly #unit: number;
  // The memory of each lease, and its number of pages of the pool: 0 for memory outside of the pool.
  readonly #held = new Map<Uint8Array, number>();
  #pages = 0;

  /**
   * @param pool The pool.
   * @param block Bytes of the longest logical block of the stream's direct devices. A lease is a multiple of it.
   */
  constructor(pool: Pool, block: number) {
    this.#pool = pool;
    this.#unit = Math.ceil(block / pageSize());
  }

  /**
   * Takes memory for one transfer. A stream without a lease always gets one, so that it goes on whatever others hold. When no page is free,
   * that lease is memory outside of the pool, which the client copies through its reserve.
   *
   * @param bytes How many bytes are wanted; a lease may be shorter or longer.
   * @returns The memory; null when the stream has a lease and its share allows no other.
   * @throws {TypeError} When the client is closed.
   */
  take(bytes: number): Uint8Array<ArrayBuffer> | null {
    const share = Math.floor((this.#pages + this.#pool.available) * SHARE);
    let pages = this.#whole(Math.min(Math.ceil(bytes / pageSize()), share * LEASE));
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

  /** Ends one lease. The pool allocates its pages again only when no request uses them. */
  giveBack(memory: Uint8Array): void {
    const pages = this.#held.get(memory);
    if (pages === undefined) return;
    this.#held.delete(memory);
    this.#pages -= pages;
    // Memory of length 0 was unmapped, as the client closed, or its buffer was transferred away.
    if (pages > 0 && memory.length > 0) this.#pool.free(memory);
  }

  /** Ends all leases. */
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
