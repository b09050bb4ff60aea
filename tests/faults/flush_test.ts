/** Devices whose flushes fail, or take long: what is written then, what is answered, and what becomes of the other regions. */

import { assert, assertEquals } from "@std/assert";
import { BlockDevice, IoClient, type IoMemory, type IoResult, type WriteOptions } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";

const PATIENCE = 10_000;
/** Time in which what must not happen would have happened. */
const MOMENT = 150;
const BYTES = 4 << 20;
/** Longer than one window of a copy through a pool of few pages. */
const SECTORS = 512;
const DATA = pattern(SECTORS * 512, 1);
const ZEROS = new Uint8Array(DATA.length);

/** Memory of each sort, with the data. The pool holds fewer pages than the region, so that the second goes in windows. */
const MEMORY: Record<string, (io: IoClient) => IoMemory> = {
  "pages of the pool": (io) => {
    io.pool.get(DATA.length / 4096);
    const pages = io.pool.alloc(DATA.length / 4096);
    pages.set(DATA);
    return pages;
  },
  "memory that is copied in windows": () => DATA,
};

/** Servers whose flushes can be held and failed, and a device over each, ended together. */
class Bed implements AsyncDisposable {
  readonly io: IoClient;
  readonly nbds: NbdDevice[] = [];
  readonly bdevs: BlockDevice[] = [];
  readonly #parts = new AsyncDisposableStack();

  constructor(pages: number, queueDepth: number) {
    this.io = new IoClient({ pages, queueDepth });
  }

  static async create(
    count: number,
    { direct = true, pages = 64, queueDepth = 128, loop = true } = {},
  ): Promise<Bed> {
    await using parts = new AsyncDisposableStack();
    const bed = parts.use(new Bed(pages, queueDepth));
    for (let i = 0; i < count; i++) {
      const nbd = bed.#parts.use(await NbdDevice.create({ bytes: BYTES, loop, flushes: true, log: true }));
      const bdev = BlockDevice.open(nbd.path, { write: true, direct });
      bed.#parts.defer(async () => {
        // A test that fails may leave requests that wait for a flush; and a buffered device syncs at its close.
        nbd.setFlushes("pass");
        await bdev.close().catch(() => {});
      });
      bed.nbds.push(nbd);
      bed.bdevs.push(bdev);
    }
    bed.#parts.defer(() => bed.io.close({ timeout: PATIENCE }));
    bed.#parts.defer(() => bed.nbds.forEach((nbd) => nbd.setFlushes("pass")));
    parts.move();
    return bed;
  }

  regions(count = SECTORS, sector = 0) {
    return this.bdevs.map((bdev) => ({ bdev, sector, count }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

/** Waits until the server has a flush that it holds. */
async function untilHeld(nbd: NbdDevice): Promise<void> {
  const held = () => nbd.events(["Flush"]).filter(({ ended }) => !ended).length > 0;
  assert(await until(held, PATIENCE), "no flush reaches the server");
}

/** Fails when a request is answered within a moment. */
async function expectNoAnswer(answer: Promise<IoResult>, what: string): Promise<void> {
  assert(!await settlesWithin(answer, MOMENT), what);
}

async function answered(answer: Promise<IoResult>): Promise<IoResult> {
  assert(await settlesWithin(answer, PATIENCE), "no answer");
  return await answer;
}

Deno.test("a flush of three devices that one refuses sets the bit of that one alone", async () => {
  await using bed = await Bed.create(3);
  const { io, nbds, bdevs } = bed;
  nbds[1]!.setFlushes("fail");
  for (const result of [await io.flush(bdevs), io.flushSync(bdevs), await io.flush(bed.regions(8, 16))]) {
    assertEquals(result.errorBits, 0b010n);
    assertEquals(result.failures.map(({ region, code }) => [region, code]), [[1, "EIO"]]);
  }
  nbds[1]!.setFlushes("pass");
  assertEquals((await io.flush(bdevs)).errorBits, 0n);
});

for (const direct of [true, false]) {
  for (const [kind, memoryOf] of Object.entries(MEMORY)) {
    const name = `${direct ? "a direct" : "a buffered"} device, from ${kind}`;
    Deno.test(`a region whose preflush fails is not written, and the others are: ${name}`, async () => {
      await using bed = await Bed.create(3, { direct });
      const { io, nbds, bdevs } = bed;
      nbds[1]!.setFlushes("fail");
      const memory = memoryOf(io);
      const { errorBits, failures } = await io.write(bed.regions(), memory, { preflush: true, fua: true });
      assertEquals(errorBits, 0b010n);
      assertEquals(failures, [{ region: 1, errno: 5, code: "EIO", sector: 0 }]);
      nbds[1]!.setFlushes("pass");
      // What lay in the page cache would reach the medium now.
      assertEquals((await io.flush(bdevs)).errorBits, 0n);
      expectSame(nbds[1]!.contents(0, DATA.length), ZEROS, "the device that did not flush");
      for (const i of [0, 2]) expectSame(nbds[i]!.contents(0, DATA.length), DATA, `device ${i}`);
    });
  }
}

Deno.test("a flush that is held keeps back the data of its own region alone", async () => {
  await using bed = await Bed.create(3);
  const { io, nbds } = bed;
  nbds[0]!.setFlushes("hold");
  const answer = io.write(bed.regions(), MEMORY["pages of the pool"]!(io), { preflush: true });
  await untilHeld(nbds[0]!);
  const others = () => nbds.slice(1).every((nbd) => nbd.contents(0, 512).some((byte) => byte !== 0));
  assert(await until(others, PATIENCE), "the other regions wait for the flush of the first");
  await expectNoAnswer(answer, "it is answered before its flush");
  expectSame(nbds[0]!.contents(0, DATA.length), ZEROS, "the device that did not flush yet");
  nbds[0]!.setFlushes("pass");
  assertEquals((await answered(answer)).errorBits, 0n);
  for (const nbd of nbds) expectSame(nbd.contents(0, DATA.length), DATA);
});

// The kernel's FUSE takes RWF_DSYNC with direct I/O and does not sync; so the library flushes after the data.
for (const [kind, memoryOf] of Object.entries(MEMORY)) {
  Deno.test(`a durable write to a direct file of FUSE is answered when its flush is, from ${kind}`, async () => {
    await using bed = await Bed.create(3, { loop: false });
    const { io, nbds } = bed;
    const memory = memoryOf(io);
    nbds[0]!.setFlushes("fail-once");
    nbds[2]!.setFlushes("hold");
    const answer = io.write(bed.regions(), memory, { fua: true });
    await untilHeld(nbds[2]!);
    expectSame(nbds[2]!.contents(0, DATA.length), DATA, "the data before its flush");
    await expectNoAnswer(answer, "it is answered before its flush");
    nbds[2]!.setFlushes("pass");
    const { failures } = await answered(answer);
    assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: 0 }]);
    assertEquals(nbds.map((nbd) => nbd.events(["Flush"]).length), [2, 2, 2]);
    nbds[1]!.setFlushes("hold");
    const late = await io.write(bed.regions(8, 16), memory, { fua: true, timeout: MOMENT });
    assertEquals(late.failures.map(({ region, code, sector }) => [region, code, sector]), [[
      1,
      "ETIMEDOUT",
      16,
    ]]);
    nbds[1]!.setFlushes("pass");
    assert(await settlesWithin(late.settled, PATIENCE));
  });
}

