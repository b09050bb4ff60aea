import { assertEquals, assertThrows } from "@std/assert";
import { pageSize } from "../../../ffi/memory.ts";
import { Leases } from "../../../src/jobs/leases.ts";
import type { Pool } from "../../../src/pool/pool.ts";

const PAGE = pageSize();

/** A pool that counts, and refuses runs of more than `longest` pages. */
class CountingPool implements Pool {
  readonly freed: Uint8Array[] = [];

  constructor(readonly pages: number, public longest = pages, public available = pages) {}

  alloc(pages: number): Uint8Array<ArrayBuffer> {
    if (pages > this.available || pages > this.longest) throw new RangeError("no such run");
    this.available -= pages;
    return new Uint8Array(pages * PAGE);
  }

  free(memory: Uint8Array): void {
    this.freed.push(memory);
    this.available += memory.length / PAGE;
  }

  get = () => {};
  put = () => {};
  allocWait = () => Promise.reject();
  allocList = () => ({ page: new Uint8Array(PAGE), next: null });
}

/** Takes leases until there is none. @returns The pages of each. */
function all(leases: Leases, bytes: number): number[] {
  const pages: number[] = [];
  for (let memory = leases.take(bytes); memory !== null; memory = leases.take(bytes)) {
    pages.push(memory.length / PAGE);
  }
  return pages;
}

Deno.test("a stream takes half of the pages, and the next ones halves of the rest", () => {
  const pool = new CountingPool(64);
  const streams = [1, 2, 3].map(() => new Leases(pool, 512));
  assertEquals(streams.map((leases) => all(leases, PAGE).length), [32, 16, 8]);
  for (const leases of streams) leases.giveBackAll();
  assertEquals(pool.available, 64);
});

Deno.test("two leases fit, however much is wanted", () => {
  const pool = new CountingPool(64);
  assertEquals(all(new Leases(pool, 512), 1 << 30), [16, 16]);
});

Deno.test("the first lease is granted without a page, of as many bytes as are wanted, and only the first", () => {
  const pool = new CountingPool(8, 8, 0);
  const leases = new Leases(pool, 512);
  assertEquals(all(leases, 3 * PAGE + 1), [4]);
  leases.giveBackAll();
  assertEquals(all(leases, PAGE), [1]);
  assertEquals(pool.freed, []);
});

Deno.test("single pages serve a stream when no run of pages is free", () => {
  const leases = new Leases(new CountingPool(64, 1), 512);
  const memory = leases.take(16 * PAGE)!;
  assertEquals(memory.length, PAGE);
});

Deno.test("a lease is whole blocks, also when a block is longer than a page and the pool is short", () => {
  for (const available of [64, 9, 4, 3, 0]) {
    const leases = new Leases(new CountingPool(64, 64, available), 4 * PAGE);
    assertEquals(leases.take(5 * PAGE)!.length % (4 * PAGE), 0, `${available} pages`);
  }
});

Deno.test("a lease is given back once, and not when its memory is gone", () => {
  const pool = new CountingPool(8);
  const leases = new Leases(pool, 512);
  const [one, other] = [leases.take(PAGE)!, leases.take(PAGE)!];
  leases.giveBack(one);
  leases.giveBack(one);
  (other.buffer as ArrayBuffer).transfer();
  leases.giveBackAll();
  assertEquals(pool.freed, [one]);
});

Deno.test("a closed pool's error is the caller's", () => {
  const pool = new CountingPool(8);
  pool.alloc = () => {
    throw new TypeError("the client is closed");
  };
  assertThrows(() => new Leases(pool, 512).take(PAGE), TypeError, "closed");
});
