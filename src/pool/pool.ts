/**
 * The pool: page-aligned memory, registered with the ring, so that I/O neither copies nor waits for memory (the mempool of
 * drivers/md/dm-io.c).
 *
 * @module
 */

import type { PageList } from "../memory/memory.ts";

/** The pages of one client. Sizes are in pages of {@linkcode pageSize} bytes. */
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
   * @throws {SystemError} `ENOMEM`, with the limit and how to raise it; the pool is as it was.
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
   * @throws {RangeError} When the pool holds too few, or too few adjacent ones are free now, or others wait for pages.
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
   * Allocates adjacent pages, and waits for them, after all who waited before.
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