Deno.test("a durable write whose flush was not issued by the deadline sets its bit", async () => {
  await using bed = await Bed.create(1, { loop: false, queueDepth: 1 });
  const { io, nbds: [nbd], bdevs: [bdev] } = bed;
  nbd!.setFlushes("hold");
  const page = io.pool.alloc(1);
  const region = { bdev: bdev!, sector: 0, count: 8 };
  // The flush of the first write takes the only place from the data of the second, and the second's flush waits behind the third's.
  const first = io.write([region], page, { fua: true });
  const second = io.write([region], page, { fua: true, timeout: MOMENT });
  const third = io.write([region], page, { fua: true, timeout: MOMENT });
  for (const late of await Promise.all([second, third])) {
    assertEquals(late.failures.map(({ code, sector }) => [code, sector]), [["ETIMEDOUT", 0]]);
  }
  nbd!.setFlushes("pass");
  assertEquals((await answered(first)).errorBits, 0n);
});

Deno.test("a hundred flushes that one device holds do not hold up the preflushes of another", async () => {
  await using bed = await Bed.create(2);
  const { io, nbds, bdevs } = bed;
  nbds[0]!.setFlushes("hold");
  const page = io.pool.alloc(1);
  const write = (i: number, sector: number) =>
    io.write([{ bdev: bdevs[i]!, sector, count: 8 }], page, { preflush: true, fua: true });
  const held = Array.from({ length: 100 }, (_, i) => write(0, 8 * i));
  await untilHeld(nbds[0]!);
  for (let i = 0; i < 10; i++) assertEquals((await answered(write(1, 8 * i))).errorBits, 0n);
  await expectNoAnswer(Promise.race(held), "a write is answered before its flush");
  nbds[0]!.setFlushes("pass");
  for (const { errorBits } of await Promise.all(held)) assertEquals(errorBits, 0n);
});

