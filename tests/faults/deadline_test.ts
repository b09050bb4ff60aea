import { assert, assertEquals, assertGreater } from "@std/assert";
import { BlockDevice, IoClient, type IoMemory, type IoResult } from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const SECONDS_10 = 10_000;
const LENGTH = 65536;
const COUNT = LENGTH / 512;

/** A device that hangs at a word, a healthy one, and a client. */
class Pair implements AsyncDisposable {
  private constructor(
    readonly nbd: NbdDevice,
    readonly loop: LoopDevice,
    readonly hung: BlockDevice,
    readonly healthy: BlockDevice,
    readonly io: IoClient,
    readonly parts: AsyncDisposableStack,
  ) {}

  static async create(pages: number): Promise<Pair> {
    await using parts = new AsyncDisposableStack();
    const nbd = parts.use(await NbdDevice.create());
    const loop = parts.use(await LoopDevice.create({ bytes: 16 << 20 }));
    const hung = parts.use(BlockDevice.open(nbd.path, { write: true, direct: true }));
    const healthy = parts.use(BlockDevice.open(loop.path, { write: true, direct: true }));
    const io = parts.use(new IoClient({ pages }));
    // However the test ends, the device must answer before the client can close.
    parts.defer(() => nbd.resume());
    return new Pair(nbd, loop, hung, healthy, io, parts.move());
  }

  /** What the device that hung holds. */
  async held(sector: number, bytes: number): Promise<Uint8Array> {
    const back = new Uint8Array(bytes);
    assertEquals((await this.io.read({ bdev: this.hung, sector, count: bytes / 512 }, back)).errorBits, 0n);
    return back;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.parts.disposeAsync();
  }
}

const MEMORY: Record<string, (io: IoClient) => Uint8Array> = {
  "pool pages": (io) => io.pool.alloc(LENGTH / 4096),
  "an ordinary buffer": () => new Uint8Array(LENGTH),
  "a shared buffer": () => new Uint8Array(new SharedArrayBuffer(LENGTH)),
};

for (const [kind, make] of Object.entries(MEMORY)) {
  for (const why of ["timeout", "abort"] as const) {
    Deno.test(`the ${why} of a write from ${kind} fails only the region that hangs`, async () => {
      await using pair = await Pair.create(64);
      const { nbd, io, hung, healthy } = pair;
      const memory = fillPattern(make(io), 1);
      await nbd.hang();
      const regions = [
        { bdev: healthy, sector: 8, count: COUNT },
        { bdev: hung, sector: 800, count: COUNT },
        { bdev: healthy, sector: 4096, count: COUNT },
      ];
      const controller = new AbortController();
      const writing = io.write(
        regions,
        memory,
        why === "timeout" ? { timeout: 150 } : { signal: controller.signal },
      );
      assertEquals(await settlesWithin(writing, 50), false);
      controller.abort();
      const { errorBits, failures, settled } = await writing;
      assertEquals(errorBits, 0b10n);
      const reason = why === "timeout"
        ? { errno: 110, code: "ETIMEDOUT" }
        : { errno: 125, code: "ECANCELED" };
      assertEquals(failures, [{ region: 1, ...reason, sector: 800 }]);
      for (const at of [8, 4096]) {
        expectSame(pair.loop.bytes(at * 512, LENGTH), pattern(LENGTH, 1), "healthy");
      }
      assertEquals(await settlesWithin(settled, 100), false, "the kernel still has the memory");
      assertEquals(io.outstanding, 1);
      // What the device was given is what it gets; an ordinary buffer is the caller's again at once.
      if (kind === "an ordinary buffer") memory.fill(0);
      nbd.resume();
      assert(await settlesWithin(settled, SECONDS_10));
      assertEquals(io.outstanding, 0);
      expectSame(await pair.held(800, LENGTH), pattern(LENGTH, 1), "the late write");
    });
  }

  Deno.test(`a timeout of a read to ${kind} gives zeros, and the answer that comes late does no harm`, async () => {
    await using pair = await Pair.create(64);
    const { nbd, io, hung, healthy } = pair;
    const bytes = pattern(LENGTH, 2);
    assertEquals((await io.write([{ bdev: hung, sector: 0, count: COUNT }], bytes)).errorBits, 0n);
    const memory = make(io).fill(0xee);
    await nbd.hang();
    const { failures, settled } = await io.read({ bdev: hung, sector: 0, count: COUNT }, memory, {
      timeout: 50,
    });
    assertEquals(failures, [{ region: 0, errno: 110, code: "ETIMEDOUT", sector: 0 }]);
    assert(memory.every((byte) => byte === 0), "what was not read is zeros");
    // The caller goes on: an ordinary buffer is all its own; other memory is the kernel's until it is settled.
    if (kind === "an ordinary buffer") memory.fill(0x77);
    assertEquals(
      (await io.write([{ bdev: healthy, sector: 0, count: COUNT }], pattern(LENGTH, 3))).errorBits,
      0n,
    );
    nbd.resume();
    assert(await settlesWithin(settled, SECONDS_10));
    if (kind === "an ordinary buffer") assert(memory.every((byte) => byte === 0x77), "nothing came late");
    expectSame(pair.loop.bytes(0, LENGTH), pattern(LENGTH, 3), "another device meanwhile");
    expectSame(await pair.held(0, LENGTH), bytes, "the device, read again");
  });
}

