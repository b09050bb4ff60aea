/** The pool: the owner of each page, the waiters for pages, and when pages go back to the system. */

import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { BlockDevice, dmIoClient, dmIoGet, dmIoPut, IoClient, type PageList, pageSize } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { Scratch } from "../support/scratch.ts";
import { addressOf } from "../../ffi/memory.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";
import { processState } from "../support/process_state.ts";
import { runProgram } from "../support/program.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

function addressIn(view: Uint8Array): number {
  return addressOf(Deno.UnsafePointer.of(view as Uint8Array<ArrayBuffer>));
}

function pagesOf(list: PageList): Uint8Array[] {
  const pages: Uint8Array[] = [];
  for (let node: PageList | null = list; node !== null; node = node.next) pages.push(node.page);
  return pages;
}

Deno.test("pages come adjacent, page-aligned, and each to one owner", async () => {
  await using io = new IoClient({ pages: 64 });
  io.pool.get(64);
  assertEquals([io.pool.pages, io.pool.available], [128, 128]);
  const owners = new Set<number>();
  const take = (view: Uint8Array) => {
    assertEquals(addressIn(view) % PAGE, 0);
    assertEquals(view.length % PAGE, 0);
    for (let at = 0; at < view.length; at += PAGE) {
      const page = addressIn(view) + at;
      assert(!owners.has(page), "a page was handed out twice");
      owners.add(page);
    }
  };
  for (const count of [1, 7, 16, 3, 32, 1]) take(io.pool.alloc(count));
  for (const page of pagesOf(io.pool.allocList(20))) {
    assertEquals(page.length, PAGE);
    take(page);
  }
  take(await io.pool.allocWait(5));
  assertEquals(io.pool.available, 128 - owners.size);
  while (io.pool.available > 0) take(io.pool.alloc(1));
  assertEquals(owners.size, 128);
});

Deno.test("alloc throws with the count of free pages when too few are free, and works after a free", async () => {
  await using io = new IoClient({ pages: 8 });
  const pages = Array.from({ length: 8 }, () => io.pool.alloc(1));
  for (const call of [() => io.pool.alloc(1), () => io.pool.allocList(1)]) {
    const { message } = assertThrows(call, RangeError);
    assertStringIncludes(message, "0 of 8");
    assertStringIncludes(message, "pool.get");
  }
  for (const i of [1, 3, 5, 6]) io.pool.free(pages[i]!);
  assertThrows(() => io.pool.alloc(3), RangeError, "adjacent");
  assertEquals(io.pool.available, 4);
  assertEquals(pagesOf(io.pool.allocList(4)).length, 4, "a list needs no adjacent pages");
  for (const count of [0, -1, 1.5, NaN, 9, "1" as unknown as number]) {
    assertThrows(() => io.pool.alloc(count), RangeError, `pages is`);
    assertThrows(() => io.pool.allocList(count), RangeError, "from 1 to 8");
    assertThrows(() => void io.pool.allocWait(count), RangeError);
  }
  assertThrows(() => io.pool.get(-1), RangeError, "pages is -1");
  assertThrows(() => io.pool.put(9), RangeError, "to 8");
});

Deno.test("allocWait serves callers in order, and no later one first", async () => {
  await using io = new IoClient({ pages: 4 });
  const { pool } = io;
  const held = pool.alloc(4);
  const served: string[] = [];
  const wait = (name: string, count: number) =>
    pool.allocWait(count).then((view) => {
      served.push(name);
      return view;
    });
  const first = wait("first takes 3", 3);
  const second = wait("second takes 1", 1);
  const third = wait("third takes 2", 2);
  pool.free(held.subarray(0, 2 * PAGE));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(served, [], "one page would do for the second, but the first was there before");
  assertThrows(() => pool.alloc(1), RangeError, "3 callers wait");
  assertThrows(() => pool.allocList(1), RangeError, "3 callers wait");
  pool.free(held.subarray(2 * PAGE));
  const one = await first;
  await second;
  assertEquals(served, ["first takes 3", "second takes 1"]);
  pool.free(one);
  await third;
  assertEquals(served, ["first takes 3", "second takes 1", "third takes 2"]);
});

Deno.test("allocWait rejects at close, and when the pool has become too small", async () => {
  const io = new IoClient({ pages: 4 });
  io.pool.alloc(4);
  const waiting = io.pool.allocWait(2);
  await Promise.all([
    assertRejects(() => waiting, Error, "closed"),
    io.close(),
  ]);
  await using other = new IoClient({ pages: 4 });
  const held = other.pool.alloc(4);
  const vain = other.pool.allocWait(3);
  const refused = assertRejects(() => vain, RangeError, "pool.get");
  other.pool.put(3);
  other.pool.free(held);
  assert(await settlesWithin(refused, PATIENCE), "it waits for what can never come");
  await refused;
  assertEquals([other.pool.pages, other.pool.available], [1, 1]);
});

