/**
 * The pool: page-aligned memory, registered with a ring where there is one, so that I/O neither copies nor waits for memory (the mempool
 * of drivers/md/dm-io.c).
 *
 * @module
 */

import type { PageList } from "../memory/memory.ts";

/**
 * The pages of one client. Sizes are in pages of {@linkcode pageSize} bytes.
 *
 * Pages are views of an `ArrayBuffer` that many of them share: all that one `get` added, up to 1 GiB. A program that transfers that buffer
 * away (`ArrayBuffer.transfer`, `postMessage` with a transfer list, `enqueue` into a byte stream) loses all pages in it, so hand on a
 * copy (`slice()`). Lost pages are never allocated again; `get` adds others.
 *
 * Memory that must be copied goes through free pages of the pool and, when the program holds them all, through a reserve of a few pages.
 * So a copy never waits for the program to free pages.
 */
export interface Pool {
  /** How many pages the pool holds: the sum of `get` less the sum of `put`. */
  readonly pages: number;

  /** How many of them are free. */
  readonly available: number;

  /**
   * Adds pages (`dm_io_get`).
   *
   * @param pages How many; they are adjacent, up to 1 GiB.
   * @throws {RangeError} When it is no count, or more than the machine has.
   * @throws {SystemError} `ENOMEM` when the system lacks the memory; the pool is unchanged. When only lockable memory is lacking, the pages
   * are added unregistered, which is slower: `features.fixedBuffersRefused` says what the limit is and how to raise it.
   */
  get(pages: number): void;

  /**
   * Removes pages (`dm_io_put`). Pages in use are removed when they are freed.
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
   * @throws {RangeError} When the pool holds too few, too few adjacent ones are free now, or an earlier caller waits for more than are
   * free.
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
   * Allocates adjacent pages, and waits for them behind earlier callers. While enough pages are free, but not adjacent, later callers may
   * still take single pages.
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
   * @throws {RangeError} When the pool holds too few, too few are free now, or an earlier caller waits for more than are free.
   */
  allocList(pages: number): PageList;

  /**
   * Gives pages back. Pages that a request still uses are allocated again only when the kernel is done with them.
   *
   * @param memory What `alloc`, `allocWait` or `allocList` gave, or whole pages of it.
   * @throws {TypeError} For memory that is not allocated from this pool; then nothing is freed.
   */
  free(memory: Uint8Array | PageList): void;
}
