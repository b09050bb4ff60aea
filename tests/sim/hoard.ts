/**
 * A caller that keeps pages of the pool for a while, and makes the pool larger and smaller.
 *
 * @module
 */

import { PoolPages } from "./loan.ts";
import type { Random } from "../../src/testing/random.ts";

/** Pages that are allocated, and not used for I/O. */
export class Hoard {
  readonly #held: Uint8Array[] = [];
  readonly #got: number[] = [];

  /** @param size Pages that the pool began with. */
  constructor(readonly pages: PoolPages, readonly size: number, readonly chance: Random) {}

  /** Takes or frees some. */
  step(): void {
    const { chance } = this;
    if (this.#held.length > 0 && chance.chance(0.5)) {
      this.pages.free(this.#held.splice(chance.below(this.#held.length), 1)[0]!);
      return;
    }
    const taken = this.pages.bytes(chance.skewed(1, Math.max(1, this.size >> 1)));
    if (taken) this.#held.push(taken);
  }

  /** Makes the pool larger, or takes that back. */
  resize(): void {
    const { pool } = this.pages;
    if (this.#got.length > 0 && this.chance.chance(0.5)) return pool.put(this.#got.pop()!);
    const pages = this.chance.between(1, 32);
    try {
      pool.get(pages);
      this.#got.push(pages);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOMEM") throw error;
    }
  }

  /** Frees all. */
  free(): void {
    for (const bytes of this.#held.splice(0)) this.pages.free(bytes);
  }

  /** Checks that every page is back, once: the pool can give each of them, and not one more. */
  countPages(): void {
    const { pool, engine } = this.pages;
    for (const pages of this.#got.splice(0)) pool.put(pages);
    const all = new PoolPages(pool, engine, Infinity);
    const pages = Array.from({ length: this.size }, () => all.bytes(1));
    if (pages.includes(undefined)) engine.world.violate("the pool has lost pages");
    if (all.bytes(1)) engine.world.violate("the pool has more pages than it was given");
    for (const page of pages) all.free(page!);
  }
}