Deno.test("get adds pages, and put removes them in any parts", async () => {
  await using io = new IoClient({ pages: 0 });
  const { pool } = io;
  for (const pages of [1, 10, 100]) pool.get(pages);
  assertEquals([pool.pages, pool.available], [111, 111]);
  const data = pool.alloc(100);
  assertEquals(data.length, 100 * PAGE);
  assertThrows(() => pool.put(112), RangeError, "111");
  // 100 pages are in use; the pool shrinks at once as far as it can, and the rest follows.
  pool.put(60);
  assertEquals([pool.pages, pool.available], [51, 0]);
  assertThrows(() => pool.alloc(1), RangeError);
  pool.put(51);
  assertEquals([pool.pages, pool.available], [0, 0]);
  pool.free(data);
  pool.get(5);
  assertEquals([pool.pages, pool.available], [5, 5]);
  assertEquals(pool.alloc(5).length, 5 * PAGE);
  dmIoGet(3);
  dmIoGet(4);
  dmIoPut(5);
  assertEquals(dmIoClient().pool.pages, 2);
  dmIoPut(2);
  assertThrows(() => dmIoClient(), Error, "dmIoGet");
});

Deno.test("pages put while in use keep their bytes until they are freed", async () => {
  await using io = new IoClient({ pages: 16 });
  const { pool } = io;
  const data = fillPattern(pool.alloc(16), 3);
  pool.put(12);
  expectSame(data, pattern(16 * PAGE, 3));
  pool.free(data.subarray(0, 8 * PAGE));
  expectSame(data.subarray(8 * PAGE), pattern(16 * PAGE, 3).subarray(8 * PAGE), "pages still in use");
  assertEquals(pool.available, 0, "12 pages are owed, 8 came back");
  pool.free(data.subarray(8 * PAGE));
  assertEquals([pool.pages, pool.available], [4, 4]);
  const left = pool.alloc(4).fill(7);
  assert(left.every((byte) => byte === 7));
});

Deno.test("memory that is not whole allocated pages of this pool cannot be freed", async () => {
  await using io = new IoClient({ pages: 16 });
  await using other = new IoClient({ pages: 16 });
  const { pool } = io;
  const data = pool.alloc(4);
  const foreign = other.pool.alloc(1);
  const wrong: unknown[] = [
    new Uint8Array(PAGE),
    foreign,
    data.subarray(1, PAGE + 1),
    data.subarray(0, PAGE / 2),
    data.subarray(0, PAGE + 1),
    data.subarray(0, 0),
    new Uint8Array(data.buffer, 0, 16 * PAGE),
    new Uint16Array(data.buffer, data.byteOffset, PAGE / 2),
    { next: null, page: foreign },
    { next: { next: null, page: data.subarray(0, PAGE) }, page: data.subarray(0, PAGE) },
    { next: { next: null, page: new Uint8Array(PAGE) }, page: data.subarray(0, PAGE) },
    { next: { next: null, page: data.subarray(PAGE, 2 * PAGE) }, page: data.subarray(0, 2 * PAGE) },
    null,
    undefined,
    "data",
    {},
    5,
  ];
  const circle: PageList = { next: null, page: data.subarray(0, PAGE) };
  circle.next = circle;
  wrong.push(circle);
  for (const [i, memory] of wrong.entries()) {
    assertThrows(() => pool.free(memory as Uint8Array), TypeError, "memory", `number ${i}`);
    assertEquals(pool.available, 12, `number ${i} freed something`);
  }
  pool.free(data.subarray(PAGE, 2 * PAGE));
  for (const memory of [data, data.subarray(PAGE, 2 * PAGE)]) {
    assertThrows(() => pool.free(memory), TypeError, "freed before");
  }
  assertEquals(pool.available, 13);
  pool.free(data.subarray(0, PAGE));
  pool.free(data.subarray(2 * PAGE));
  assertEquals(pool.available, 16);
  assertThrows(() => pool.free(data), TypeError, "freed before");
});

Deno.test("a page freed in flight is allocated again only when the kernel is done with it", async () => {
  await using nbd = await NbdDevice.create({ delay: 300 });
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 4 });
  const { pool } = io;
  const data = fillPattern(pool.alloc(2), 5);
  const answer = io.write([{ bdev: device, sector: 0, count: 16 }], data);
  pool.free(data);
  assertEquals(pool.available, 2);
  assertThrows(() => pool.free(data), TypeError, "freed before");
  assertThrows(() => io.write([{ bdev: device, sector: 0, count: 16 }], data), TypeError, "freed");
  const rest = pool.alloc(2);
  assert(addressIn(rest) !== addressIn(data) && rest.length === 2 * PAGE);
  rest.fill(0xff);
  assertThrows(() => pool.alloc(1), RangeError);
  const waiting = pool.allocWait(2).then((view) => {
    assertEquals(io.outstanding, 0, "the pages were handed out while the kernel had them");
    return addressIn(view.fill(0xee));
  });
  assertEquals((await answer).errorBits, 0n);
  assertEquals(await waiting, addressIn(data));
  const back = rest;
  assertEquals((await io.read({ bdev: device, sector: 0, count: 16 }, back)).errorBits, 0n);
  expectSame(back, pattern(2 * PAGE, 5), "what was written from the freed pages");
});