Deno.test("a page whose read timed out is allocated again only when the kernel is done with it", async () => {
  await using pair = await Pair.create(64);
  const { nbd, io, hung } = pair;
  assertEquals((await io.write([{ bdev: hung, sector: 0, count: COUNT }], pattern(LENGTH, 1))).errorBits, 0n);
  const pages = io.pool.alloc(16);
  await nbd.hang();
  const { settled } = await io.read({ bdev: hung, sector: 0, count: COUNT }, pages, { timeout: 30 });
  const address = pages.byteOffset;
  io.pool.free(pages);
  assertEquals(io.pool.available, 48, "freed pages that are in use are not there");
  // All that can be had; none of it may be what the late read will write.
  const mine: Uint8Array[] = [];
  while (io.pool.available > 0) mine.push(fillPattern(io.pool.alloc(1), mine.length));
  assertEquals(mine.length, 48);
  for (const page of mine) assert(page.byteOffset < address || page.byteOffset >= address + LENGTH);
  const waiting = io.pool.allocWait(16);
  assertEquals(await settlesWithin(waiting, 100), false, "the allocWait goes on waiting");
  nbd.resume();
  const again = await waiting;
  assert(await settlesWithin(settled, 0), "the pages came with `settled`");
  assertEquals(again.byteOffset, address);
  for (const [i, page] of mine.entries()) expectSame(page.slice(), pattern(4096, i), `page ${i}`);
});

Deno.test("pages that copies went through are not used again before the kernel is done with them", async () => {
  await using pair = await Pair.create(32);
  const { nbd, io, hung, healthy } = pair;
  await nbd.hang();
  const late: IoResult[] = [];
  for (let i = 0; i < 4; i++) {
    const region = { bdev: hung, sector: i * 8, count: 8 };
    late.push(await io.write([region], pattern(4096, 50 + i), { timeout: 20 }));
  }
  assert(late.every(({ errorBits }) => errorBits === 1n));
  assertEquals(io.pool.available, 28);
  for (let i = 0; i < 200; i++) {
    const region = { bdev: healthy, sector: i * 8, count: 8 };
    assertEquals((await io.write([region], pattern(4096, 100 + i))).errorBits, 0n);
  }
  nbd.resume();
  await Promise.all(late.map(({ settled }) => settled));
  assertEquals(io.pool.available, 32);
  for (let i = 0; i < 4; i++) {
    expectSame(await pair.held(i * 8, 4096), pattern(4096, 50 + i), `late write ${i}`);
  }
  for (let i = 0; i < 200; i++) {
    expectSame(pair.loop.bytes(i * 4096, 4096), pattern(4096, 100 + i), `write ${i}`);
  }
});

