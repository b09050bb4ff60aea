/**
 * Memory of every kind for a request, with what it held before, so that a stray byte shows.
 *
 * @module
 */

import type { SimEngine } from "./engine.ts";
import type { Memory, PageList, Pool } from "./library.ts";
import { addressOf } from "./memory.ts";
import type { Random } from "../../src/testing/random.ts";

export const PAGE = 4096;

/** Pages that a client's pool has given to this run; none may be given twice. */
export class PoolPages {
  readonly #out = new Map<number, number>();

  #count = 0;

  /**
   * @param most Pages to hold at most. The library copies some requests through its pool: a caller who keeps every page would
   * wait for itself.
   */
  constructor(readonly pool: Pool, readonly engine: SimEngine, readonly most: number) {}

  /** Takes adjacent pages, or undefined when the pool has none. */
  bytes(pages: number): Uint8Array | undefined {
    const got = this.#try(pages, () => this.pool.alloc(pages));
    if (got) this.#handedOut(got, pages * PAGE);
    return got;
  }

  /** Takes pages as a list, or undefined when the pool has none. */
  list(pages: number): PageList | undefined {
    const got = this.#try(pages, () => this.pool.allocList(pages));
    let count = 0;
    for (let node: PageList | null = got ?? null; node; node = node.next, count++) {
      this.#handedOut(node.page, PAGE);
    }
    if (got && count !== pages) this.engine.world.violate(`allocList(${pages}) has ${count} pages`);
    return got;
  }

  /** Gives pages back, unless they went with the pool. */
  free(memory: Uint8Array | PageList): void {
    if ((memory instanceof Uint8Array ? memory : memory.page).length === 0) return;
    if (memory instanceof Uint8Array) this.#forget(memory);
    else for (let node: PageList | null = memory; node; node = node.next) this.#forget(node.page);
    this.pool.free(memory);
  }

  #forget(bytes: Uint8Array): void {
    this.#out.delete(addressOf(bytes));
    this.#count -= bytes.length / PAGE;
  }

  #try<T>(pages: number, allocate: () => T): T | undefined {
    if (this.#count + pages > this.most) return undefined;
    try {
      return allocate();
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  #handedOut(bytes: Uint8Array, length: number): void {
    const { world } = this.engine;
    const address = addressOf(bytes);
    if (bytes.length !== length) world.violate(`the pool gave ${bytes.length} bytes for ${length}`);
    if (address % PAGE !== 0) world.violate(`the pool gave memory at ${address}, not a page's address`);
    const user = this.engine.userOf(address, length);
    if (user) world.violate(`the pool gave a page that ${user} may still touch`);
    for (const [other, size] of this.#out) {
      if (other < address + length && address < other + size) {
        world.violate(`the pool gave page ${address} twice`);
      }
    }
    this.#out.set(address, length);
    this.#count += length / PAGE;
  }
}

/** Memory lent to the library for one request. */
export class Loan {
  readonly #before: Uint8Array[];
  readonly #flatBefore: Uint8Array;

  /**
   * @param memory As the library takes it.
   * @param pieces The bytes it means, in order.
   * @param whole Each buffer that a piece is part of.
   */
  constructor(
    readonly kind: string,
    readonly memory: Memory,
    readonly pieces: readonly Uint8Array[],
    readonly whole: readonly Uint8Array[],
    readonly release: () => void,
    chance: Random,
  ) {
    for (const bytes of whole) chance.fill(bytes);
    this.#before = whole.map((bytes) => bytes.slice());
    this.#flatBefore = this.flat();
  }

  /** A copy of the bytes. */
  flat(): Uint8Array {
    const flat = new Uint8Array(this.pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of this.pieces) {
      flat.set(piece, at);
      at += piece.length;
    }
    return flat;
  }

  /** What the memory held when it was lent. */
  get before(): Uint8Array {
    return this.#flatBefore;
  }

  /** Whether the memory was the pool's, and the pool is gone. */
  get gone(): boolean {
    return this.whole.some((bytes) => bytes.length === 0);
  }

