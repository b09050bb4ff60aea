/**
 * The plain client's devices and pool.
 *
 * @module
 */

import type { Disk } from "./disk.ts";
import type { Device, PageList, Pool } from "./library.ts";
import { PAGE } from "./loan.ts";

/** What can be wrong with the client. */
export type Plant =
  | "none"
  | "a lost bit"
  | "a resume at the wrong offset"
  | "no retry"
  | "no narrowing"
  | "no zero-fill"
  | "a page that is not given back"
  | "one sector too many"
  | "the wrong region's bit"
  | "close without waiting"
  | "a file closed under its I/O"
  | "a lost wake-up";

/** A device that counts its users. */
export class PlainDevice implements Device {
  held = 0;
  closed = false;
  readonly gone = Promise.withResolvers<void>();

  constructor(
    readonly disk: Disk,
    readonly fd: number,
    readonly onClose: () => void,
    readonly plant: Plant,
  ) {}

  close(): Promise<void> {
    if (!this.closed) {
      this.closed = true;
      if (this.plant === "a file closed under its I/O") this.held = 0;
      this.release(0);
    }
    return this.gone.promise;
  }

  release(count = 1): void {
    this.held -= count;
    if (!this.closed || this.held > 0) return;
    this.onClose();
    this.gone.resolve();
  }
}

/** Whole pages of one buffer. */
export class PlainPool implements Pool {
  readonly #free: number[];
  readonly #whole: Uint8Array;

  constructor(memory: Uint8Array, pages: number, readonly plant: Plant) {
    this.#whole = memory;
    this.#free = Array.from({ length: pages }, (_, i) => i);
  }

  alloc(pages: number): Uint8Array {
    const start = this.#free.findIndex((page, i) => this.#free[i + pages - 1] === page + pages - 1);
    if (start < 0) throw new RangeError("the pool is empty");
    const [first] = this.#free.splice(start, pages);
    return this.#whole.subarray(first! * PAGE, (first! + pages) * PAGE);
  }

  allocList(pages: number): PageList {
    if (this.#free.length < pages) throw new RangeError("the pool is empty");
    let list: PageList | null = null;
    for (let i = 0; i < pages; i++) list = { page: this.alloc(1), next: list };
    return list!;
  }

  free(memory: Uint8Array | PageList): void {
    if (memory instanceof Uint8Array) {
      const first = (memory.byteOffset - this.#whole.byteOffset) / PAGE;
      const pages = memory.length / PAGE - (this.plant === "a page that is not given back" ? 1 : 0);
      for (let i = 0; i < pages; i++) this.#free.push(first + i);
      this.#free.sort((a, b) => a - b);
    } else {
      for (let node: PageList | null = memory; node; node = node.next) this.free(node.page);
    }
  }

  get(): void {}
  put(): void {}
}