Deno.test("a request that times out before it got a slot or pages settles at once and is never issued", async () => {
  await using pair = await Pair.create(8);
  const { nbd, io, hung } = pair;
  assertEquals(
    (await io.write([{ bdev: hung, sector: 0, count: 4096 }], new Uint8Array(2 << 20))).errorBits,
    0n,
  );
  await nbd.hang();
  const shared = (seed: number) => fillPattern(new Uint8Array(new SharedArrayBuffer(512)), seed);
  const bounced = (seed: number) => pattern(512, seed);
  // More than the kernel gets for one device, and more copies than the pool has pages.
  const all: Promise<IoResult>[] = [];
  const memories: IoMemory[] = [];
  for (let i = 0; i < 1000; i++) memories.push(i % 2 === 0 ? shared(i) : bounced(i));
  for (const [i, memory] of memories.entries()) {
    all.push(io.write([{ bdev: hung, sector: i, count: 1 }], memory, { timeout: 200 }));
  }
  const results = await Promise.all(all);
  for (const [i, { errorBits, failures }] of results.entries()) {
    assertEquals(errorBits, 1n, `write ${i}`);
    assertEquals(failures, [{ region: 0, errno: 110, code: "ETIMEDOUT", sector: i }]);
  }
  const inFlight = io.outstanding;
  assertGreater(inFlight, 0);
  assert(inFlight < 500, `${inFlight} are in flight; the others are settled`);
  const settledNow = await Promise.all(results.map(({ settled }) => settlesWithin(settled, 0)));
  assertEquals(settledNow.filter((settled) => !settled).length, inFlight);
  nbd.resume();
  await Promise.all(results.map(({ settled }) => settled));
  assertEquals(io.outstanding, 0);
  const now = await pair.held(0, 1000 * 512);
  for (let i = 0; i < 1000; i++) {
    const expected = settledNow[i] ? new Uint8Array(512) : pattern(512, i);
    expectSame(
      now.subarray(i * 512, (i + 1) * 512),
      expected,
      `sector ${i}, ${settledNow[i] ? "never issued" : "issued"}`,
    );
  }
});

Deno.test("an abort before the call does no I/O, and one after the answer does nothing", async () => {
  await using pair = await Pair.create(16);
  const { io, healthy } = pair;
  for (const memory of [pattern(4096, 1), fillPattern(io.pool.alloc(1), 1)]) {
    const region = { bdev: healthy, sector: 0, count: 8 };
    const { failures, settled } = await io.write([region], memory, { signal: AbortSignal.abort() });
    assertEquals(failures, [{ region: 0, errno: 125, code: "ECANCELED", sector: 0 }]);
    await settled;
    expectSame(pair.loop.bytes(0, 4096), new Uint8Array(4096));
  }
  const controller = new AbortController();
  const options = { signal: controller.signal, timeout: 20 };
  const result = await io.write([{ bdev: healthy, sector: 0, count: 8 }], pattern(4096, 1), options);
  controller.abort();
  await settlesWithin(new Promise(() => {}), 40);
  assertEquals(result.errorBits, 0n);
  expectSame(pair.loop.bytes(0, 4096), pattern(4096, 1));
  assertEquals(io.pool.available, 15);
});

Deno.test("an abort after a timeout does nothing, though the device answered while the program worked", async () => {
  await using pair = await Pair.create(16);
  const { nbd, io, hung } = pair;
  await using other = new IoClient({ pages: 1 });
  const region = { bdev: hung, sector: 0, count: 8 };
  const data = fillPattern(io.pool.alloc(1), 1);
  await nbd.hang();
  const controller = new AbortController();
  const { failures, settled } = await io.write([region], data, { timeout: 50, signal: controller.signal });
  assertEquals(failures.map(({ code }) => code), ["ETIMEDOUT"]);
  nbd.resume();
  // Both wait without the event loop, so that the abort is what looks at the ring first.
  assertEquals(other.readSync(region, new Uint8Array(4096)).ok, true);
  const until = performance.now() + 50;
  while (performance.now() < until);
  controller.abort();
  await settled;
  assertEquals((await io.write([region], data)).ok, true);
  assertEquals(io.outstanding, 0);
});

Deno.test("regions that failed before the deadline keep their own errno", async () => {
  await using pair = await Pair.create(16);
  await using broken = await NbdDevice.create({ error: "EIO" });
  using bad = BlockDevice.open(broken.path, { write: true, direct: true });
  broken.fail();
  await pair.nbd.hang();
  const regions = [pair.hung, bad, pair.healthy].map((bdev) => ({ bdev, sector: 16, count: 8 }));
  const { errorBits, failures, settled } = await pair.io.write(regions, pattern(4096, 1), { timeout: 400 });
  assertEquals(errorBits, 0b11n);
  assertEquals(failures, [
    { region: 0, errno: 110, code: "ETIMEDOUT", sector: 16 },
    { region: 1, errno: 5, code: "EIO", sector: 16 },
  ]);
  pair.nbd.resume();
  await settled;
});
