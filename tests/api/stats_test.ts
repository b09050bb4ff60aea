/** `client.stats()`: what was done is counted, each thing once; and what comes alone is not held back. */

import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";
import { BlockDevice, IoClient, type IoStats, READ } from "../../mod.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";
import { shapedMemory } from "../support/shaped_memory.ts";

const BYTES = 1 << 20;
const PAGE = 4096;

/** What `body` added to the counts. */
async function added(io: IoClient, body: () => unknown): Promise<Omit<IoStats, "latency">> {
  const { latency: _before, ...before } = io.stats();
  await body();
  const { latency: _after, ...after } = io.stats();
  for (const [key, value] of Object.entries(before)) after[key as keyof typeof before] -= value;
  return after;
}

/** The counts of which a test says what they are. */
function counts(
  { requests, regions, sqes, fixedSqes, submits, bounces, shortTransfers, bytes }: Omit<IoStats, "latency">,
) {
  return { requests, regions, sqes, fixedSqes, submits, bounces, shortTransfers, bytes };
}

Deno.test("each lone request is submitted before its call has returned", async () => {
  await using loops = await loopDevices(1, { bytes: BYTES });
  await using device = BlockDevice.open(loops.devices[0]!.path, { write: true, direct: true });
  for (const poll of [true, false]) {
    await using io = new IoClient({ pages: 4, poll });
    const page = io.pool.alloc(1);
    const where = { bdev: device, sector: 0, count: 8 };
    const start = [
      () => io.read(where, page),
      () => io.write([where], page),
      () => new Promise<void>((resolve) => io.notify(READ, [where], page, () => resolve(), null)),
    ];
    for (let i = 0; i < 300; i++) {
      const before = io.stats();
      const answer = start[i % start.length]!();
      const { submits, sqes, inFlight } = io.stats();
      assertEquals([submits - before.submits, sqes - before.sqes, inFlight], [1, 1, 1], `request ${i}`);
      await answer;
    }
  }
});

Deno.test("requests made in one turn of the event loop are submitted in few batches", async () => {
  await using loops = await loopDevices(3, { bytes: BYTES });
  await using all = new AsyncDisposableStack();
  const devices = loops.devices.map(({ path }) =>
    all.use(BlockDevice.open(path, { write: true, direct: true }))
  );
  await using io = new IoClient({ pages: 64 });
  const data = io.pool.alloc(64);
  const done = await added(io, () =>
    Promise.all(Array.from({ length: 64 }, (_, i) => {
      const regions = devices.map((bdev) => ({ bdev, sector: i * 8, count: 8 }));
      return io.write(regions, data.subarray(i * PAGE, (i + 1) * PAGE));
    })));
  assertEquals([done.requests, done.regions, done.sqes], [64, 192, 192]);
  assertLess(done.submits, 20);
  assertGreaterOrEqual(io.stats().mostInFlight, 16);
});

Deno.test("each kind of I/O is counted under its own name", async () => {
  await using loops = await loopDevices(2, { bytes: BYTES });
  await using both = new AsyncDisposableStack();
  const [a, b] = loops.devices.map(({ path }) =>
    both.use(BlockDevice.open(path, { write: true, direct: true }))
  );
  await using io = new IoClient({ pages: 64 });
  const fixed = io.features.fixedBuffers ? 1 : 0;
  const page = io.pool.alloc(1);
  using shared = shapedMemory("vm", "a SharedArrayBuffer", PAGE, io.pool);
  const where = { bdev: a!, sector: 8, count: 8 };
  const one = { requests: 1, regions: 1, sqes: 1, submits: 1, bounces: 0, shortTransfers: 0, bytes: PAGE };

  assertEquals(
    counts(await added(io, () => io.read(where, page))),
    { ...one, fixedSqes: fixed },
    "pool pages",
  );
  assertEquals(
    counts(await added(io, () => io.readSync(where, page))),
    { ...one, fixedSqes: fixed },
    "blocking",
  );
  assertEquals(
    counts(await added(io, () => io.read(where, shared.memory))),
    { ...one, fixedSqes: fixed, bounces: 1 },
    "shared memory is copied, as its isolate may end",
  );
  assertEquals(
    counts(await added(io, () => io.readSync(where, shared.memory))),
    { ...one, fixedSqes: 0 },
    "a blocking call uses shared memory where it lies, and that is not fixed",
  );
  assertEquals(
    counts(await added(io, () => io.write([where], new Uint8Array(PAGE)))),
    { ...one, fixedSqes: fixed, bounces: 1 },
    "an ordinary buffer is copied",
  );
  assertEquals(
    counts(await added(io, () => io.write([where, { ...where, bdev: b! }, { ...where, count: 0 }], page))),
    { ...one, regions: 2, sqes: 2, fixedSqes: 2 * fixed, bytes: 2 * PAGE },
    "a region of 0 sectors is none",
  );
  assertEquals([io.stats().inFlight, io.stats().outstanding], [0, 0]);
});

Deno.test("short transfers are counted, and so are the SQEs that continue them", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using device = BlockDevice.open(path, { write: true, create: 4 * PAGE });
  await using io = new IoClient({ pages: 8 });
  await Deno.truncate(path, 3 * PAGE); // behind the device's back
  const read = async () => {
    const { failures } = await io.read({ bdev: device, sector: 0, count: 32 }, io.pool.alloc(4));
    assertEquals(failures.map(({ sector }) => sector), [24]);
  };
  const { sqes, shortTransfers, bytes, requests } = await added(io, read);
  // The second one finds the end of the file: nothing transferred is short as well.
  assertEquals({ requests, sqes, shortTransfers, bytes }, {
    requests: 1,
    sqes: 2,
    shortTransfers: 2,
    bytes: 3 * PAGE,
  });
});

Deno.test("waits and polls are counted, and the latencies are those of the device", async () => {
  await using nbd = await NbdDevice.create({ delay: 20 });
  await using device = BlockDevice.open(nbd.path, { direct: true });
  for (const poll of [true, false]) {
    await using io = new IoClient({ pages: 8, poll });
    const page = io.pool.alloc(1);
    const where = { bdev: device, sector: 0, count: 8 };
    const { waits, polls } = await added(io, async () => {
      for (let i = 0; i < 10; i++) await io.read(where, page);
    });
    assertGreaterOrEqual(waits, 10, "a read of 20 ms is slept for");
    if (poll) assertGreater(polls, 0);
    else assertEquals(polls, 0, "polls without polling");
    const { p50, p99, max } = io.stats().latency;
    assert(
      20_000 * 7 / 8 <= p50 && p50 <= p99 && p99 <= max && max < 2e6,
      `p50 ${p50}, p99 ${p99}, max ${max}`,
    );
  }
});

Deno.test("a latency begins when the request is made, not when the last one was answered", async () => {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: BYTES });
  await using io = new IoClient({ pages: 2 });
  const page = io.pool.alloc(1);
  const where = { bdev: device, sector: 0, count: 8 };
  const began = performance.now();
  let thought = 0;
  for (let i = 0; i < 10; i++) {
    await Promise.all([io.read(where, page), io.read(where, page)]);
    // What the program does by itself is no part of it.
    for (const from = performance.now(); performance.now() - from < 20;) thought = performance.now() - from;
  }
  assertGreater(thought, 0);
  const { p50 } = io.stats().latency;
  assertLess(p50, (performance.now() - began - 200) * 1000);
  assertLess(p50, 20_000);
});
