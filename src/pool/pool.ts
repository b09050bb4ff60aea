/**
 * The pool: page-aligned memory, registered with the ring, so that I/O neither copies nor waits for memory (the mempool of
 * drivers/md/dm-io.c).
 *
 * @module
 */

import type { PageList } from "../memory/memory.ts";

/**
 * The pages of one client. Sizes are in pages of {@linkcode pageSize} bytes.
 *
 * Pages are views of an `ArrayBuffer` that many of them share: all that one `get` added, up to 1 GiB. A program that transfers that buffer
 * away (`ArrayBuffer.transfer`, `postMessage` with a transfer list, `enqueue` into a byte stream) loses all pages in it; copy what is
 * to be handed on, with `slice()`. Such pages are never given out again, and `get` adds others.
 *
 * Memory that must be copied goes through free pages of the pool and, when the program holds them all, through a few that the pool
 * keeps for itself. So a copy never waits for the program.
 */
export interface Pool {
  /** How many pages the pool holds: what was got less what was put. */
  readonly pages: number;

  /** How many of them nobody uses. */
  readonly available: number;

  /**
   * Adds pages (`dm_io_get`).
   *
   * @param pages How many; they are adjacent, up to 1 GiB.
   * @throws {RangeError} For what is no count, or more than the machine has.
   * @throws {SystemError} `ENOMEM` when the system has no such memory; the pool is as it was. Where only locked memory is missing, the
   * pages are there, and slower: `features.fixedBuffersRefused` says what the limit is and how to raise it.
   */
  get(pages: number): void;

  /**
   * Takes pages away (`dm_io_put`). Those that are in use go when they are freed.
   *
   * @param pages How many.
   * @throws {RangeError} For more pages than the pool holds.
   */
  put(pages: number): void;

  /**
   * Allocates adjacent pages. Their content is whatever was there.
   *
   * @param pages How many, at least 1.
   * @returns Their memory.
   * @throws {RangeError} When the pool holds too few, or too few adjacent ones are free now, or others wait for more than are free.
   *
   * @example
   * ```ts
   * import { IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient({ pages: 16 });
   * const data = io.pool.alloc(8);
   * io.pool.free(data);
   * ```
   */
  alloc(pages: number): Uint8Array<ArrayBuffer>;

  /**
   * Allocates adjacent pages, and waits for them, after all who waited before. While there are enough free pages, but none adjacent,
   * others may still take single ones.
   *
   * @param pages How many, at least 1.
   * @returns Their memory.
   * @throws {RangeError} When the pool holds too few.
   * @throws {Error} When the client is closed meanwhile.
   */
  allocWait(pages: number): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * Allocates pages as a list; they need not be adjacent.
   *
   * @param pages How many, at least 1.
   * @returns The list.
   * @throws {RangeError} When the pool holds too few, or too few are free now, or others wait for pages.
   */
  allocList(pages: number): PageList;

  /**
   * Gives pages back. Those that a request still uses are handed out again only when the kernel is done with them.
   *
   * @param memory What `alloc`, `allocWait` or `allocList` gave, or whole pages of it.
   * @throws {TypeError} For memory that is not allocated from this pool; then nothing is freed.
   */
  free(memory: Uint8Array | PageList): void;
}
