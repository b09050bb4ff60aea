/**
 * The pool as a program sees it: after each change, copies that wait for pages go on.
 *
 * @module
 */

import type { Driver } from "./drive/driver.ts";
import type { PageList } from "./memory/memory.ts";
import type { PagePool } from "./pool/page_pool.ts";
import type { Pool } from "./pool/pool.ts";

/** The pages of one client. `src/pool/pool.ts` says what each member promises. */
export class ClientPool implements Pool {
  readonly #pages: PagePool;
  readonly #driver: Driver;

  /** Takes the pages, and the driver of the copies that wait for them. */
  constructor(pages: PagePool, driver: Driver) {
    this.#pages = pages;
    this.#driver = driver;
  }

  get pages(): number {
    return this.#pages.pages;
  }

  get available(): number {
    return this.#pages.available;
  }

  get(pages: number): void {
    this.#pages.get(pages);
    this.#driver.pagesCameFree();
  }

  put(pages: number): void {
    this.#pages.put(pages);
    this.#driver.pagesCameFree();
  }

  alloc(pages: number): Uint8Array<ArrayBuffer> {
    return this.#pages.alloc(pages);
  }

  allocWait(pages: number): Promise<Uint8Array<ArrayBuffer>> {
    const waiting = this.#pages.allocWait(pages);
    this.#driver.pagesCameFree();
    return waiting;
  }

  allocList(pages: number): PageList {
    return this.#pages.allocList(pages);
  }

  free(memory: Uint8Array | PageList): void {
    this.#pages.free(memory);
    this.#driver.pagesCameFree();
  }
}