  /** Whether anything but the first `used` bytes has changed. */
  strayed(used: number): boolean {
    const flat = this.flat();
    if (!equal(flat.subarray(used), this.#flatBefore.subarray(used))) return true;
    this.#put(this.#flatBefore);
    const stray = this.whole.some((bytes, i) => !equal(bytes, this.#before[i]!));
    this.#put(flat);
    return stray;
  }

  #put(flat: Uint8Array): void {
    let at = 0;
    for (const piece of this.pieces) {
      piece.set(flat.subarray(at, at + piece.length));
      at += piece.length;
    }
  }
}

/** Whether two runs of bytes are the same. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  const words = a.length >> 2;
  if (a.byteOffset % 4 === 0 && b.byteOffset % 4 === 0) {
    const left = new Int32Array(a.buffer, a.byteOffset, words);
    const right = new Int32Array(b.buffer, b.byteOffset, words);
    for (let i = 0; i < words; i++) if (left[i] !== right[i]) return false;
    for (let i = words * 4; i < a.length; i++) if (a[i] !== b[i]) return false;
    return true;
  }
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What a request without data is lent. */
export function noMemory(chance: Random): Loan {
  return new Loan("no", new Uint8Array(0), [], [], () => {}, chance);
}

const KINDS = [
  "pool",
  "pool part",
  "pool list",
  "plain",
  "plain odd",
  "shared",
  "shared odd",
  "bvecs",
  "list",
] as const;

/** Makes memory of some kind that holds at least `bytes`. */
export function lend(bytes: number, pages: PoolPages, chance: Random): Loan {
  const spare = chance.chance(0.5) ? 0 : chance.skewed(0, 5000);
  const size = bytes + spare;
  const kind = chance.pick(KINDS);
  switch (kind) {
    case "pool":
    case "pool part": {
      const skip = kind === "pool" ? 0 : chance.chance(0.6) ? 512 * chance.below(8) : chance.below(PAGE);
      const got = pages.bytes(Math.max(1, Math.ceil((size + skip) / PAGE)));
      if (!got) break;
      const memory = got.subarray(skip, skip + size);
      return new Loan(kind, memory, [memory], [got], () => pages.free(got), chance);
    }
    case "pool list": {
      const offset = chance.chance(0.5) ? 0 : chance.chance(0.6) ? 512 * chance.below(8) : chance.below(PAGE);
      const list = pages.list(Math.max(1, Math.ceil((size + offset) / PAGE)));
      if (!list) break;
      return listLoan(kind, list, offset, () => pages.free(list), chance);
    }
    case "list": {
      let list: PageList | null = null;
      const offset = chance.chance(0.5) ? 0 : chance.below(PAGE);
      for (let left = size + offset; left > 0 || !list; left -= PAGE) {
        list = { page: new Uint8Array(PAGE), next: list };
      }
      return listLoan(kind, list, offset, () => {}, chance);
    }
    case "shared":
    case "shared odd": {
      // Where the buffer lies differs from run to run; how it is aligned must not.
      const wanted = kind === "shared" ? 512 * chance.below(8) : chance.below(PAGE);
      const whole = new Uint8Array(new SharedArrayBuffer(size + 2 * PAGE));
      const skip = (wanted + PAGE - addressOf(whole) % PAGE) % PAGE;
      pages.engine.memory.lend(whole);
      const memory = whole.subarray(skip, skip + size);
      return new Loan(kind, memory, [memory], [whole], () => {}, chance);
    }
    case "bvecs":
      return bvecs(size, pages, chance);
  }
  const skip = kind === "plain odd" ? chance.below(600) : 0;
  const whole = new Uint8Array(size + skip + 16);
  const memory = whole.subarray(skip, skip + size);
  return new Loan("plain", memory, [memory], [whole], () => {}, chance);
}

function listLoan(kind: string, list: PageList, offset: number, free: () => void, chance: Random): Loan {
  const whole: Uint8Array[] = [];
  for (let node: PageList | null = list; node; node = node.next) whole.push(node.page);
  const pieces = whole.map((page, i) => i === 0 ? page.subarray(offset) : page);
  const memory = offset === 0 && chance.chance(0.5) ? { pageList: list } : { pageList: list, offset };
  return new Loan(kind, memory, pieces, whole, free, chance);
}

/** Parts of pages of all sorts, in an order of their own. */
function bvecs(bytes: number, pages: PoolPages, chance: Random): Loan {
  const unit = chance.chance(0.7) ? 512 : 1;
  const size = Math.max(1, bytes); // no bvec is empty
  const vectors: { page: Uint8Array; offset: number; len: number }[] = [];
  const held: Uint8Array[] = [];
  for (let left = size; left > 0 || vectors.length === 0;) {
    const offset = chance.chance(0.5) ? 0 : Math.floor(chance.below(PAGE) / unit) * unit;
    const most = Math.min(PAGE - offset, left);
    const len = chance.chance(0.6)
      ? most
      : Math.min(most, Math.ceil(chance.between(1, most + 1) / unit) * unit);
    const fromPool = chance.chance(0.6) ? pages.bytes(1) : undefined;
    if (fromPool) held.push(fromPool);
    vectors.push({ page: fromPool ?? new Uint8Array(PAGE), offset, len });
    left -= len;
  }
  const pieces = vectors.map(({ page, offset, len }) => page.subarray(offset, offset + len));
  const release = () => held.forEach((page) => pages.free(page));
  return new Loan("bvecs", { bvecs: vectors }, pieces, vectors.map(({ page }) => page), release, chance);
}
