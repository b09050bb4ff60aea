import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { IoUring } from "../../src/engine/io_uring.ts";
import { BlockDevice, DmioFault, READ, WRITE } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

type Lie =
  | "a slot that there is not"
  | "a slot that is free"
  | "an earlier use of a slot"
  | "the same slot twice";

/** A ring that falsifies one CQE, the first after `lie` was set. */
class LyingRing extends IoUring {
  lie: Lie | null = null;
  closes = 0;

  override reap(): number {
    const count = super.reap();
    if (count === 0 || this.lie === null) return count;
    const { userData, generation, result } = this.completions;
    switch (this.lie) {
      case "a slot that there is not":
        userData[0] = this.capacity + 5;
        break;
      case "a slot that is free":
        userData[0] = this.capacity - 1;
        break;
      case "an earlier use of a slot":
        generation[0]!--;
        break;
      case "the same slot twice":
        userData[count] = userData[0]!;
        generation[count] = generation[0]!;
        result[count] = result[0]!;
        this.lie = null;
        return count + 1;
    }
    this.lie = null;
    return count;
  }

  override close(): Promise<void> {
    this.closes++;
    return super.close();
  }
}

const LIES: Lie[] = [
  "a slot that there is not",
  "a slot that is free",
  "an earlier use of a slot",
  "the same slot twice",
];

for (const lie of LIES) {
  Deno.test(`a CQE for ${lie} fails every outstanding request and closes the ring`, async () => {
    await using nbd = await NbdDevice.create();
    await using loop = await LoopDevice.create({ bytes: 1 << 20 });
    using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
    using healthy = BlockDevice.open(loop.path, { write: true, direct: true });
    const ring = new LyingRing(16);
    const io = clientOn(ring, { pages: 16 });
    const page = io.pool.alloc(1);
    await nbd.hang();
    const onHung = { bdev: hung, sector: 0, count: 8 };
    const rejected = [
      assertRejects(() => io.write([onHung], page), DmioFault),
      assertRejects(() => io.read(onHung, new Uint8Array(4096)), DmioFault),
      assertRejects(() => io.write([onHung], pattern(4096, 1), { timeout: 60_000 }), DmioFault),
    ];
    const early = await io.write([onHung], pattern(4096, 2), { timeout: 10 });
    const { promise: answered, resolve } = Promise.withResolvers<bigint>();
    io.notify(WRITE, [onHung, onHung, onHung], page, (bits) => resolve(bits), null);
    assertEquals(io.outstanding, 5);
    ring.lie = lie;
    // A doubled completion is recognized only once its request was done.
    const last = io.write([{ bdev: healthy, sector: 0, count: 8 }], page).catch((error) => error);
    const errors = await Promise.all(rejected);
    for (const error of errors) assertStringIncludes(error.message, "slot");
    assert(await last instanceof DmioFault);
    assertEquals(await answered, 0b111n, "a callback gets every bit");
    assert(await settlesWithin(early.settled, 1000), "settled waits for ever");
    assertEquals(ring.closes, 1);
    assertEquals(io.outstanding, 0);
    assertThrows(() => io.write([onHung], page), DmioFault);
    assertThrows(() => io.writeSync([onHung], page), DmioFault);
    assertThrows(() => io.read(onHung, page), DmioFault);
    assert(await settlesWithin(io.close(), 1000));
    assert(await settlesWithin(io.close({ timeout: 100 }), 1000));
    assertEquals(ring.closes, 1);
    assertEquals(page.length, 4096, "the kernel may still use the memory: it stays");
    nbd.resume();
    assertEquals([hung.inFlight, healthy.inFlight], [0, 0], "devices are let go, each once");
  });

  Deno.test(`a CQE for ${lie} makes a blocking call throw`, async () => {
    await using loop = await LoopDevice.create({ bytes: 1 << 20 });
    using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
    const ring = new LyingRing(16);
    const io = clientOn(ring, { pages: 16 });
    ring.lie = lie;
    assertThrows(() => io.writeSync([{ bdev, sector: 0, count: 8 }], pattern(4096, 1)), DmioFault);
    assertEquals(ring.closes, 1);
    assertThrows(() => io.readSync({ bdev, sector: 0, count: 8 }, new Uint8Array(4096)), DmioFault);
    await io.close();
    assertEquals(io.outstanding, 0);
  });
}

Deno.test("a ring that the kernel refuses fails every outstanding request with the cause", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  const ring = new BreakingRing(16);
  ring.breaksAt = 1;
  const io = clientOn(ring, { pages: 16 });
  const write = () => io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1));
  await assertRejects(write, Error, "the ring is broken");
  assertThrows(write, Error, "the ring is broken");
  await io.close();
});

Deno.test("a ring that broke leaves no waiter in the pool's queue", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  const ring = new BreakingRing(16);
  const io = clientOn(ring, { pages: 2 });
  const pages = io.pool.alloc(2);
  const region = { bdev, sector: 0, count: 8 };
  const memory = new Uint8Array(4096);
  const waits = assertRejects(() => io.write([region], memory), Error, "broken");
  ring.breaksAt = 0;
  await assertRejects(() => io.read(region, pages), Error, "broken");
  await waits;
  memory.buffer.transfer();
  io.pool.free(pages);
  assertEquals([bdev.inFlight, io.outstanding], [0, 0]);
});

Deno.test("a ring that breaks while copies wait for pages ends them, and is not used again", async () => {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  const ring = new BreakingRing(128, 512);
  ring.breaksAt = 16;
  const io = clientOn(ring, { pages: 4 });
  const region = (i: number, pages = 1) => ({ bdev: device, sector: i * 8, count: 8 * pages });
  const long = io.write([region(0, 8)], new Uint8Array(8 * 4096));
  const wide = io.write(Array.from({ length: 20 }, (_, i) => region(i)), new Uint8Array(4096));
  // This takes in the CQEs of the first; its pages go to the second.
  let blocking = "answered";
  try {
    io.readSync(region(9), new Uint8Array(4096));
  } catch (error) {
    blocking = (error as Error).message;
  }
  assert(["answered", "the ring is broken"].includes(blocking), blocking);
  for (const answer of [long, wide]) await assertRejects(() => answer, Error, "the ring is broken");
  assertEquals([io.outstanding, io.closed], [0, true]);
});

Deno.test("a ring that breaks after a callback closed the client leaves the pool mapped", async () => {
  await using scratch = await Scratch.create();
  await using nbd = await NbdDevice.create({ delay: 300 });
  await using slow = BlockDevice.open(nbd.path, { direct: true });
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  const ring = new BreakingRing(128, 512);
  const io = clientOn(ring, { pages: 4 });
  const region = (bdev: BlockDevice) => ({ bdev, sector: 0, count: 8 });
  const kept = io.pool.alloc(1);
  const late = io.read(region(slow), kept);
  const closed = Promise.withResolvers<void>();
  io.notify(READ, [region(device)], kept, () => {
    io.close().then(closed.resolve, closed.reject);
    ring.breaksAt = 0;
  }, null);
  await assertRejects(() => late, Error, "the ring is broken");
  await closed.promise;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(kept.length, 4096, "the kernel may still use it");
});