for (const end of ["timeout", "signal"] as const) {
  Deno.test(`a write whose ${end} comes during its preflush is never written`, async () => {
    for (const memory of [DATA, "pages"] as const) {
      await using bed = await Bed.create(1);
      const { io, nbds: [nbd], bdevs } = bed;
      nbd!.setFlushes("hold");
      const controller = new AbortController();
      const deadline = end === "timeout" ? { timeout: MOMENT } : { signal: controller.signal };
      const source = memory === "pages" ? MEMORY["pages of the pool"]!(io) : memory;
      const answer = io.write(bed.regions(), source, { preflush: true, fua: true, ...deadline });
      await untilHeld(nbd!);
      controller.abort();
      const result = await answered(answer);
      const code = end === "timeout" ? "ETIMEDOUT" : "ECANCELED";
      assertEquals(result.failures.map(({ code, sector }) => [code, sector]), [[code, 0]]);
      nbd!.setFlushes("pass");
      assert(await settlesWithin(result.settled, PATIENCE));
      assertEquals((await io.flush(bdevs)).errorBits, 0n);
      expectSame(nbd!.contents(0, DATA.length), ZEROS, "after the deadline");
    }
  });
}

Deno.test("a preflush of 0 sectors that was not issued by the deadline sets its bit", async () => {
  for (const memory of [new Uint8Array(0), "page"] as const) {
    await using bed = await Bed.create(1, { queueDepth: 1 });
    const { io, nbds: [nbd], bdevs: [bdev] } = bed;
    nbd!.setFlushes("hold");
    const first = io.flush([bdev!]);
    await untilHeld(nbd!);
    const none = { bdev: bdev!, sector: 16, count: 0 };
    const source = memory === "page" ? io.pool.alloc(1) : memory;
    const { failures } = await io.write([none], source, { preflush: true, timeout: MOMENT });
    assertEquals(failures.map(({ code, sector }) => [code, sector]), [["ETIMEDOUT", 16]]);
    const aborted = await io.write([none], source, { preflush: true, signal: AbortSignal.abort() });
    assertEquals(aborted.failures.map(({ code }) => code), ["ECANCELED"]);
    nbd!.setFlushes("pass");
    assertEquals((await answered(first)).errorBits, 0n);
  }
});

for (const end of ["timeout", "transfer"] as const) {
  Deno.test(`a preflush of 0 sectors beside a copy that waits for pages until its ${end} sets its bit`, async () => {
    await using bed = await Bed.create(2, { pages: 8 });
    const { io, nbds, bdevs } = bed;
    // Copies have a few pages of their own, which requests to a device that holds its flushes keep.
    const all = io.pool.alloc(io.pool.available);
    nbds[1]!.setFlushes("hold");
    const holding = Array.from(
      { length: 3 },
      () => io.write(bed.regions().slice(1), DATA, { preflush: true }),
    );
    await untilHeld(nbds[1]!);
    const memory = new Uint8Array(4096);
    const regions = bdevs.map((bdev, i) => ({ bdev, sector: 0, count: 8 * i }));
    const options = end === "timeout" ? { preflush: true, timeout: MOMENT } : { preflush: true };
    const answer = io.write(regions, memory, options);
    if (end === "timeout") await answer;
    else memory.buffer.transfer();
    nbds[1]!.setFlushes("pass");
    const code = end === "timeout" ? "ETIMEDOUT" : "EFAULT";
    assertEquals((await answer).failures.map(({ region, code }) => [region, code]), [[0, code], [1, code]]);
    await Promise.all(holding);
    io.pool.free(all);
  });
}

Deno.test("a device and a client that are closed during a preflush wait for the data", async () => {
  await using bed = await Bed.create(2);
  const { io, nbds, bdevs } = bed;
  nbds[0]!.setFlushes("hold");
  const answer = io.write(bed.regions(), DATA, { preflush: true, fua: true });
  await untilHeld(nbds[0]!);
  const closing = Promise.all([bdevs[0]!.close(), bdevs[1]!.close(), io.close()]);
  assert(!await settlesWithin(closing, MOMENT), "closed in the middle of a write");
  nbds[0]!.setFlushes("pass");
  assertEquals((await answered(answer)).errorBits, 0n);
  assert(await settlesWithin(closing, PATIENCE), "close hangs");
  for (const nbd of nbds) expectSame(nbd.contents(0, DATA.length), DATA);
});