Deno.test("views of the pool have length 0 once the client is closed", async () => {
  const io = new IoClient({ pages: 8 });
  const view = io.pool.alloc(4).fill(1);
  const part = view.subarray(PAGE, 2 * PAGE);
  const list = io.pool.allocList(2);
  await io.close();
  for (const stale of [view, part, ...pagesOf(list)]) {
    assertEquals(stale.length, 0);
    assertEquals(stale[0], undefined);
    stale[0] = 1;
    assertThrows(() => stale.fill(2), TypeError, "detached");
  }
  assertThrows(() => io.pool.free(view), TypeError);
});

Deno.test("get locks its pages, and put gives them back to the system", async () => {
  const source = `
    import { IoClient } from "./mod.ts";
    const state = () => {
      const status = Deno.readTextFileSync("/proc/self/status");
      const kib = (key) => Number(new RegExp("^" + key + ":\\\\s*(\\\\d+)", "m").exec(status)[1]);
      return { pinned: Math.max(kib("VmPin"), kib("VmLck")), resident: kib("RssAnon") };
    };
    const states = [];
    const io = new IoClient({ pages: 16 });
    states.push(state());
    io.pool.get(16384);
    io.pool.free(io.pool.alloc(16384).fill(1));
    states.push(state());
    io.pool.put(8192);
    states.push(state());
    io.pool.put(8192);
    states.push(state());
    const held = io.pool.alloc(16);
    io.pool.put(16);
    io.pool.free(held);
    await io.close();
    console.log(JSON.stringify(states));`;
  const { code, stdout, stderr } = await runProgram({ source, permissions: ["-A", "--no-check"] });
  assertEquals(code, 0, stderr);
  const states = JSON.parse(stdout) as { pinned: number; resident: number }[];
  const resident = states.map((state) => (state.resident - states[0]!.resident) / 1024);
  assert(resident[1]! > 60, `64 MiB got: ${resident}`);
  assert(resident[2]! < 40, `32 MiB of them put: ${resident}`);
  assert(resident[3]! < 8, `all of them put: ${resident}`);
});

Deno.test("clients made and closed leave no file, no mapping and no memory", async () => {
  const make = async () => {
    for (let i = 0; i < 20; i++) {
      await using io = new IoClient({ pages: 256 });
      io.pool.alloc(200).fill(i);
    }
  };
  await make();
  const before = processState();
  const maps = mappings();
  await make();
  assert(await until(() => processState().openFiles <= before.openFiles, PATIENCE));
  const after = processState();
  assert(after.locked <= before.locked && after.pinned <= before.pinned);
  assert(after.resident - before.resident < 12 << 20, `${after.resident - before.resident} bytes`);
  assert(mappings() - maps < 20, `${mappings() - maps} mappings more`);
});

function mappings(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n").length;
}

/** A ring that has no memory to lock for a while. */
class ShortOfMemory extends IoUring {
  refusals = 0;

  override registerBuffer(index: number, address: number, length: number): number {
    if (length === 0 || this.refusals-- <= 0) return super.registerBuffer(index, address, length);
    return -12;
  }
}

Deno.test("pages that could not be registered 400 times take no place from those that can", async () => {
  const ring = new ShortOfMemory(8);
  await using io = clientOn(ring, { pages: 4 });
  ring.refusals = 400;
  for (let i = 0; i < 400; i++) {
    io.pool.get(1);
    io.pool.put(1);
  }
  await using scratch = await Scratch.create();
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  io.pool.alloc(4);
  io.pool.get(1);
  const before = io.stats().fixedSqes;
  assertEquals((await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1))).ok, true);
  assertEquals(io.stats().fixedSqes - before, 1, "the new page is a fixed buffer");
});

Deno.test("advice on too many pages names what helps: a unit, or the longest run that there can be", async () => {
  await using io = new IoClient({ pages: 16 });
  assertThrows(() => io.pool.alloc(4 * 4096), RangeError, "The unit is pages: 16384 bytes are 4");
  const error = assertThrows(() => io.pool.alloc(300_000), RangeError, "from 1 to 16, what the pool holds");
  assertEquals(error.message.includes("pool.get"), false);
});

Deno.test("pages of the pool are of an ArrayBuffer by their type, as a Response wants them", async () => {
  await using io = new IoClient({ pages: 2 });
  const page = io.pool.alloc(1).fill(7);
  assertEquals(new Uint8Array(await new Response(page).arrayBuffer()), page.slice());
});
