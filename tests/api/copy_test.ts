/** Copies: memory that the kernel cannot be given goes through pages of the pool, and waits for them in order. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { BlockDevice, IoClient, pageSize } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { LoopDevice, sectorSizeLack } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { testUnless } from "../support/test_unless.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

async function withFile(body: (device: BlockDevice, path: string) => Promise<void>): Promise<void> {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using device = BlockDevice.open(path, { write: true, create: 1 << 20 });
  await body(device, path);
  assertEquals(device.inFlight, 0);
}

Deno.test("copied requests go on though the program holds every page, and end in the order of the calls", () =>
  withFile(async (device, path) => {
    await using io = new IoClient({ pages: 4 });
    const held = io.pool.alloc(4);
    const order: number[] = [];
    // All to one place, so that the last one in order is what stays.
    const answers = Array.from({ length: 6 }, async (_, i) => {
      const where = { bdev: device, sector: 0, count: 64 };
      const { errorBits } = await io.write([where], pattern(64 * 512, i));
      order.push(i);
      assertEquals(errorBits, 0n);
    });
    await Promise.all(answers);
    assertEquals([io.pool.available, io.pool.pages], [0, 4], "the reserve is no part of the pool");
    io.pool.free(held);
    assertEquals(io.pool.available, 4);
    assertEquals(order.length, 6);
    expectSame(Deno.readFileSync(path).subarray(0, 64 * 512), pattern(64 * 512, 5));
    assertEquals(Deno.readFileSync(path).length, 1 << 20);
  }));

Deno.test("eight copied reads, each longer than the pool, are all served", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 3 });
    const source = pattern(1 << 20, 9);
    assertEquals(io.writeSync([{ bdev: device, sector: 0, count: 2048 }], source).errorBits, 0n);
    const back = Array.from({ length: 8 }, () => new Uint8Array(1 << 20));
    const where = { bdev: device, sector: 0, count: 2048 };
    const answers = await Promise.all(back.map((memory) => io.read(where, memory)));
    for (const [i, { errorBits }] of answers.entries()) {
      assertEquals(errorBits, 0n);
      expectSame(back[i]!, source, `read ${i}`);
    }
    assertEquals(io.pool.available, 3);
  }));

Deno.test("a blocking copy goes on behind others, though the program holds every page", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 2 });
    const where = { bdev: device, sector: 0, count: 8 };
    const held = io.pool.alloc(2);
    const waiting = io.write([where], pattern(4096, 1));
    assertEquals(io.readSync(where, new Uint8Array(4096)).errorBits, 0n);
    io.pool.free(held);
    assertEquals((await waiting).errorBits, 0n);
    assertEquals(io.readSync(where, new Uint8Array(4096)).errorBits, 0n);
  }));

Deno.test("a copied request does not wait for pages that can never come", () =>
  withFile(async (device) => {
    const where = { bdev: device, sector: 0, count: 8 };
    await using io = new IoClient({ pages: 4 });
    const held = io.pool.alloc(4);
    const answer = io.write([where], pattern(4096, 1));
    io.pool.put(4);
    io.pool.free(held);
    assert(await settlesWithin(answer, PATIENCE), "it waits, though the pool is empty for good");
    assertEquals(io.outstanding, 0);
  }));

Deno.test("a pool whose memory was transferred away refuses or fails, and closes", () =>
  withFile(async (device) => {
    const where = { bdev: device, sector: 0, count: 8 };
    const io = new IoClient({ pages: 4 });
    const view = io.pool.alloc(1);
    const taken = new Uint8Array((view.buffer as ArrayBuffer).transfer());
    assertEquals(view.length, 0);
    taken.fill(1);
    assertThrows(() => io.pool.alloc(1), RangeError, "4 pages were lost");
    assertThrows(() => io.pool.alloc(1), RangeError, "transferred away (see Pool)");
    assertThrows(() => io.write([where], view), RangeError, "holds 0");
    io.pool.get(2);
    io.pool.free(io.pool.alloc(2));
    let done: Promise<unknown>;
    try {
      done = io.write([where], new Uint8Array(4096));
    } catch (error) {
      assert(error instanceof RangeError || error instanceof TypeError);
      done = Promise.resolve();
    }
    assert(await settlesWithin(done, PATIENCE), "a copied write hangs");
    assertThrows(() => io.pool.free(view), TypeError);
    assert(await settlesWithin(io.close(), PATIENCE), "close() hangs");
    taken.fill(2);
  }));

Deno.test("copies go through the reserve once the pool's memory was transferred away", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 1024 });
    const data = pattern(1 << 20, 1);
    const where = { bdev: device, sector: 0, count: data.length / 512 };
    assertEquals(io.writeSync([where], data).ok, true);
    (io.pool.alloc(1).buffer as ArrayBuffer).transfer();
    assertEquals(io.writeSync([where], data).ok, true);
    const back = new Uint8Array(data.length);
    assertEquals((await io.read(where, back)).ok, true);
    expectSame(back, data);
  }));

Deno.test("a list is refused, and nothing is lost, when a part of the pool was transferred away", async () => {
  for (const first of [true, false]) {
    await using io = new IoClient({ pages: 2 });
    const { pool } = io;
    const kept = pool.alloc(1);
    pool.get(2);
    const gone = pool.alloc(2);
    assert(gone.buffer !== kept.buffer);
    pool.free(gone.subarray(PAGE));
    if (first) pool.free(kept);
    new Uint8Array((gone.buffer as ArrayBuffer).transfer());
    for (const pages of [2, 3, 4]) {
      if (first && pages === 2) continue;
      assertThrows(() => pool.allocList(pages), RangeError, "pages", `${pages}, ${first}`);
    }
    const list = pool.allocList(first ? 2 : 1);
    const pages = [list.page, ...(list.next === null ? [] : [list.next.page])];
    assertEquals(pages.map((page) => page.length), pages.map(() => PAGE));
    assertEquals([pages.length, pool.available], [first ? 2 : 1, 0]);
    pool.free(list);
    assertEquals(pool.available, first ? 2 : 1);
  }
});

Deno.test("a page lent to a copy cannot be freed or used through an old view of it", async () => {
  await using nbd = await NbdDevice.create();
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 2 });
  const { pool } = io;
  const where = { bdev: device, sector: 0, count: 8 };
  assertEquals((await io.write([where], pattern(4096, 1))).errorBits, 0n);
  const held = pool.alloc(2);
  const stale = [held.subarray(0, PAGE), held.subarray(PAGE)];
  pool.free(held);
  await nbd.hang();
  using parts = new DisposableStack();
  parts.defer(() => nbd.resume());
  const target = new Uint8Array(4096);
  const read = io.read(where, target);
  assert(await until(() => io.stats().inFlight === 1, PATIENCE));
  assertEquals(pool.available, 1);
  for (const view of stale) {
    assertThrows(() => pool.free(view), TypeError, "freed before");
    assertThrows(() => pool.free({ next: null, page: view }), TypeError, "freed before");
    for (const memory of [view, { pageList: { next: null, page: view } }]) {
      assertThrows(() => void io.write([where], memory), TypeError, "freed");
      assertThrows(() => void io.read(where, memory), TypeError, "freed");
    }
  }
  assertThrows(() => pool.free(held), TypeError, "freed before");
  assertEquals(pool.available, 1);
  const mine = pool.alloc(1).fill(0x51);
  assertThrows(() => pool.alloc(1), RangeError, "0 of 2");
  nbd.resume();
  assertEquals((await read).errorBits, 0n);
  expectSame(target, pattern(4096, 1), "what was read");
  assert(mine.every((byte) => byte === 0x51), "a page was the program's and the request's at once");
  assertEquals(pool.available, 1);
  assert(pool.alloc(1).byteOffset !== mine.byteOffset, "a page was handed out twice");
});

for (const free of [2, 3, 4, 8, 64]) {
  Deno.test(`copies to a device that hangs leave pages to other devices, of ${free} free ones`, () =>
    withFile(async (healthy, path) => {
      await using nbd = await NbdDevice.create();
      await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
      await using io = new IoClient({ pages: free + 30 });
      io.pool.alloc(30);
      await nbd.hang();
      using parts = new DisposableStack();
      parts.defer(() => nbd.resume());
      const where = { bdev: device, sector: 0, count: 64 };
      const late = Array.from({ length: 100 }, () => io.read(where, new Uint8Array(64 * 512)));
      assert(await until(() => io.stats().inFlight > 0, PATIENCE));
      for (let i = 0; i < 10; i++) {
        const write = io.write([{ bdev: healthy, sector: 8 * i, count: 8 }], pattern(4096, i));
        assert(await settlesWithin(write, PATIENCE), `write ${i} of another device waits`);
        assertEquals((await write).errorBits, 0n);
        expectSame(Deno.readFileSync(path).subarray(4096 * i, 4096 * (i + 1)), pattern(4096, i));
      }
      nbd.resume();
      for (const { errorBits } of await Promise.all(late)) assertEquals(errorBits, 0n);
      assertEquals(io.pool.available, free);
    }));
}

Deno.test("a device that hangs, at any place of a mirrored write, does not hold up copies to other devices", () =>
  withFile(async (healthy) => {
    await using nbd = await NbdDevice.create();
    await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
    await using io = new IoClient({ pages: 8 });
    await nbd.hang();
    using parts = new DisposableStack();
    parts.defer(() => nbd.resume());
    const [bad, good] = [device, healthy].map((bdev) => ({ bdev, sector: 0, count: 64 }));
    // The first ones take what pages they may; the others wait.
    const late = Array.from({ length: 9 }, (_, i) => {
      const where = [[bad!], [good!, bad!], [bad!, good!]][i % 3]!;
      return io.write(where, pattern(64 * 512, i));
    });
    assert(await until(() => io.stats().inFlight > 0, PATIENCE));
    const write = io.write([good!], pattern(64 * 512, 99));
    assert(await settlesWithin(write, PATIENCE), "a write waits behind one that waits for the device");
    assertEquals((await write).errorBits, 0n);
    nbd.resume();
    for (const { errorBits } of await Promise.all(late)) assertEquals(errorBits, 0n);
    assertEquals(io.pool.available, 8);
  }));

const inPieces = "blocks larger than a page are copied right through a pool in pieces";
testUnless(await sectorSizeLack(8192), inPieces, async () => {
  await using loop = await LoopDevice.create({ bytes: 4 << 20, sectorSize: 8192 });
  await using device = BlockDevice.open(loop.path, { write: true, direct: true });
  assertEquals(device.logicalBlockSize, 8192);
  // Which pages of the pool are free: a run of an odd length and single ones, single ones only, runs of two and three.
  const isFree: Record<string, (page: number) => boolean> = {
    "a run of 17 and pairs": (page) => page < 17 || (page > 20 && page % 3 !== 0),
    "runs of three": (page) => page % 4 !== 0,
    "a run of 17 and single ones": (page) => page < 17 || (page > 20 && page % 2 === 0),
    "single ones": (page) => page % 2 === 0,
    "all": () => true,
  };
  const where = (bytes: number) => ({ bdev: device, sector: 64, count: bytes / 512 });
  for (const [k, [name, free]] of Object.entries(isFree).entries()) {
    await using io = new IoClient({ pages: 128 });
    const pages = Array.from({ length: 128 }, () => io.pool.alloc(1));
    for (const [i, page] of pages.entries()) if (free(i)) io.pool.free(page);
    const available = io.pool.available;
    for (const bytes of [8192, 17 * 8192, 300 * 1024 + 4096, 2 << 20]) {
      const rounded = Math.floor(bytes / 8192) * 8192;
      const data = pattern(rounded, k);
      const write = io.write([where(rounded)], data);
      assert(await settlesWithin(write, PATIENCE), `${name}: a write hangs`);
      assertEquals((await write).failures, [], name);
      expectSame(loop.bytes(64 * 512, rounded), data, name);
      const back = new Uint8Array(rounded);
      const read = io.read(where(rounded), back);
      assert(await settlesWithin(read, PATIENCE), `${name}: a read hangs`);
      assertEquals((await read).failures, [], name);
      expectSame(back, data, name);
      assertEquals(io.pool.available, available);
    }
  }
});

Deno.test("40,000 copied requests wait for pages, and all are served", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 64 });
    const count = 40_000;
    const held = io.pool.alloc(64);
    const data = pattern(512, 1);
    const writes = Array.from({ length: count }, (_, i) => {
      if (i === count / 2) io.pool.free(held);
      return io.write([{ bdev: device, sector: i % 2048, count: 1 }], data);
    });
    assert(await settlesWithin(Promise.all(writes), 20_000), `${io.outstanding} still wait after 20 s`);
    for (const { errorBits } of await Promise.all(writes)) assertEquals(errorBits, 0n);
    assertEquals([io.outstanding, io.pool.available], [0, 64]);
  }));

Deno.test("a circular page list is refused under a huge region, and followed under a small one", async () => {
  // A program of its own: what followed the list to no end would take this one along.
  const source = `
    import { BlockDevice, IoClient, pageSize } from "./mod.ts";
    await using io = new IoClient({ pages: 16 });
    using device = BlockDevice.open("sparse", { write: true, create: 2 ** 49 });
    const circle = { page: new Uint8Array(pageSize()).fill(7), next: null };
    circle.next = circle;
    for (const pageList of [circle, io.pool.allocList(1)]) {
      pageList.next = pageList;
      try {
        io.write([{ bdev: device, sector: 0, count: 2 ** 40 }], { pageList });
        console.log("accepted");
      } catch (error) {
        console.log(error.name, /longer than/.test(error.message));
      }
      console.log((await io.write([{ bdev: device, sector: 0, count: 800 }], { pageList })).errorBits);
      console.log(io.outstanding, device.inFlight);
    }`;
  const { code, stdout, stderr } = await runProgram({
    source,
    permissions: ["-A", "--no-check"],
    timeout: 30,
  });
  assertEquals(code, 0, stderr);
  assertEquals(stdout, "RangeError true\n0n\n0 0\n".repeat(2));
});

Deno.test("blocking requests and a pool of no pages copy through the reserve", () =>
  withFile(async (device, path) => {
    for (const pages of [0, 16]) {
      await using io = new IoClient({ pages });
      if (pages > 0) io.pool.allocList(pages);
      const where = { bdev: device, sector: 8, count: 2 * 1024 };
      const back = new Uint8Array(1 << 20).subarray(0, 2 * 1024 * 512);
      assertEquals(io.writeSync([{ ...where, count: 64 }], pattern(64 * 512, pages)).ok, true);
      assertEquals((await io.read({ ...where, count: 64 }, back)).ok, true);
      expectSame(back.subarray(0, 64 * 512), pattern(64 * 512, pages));
      expectSame(Deno.readFileSync(path).subarray(4096, 4096 + 64 * 512), pattern(64 * 512, pages));
      assertEquals([io.pool.pages, io.pool.available], [pages, 0]);
    }
  }));

Deno.test("an allocWait for adjacent pages holds up neither a single page nor a copy", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 8 });
    const pages = Array.from({ length: 8 }, () => io.pool.alloc(1));
    for (let i = 0; i < 8; i += 2) io.pool.free(pages[i]!);
    let came = false;
    const pair = io.pool.allocWait(2).then((view) => (came = true, view));
    const single = io.pool.alloc(1);
    assertEquals((await io.write([{ bdev: device, sector: 0, count: 64 }], pattern(64 * 512, 1))).ok, true);
    assertEquals(came, false);
    io.pool.free(single);
    io.pool.free(pages[1]!);
    io.pool.free(await pair);
  }));