Deno.test("a flush that fails is not tried again, as a second would hide what the first lost", async () => {
  await using bed = await Bed.create(1);
  const { io, nbds: [nbd], bdevs, bdevs: [bdev] } = bed;
  nbd!.setFlushes("fail-once");
  assertEquals((await io.flush(bdevs)).errorBits, 1n);
  nbd!.setFlushes("fail-once");
  assertEquals(
    (await io.write([{ bdev: bdev!, sector: 0, count: 8 }], DATA, { preflush: true })).errorBits,
    1n,
  );
  nbd!.setFlushes("fail-once");
  for (const options of [{ fua: true }, { fua: true, locate: true }]) {
    nbd!.setFlushes("fail-once");
    const { errorBits } = await io.write([{ bdev: bdev!, sector: 0, count: 16 }], DATA, options);
    assertEquals(errorBits, 1n, `the flush of a FUA, ${JSON.stringify(options)}`);
  }
});

for (const what of ["fua", "preflush", "flush"] as const) {
  Deno.test(`what the page cache lost is reported by the next ${what}, though the device is well by then`, async () => {
    await using nbd = await NbdDevice.create({ bytes: BYTES });
    await using io = new IoClient({ pages: 64 });
    await using bdev = BlockDevice.open(nbd.path, { write: true });
    assertEquals((await io.write([{ bdev, sector: 0, count: 8 }], DATA)).errorBits, 0n);
    nbd.fail();
    {
      // Another open file: its sync writes the page, and each open file learns of the loss by itself.
      using other = Deno.openSync(nbd.path, { write: true });
      let lost = false;
      try {
        other.syncDataSync();
      } catch {
        lost = true;
      }
      assert(lost, "the page was not lost");
    }
    nbd.heal();
    const region = { bdev, sector: 64, count: 8 };
    const { errorBits } = what === "flush"
      ? await io.flush([bdev])
      : await io.write([region], DATA, { [what]: true });
    assertEquals(errorBits, 1n);
  });
}

// The kernel tells one of several syncs at a time that a page was lost, and the others that all is well.
for (const what of ["flush", "preflush", "fua"] as const) {
  Deno.test(`each ${what} of a buffered device fails when a page is lost while several are under way`, async () => {
    await using nbd = await NbdDevice.create({ bytes: BYTES });
    await using io = new IoClient({ pages: 64 });
    await using bdev = BlockDevice.open(nbd.path, { write: true });
    const regions = [0, 1, 2, 3, 4].map((i) => ({ bdev, sector: 8 * i, count: 8 }));
    const write = (options: WriteOptions) => regions.map((region) => io.write([region], DATA, options));
    for (let round = 0; round < 10; round++) {
      for (const { errorBits } of await Promise.all(write({}))) assertEquals(errorBits, 0n);
      nbd.fail();
      const answers = what === "flush" ? regions.map(() => io.flush([bdev])) : write({ [what]: true });
      assertEquals((await Promise.all(answers)).map(({ errorBits }) => errorBits), [1n, 1n, 1n, 1n, 1n]);
      nbd.heal();
      // What is accepted from here on has its own success.
      assertEquals((await Promise.all(write({ fua: true }))).map(({ errorBits }) => errorBits), [
        0n,
        0n,
        0n,
        0n,
        0n,
      ]);
    }
  });
}

Deno.test("durable writes through the page cache that come during a flush share the next one", async () => {
  await using bed = await Bed.create(1, { direct: false, pages: 256 });
  const { io, nbds: [nbd], bdevs: [bdev] } = bed;
  const flushes = () => nbd!.events(["Flush"]).filter(({ ended }) => ended).length;
  const write = (i: number, options: WriteOptions) =>
    io.write([{ bdev: bdev!, sector: 8 * i, count: 8 }], DATA, { fua: true, ...options });
  await answered(write(0, {}));
  nbd!.setFlushes("hold");
  const before = flushes();
  const first = write(1, {});
  const begun = () => nbd!.events(["Flush"]).filter(({ ended }) => !ended).length > before;
  assert(await until(begun, PATIENCE), "no flush reaches the server");
  const hurried = [2, 3].map((i) => write(i, { timeout: MOMENT }));
  const others = Array.from({ length: 50 }, (_, i) => write(4 + i, {}));
  for (const { failures } of await Promise.all(hurried)) {
    assertEquals(failures.map(({ code }) => code), ["ETIMEDOUT"]);
  }
  await expectNoAnswer(Promise.race([first, ...others]), "a write is answered before its flush");
  nbd!.setFlushes("pass");
  for (const { errorBits } of await Promise.all([first, ...others])) assertEquals(errorBits, 0n);
  assertEquals(flushes() - before, 2);
  expectSame(nbd!.contents(53 * 4096, 4096), DATA.subarray(0, 4096));
});
