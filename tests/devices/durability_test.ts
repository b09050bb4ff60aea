/** What a flush, a preflush and a FUA are to the device, and in which order: by the kernel's trace of it, and by a server's log. */

import { assert, assertEquals, assertGreater } from "@std/assert";
import { BlockDevice, IoClient, type IoResult, type WriteOptions } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { type BlockEvent, BlockTrace, blockTraceLack } from "../support/block_trace.ts";
import { NbdDevice } from "../support/nbd.ts";
import type { NbdEvent } from "../support/nbd_log.ts";
import { testUnless } from "../support/test_unless.ts";

const DURABLE = { preflush: true, fua: true } as const;
/** Longer than one SQE, and than one window of a copy. */
const SECTORS = 4096;
const DATA = pattern(SECTORS * 512, 1);

/** The memory of a write, and whether the call waits. */
const WRITES: Record<string, (io: IoClient, bdev: BlockDevice, options: WriteOptions) => Promise<IoResult>> =
  {
    "pages of the pool": (io, bdev, options) => {
      const pages = io.pool.alloc(DATA.length / 4096);
      pages.set(DATA);
      return io.write([{ bdev, sector: 8, count: SECTORS }], pages, options);
    },
    "memory that is copied": (io, bdev, options) =>
      io.write([{ bdev, sector: 8, count: SECTORS }], DATA, options),
    "a call that waits": (io, bdev, options) =>
      Promise.resolve(io.writeSync([{ bdev, sector: 8, count: SECTORS }], DATA, options)),
  };

/** Fails unless a flush ended before any write began, all writes were done, and a flush began after the last. */
function expectOrder<Event extends { ended: boolean }>(
  events: readonly Event[],
  isFlush: (event: Event) => boolean,
  isFua: (event: Event) => boolean,
): void {
  const text = events.map((event) => (event.ended ? "..." : "") + (isFlush(event) ? "flush" : "write"))
    .join(" ");
  const writes = events.flatMap((event, i) => isFlush(event) ? [] : [{ i, event }]);
  assertGreater(writes.length, 1, text);
  const before = events.slice(0, writes[0]!.i);
  assert(before.some((event) => isFlush(event) && event.ended), `no flush before the data: ${text}`);
  assert(before.every(isFlush), text);
  if (writes.every(({ event }) => isFua(event))) return;
  const after = events.slice(writes.at(-1)!.i + 1);
  assertEquals(after.map(({ ended }) => ended).slice(-2), [false, true], `no flush after the data: ${text}`);
}

const lack = await blockTraceLack();
for (const [name, write] of Object.entries(WRITES)) {
  for (const direct of [true, false]) {
    const kind = direct ? "direct" : "buffered";
    testUnless(lack, `a ${kind} device flushes, takes the data, and flushes: ${name}`, async () => {
      await using nbd = await NbdDevice.create({ flushes: true });
      await using bdev = BlockDevice.open(nbd.path, { write: true, direct });
      await using io = new IoClient({ pages: 1024 });
      await using trace = await BlockTrace.create(nbd.path);
      (await write(io, bdev, DURABLE)).orThrow();
      // The medium, read before the device's close could put anything on it.
      expectSame(nbd.contents(8 * 512, DATA.length), DATA);
      const events = trace.events();
      expectOrder<BlockEvent>(events, ({ what }) => what === "flush", ({ what }) => what === "FUA");
      assertEquals(sectorsOf(events), SECTORS);
    });
  }
}

function sectorsOf(events: readonly BlockEvent[]): number {
  return events.filter(({ ended }) => ended).reduce((sum, { sectors }) => sum + sectors, 0);
}

/** What stands on the server: a loop device or the file of a FUSE file system, each opened for direct I/O or not. */
const STANDS = [true, false].flatMap((loop) =>
  [true, false].map((direct) => ({
    loop,
    direct,
    name: `a ${direct ? "direct" : "buffered"} ${loop ? "loop device over a server" : "file of a server"}`,
  }))
);

for (const { loop, direct, name } of STANDS) {
  Deno.test(`a flush, and FUA as a flush after the data, reach the server of ${name}`, async () => {
    await using nbd = await NbdDevice.create({ loop, flushes: true, log: true });
    await using bdev = BlockDevice.open(nbd.path, { write: true, direct });
    await using io = new IoClient({ pages: 1024 });
    const isFlush = ({ action }: NbdEvent) => action === "Flush";
    const since = async (request: () => Promise<IoResult>) => {
      const before = nbd.events().length;
      (await request()).orThrow();
      return nbd.events().slice(before);
    };
    const region = { bdev, sector: 8, count: 8 };
    const plain = await since(() => io.write([region], DATA));
    assertEquals(plain.filter(isFlush), [], "a write that is not durable");
    const flushed = await since(() => io.flush([bdev]));
    assertEquals(flushed.slice(-2).map(({ action, ended }) => [action, ended]), [
      ["Flush", false],
      ["Flush", true],
    ]);
    expectSame(nbd.contents(8 * 512, 4096), DATA.subarray(0, 4096), "after a flush");
    const fua = await since(() => io.write([{ ...region, sector: 16 }], DATA, { fua: true }));
    const isData = ({ action, offset }: NbdEvent) => action === "Write" && offset === 16 * 512;
    const last = fua.findLastIndex(isData);
    assert(last >= 0 && fua.slice(last).some((event) => isFlush(event) && event.ended), JSON.stringify(fua));
    expectSame(nbd.contents(16 * 512, 4096), DATA.subarray(0, 4096), "after a FUA");
    const preflushed = await since(() => io.write([{ ...region, sector: 24 }], DATA, { preflush: true }));
    assertEquals(preflushed.slice(0, 2).map(({ action, ended }) => [action, ended]), [
      ["Flush", false],
      ["Flush", true],
    ]);
    // What the page cache still holds would be written before the flush.
    (await io.flush([bdev])).orThrow();
    expectOrder(
      await since(() => io.write([{ bdev, sector: 0, count: SECTORS }], DATA, DURABLE)),
      isFlush,
      ({ fua }) => fua,
    );
  });
}

Deno.test("a preflush puts what the page cache holds on the medium before the data is written", async () => {
  await using nbd = await NbdDevice.create({ flushes: true, log: true });
  await using bdev = BlockDevice.open(nbd.path, { write: true });
  await using io = new IoClient({ pages: 64 });
  (await io.write([{ bdev, sector: 0, count: 64 }], DATA)).orThrow();
  expectSame(nbd.contents(0, 64 * 512), new Uint8Array(64 * 512), "before");
  (await io.write([{ bdev, sector: 128, count: 64 }], DATA, { preflush: true })).orThrow();
  expectSame(nbd.contents(0, 64 * 512), DATA.subarray(0, 64 * 512), "what was answered before");
  expectSame(nbd.contents(128 * 512, 64 * 512), new Uint8Array(64 * 512), "the data, which is not durable");
  (await io.write([{ bdev, sector: 256, count: 64 }], DATA, { fua: true })).orThrow();
  expectSame(nbd.contents(256 * 512, 64 * 512), DATA.subarray(0, 64 * 512), "durable data");
});

Deno.test("a preflush of a region of 0 sectors flushes, and a region of 0 sectors is skipped otherwise", async () => {
  await using nbd = await NbdDevice.create({ flushes: true, log: true });
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const region = { bdev, sector: 0, count: 0 };
  for (const memory of [io.pool.alloc(1), new Uint8Array(4096), new Uint8Array(0)]) {
    for (const options of [{ preflush: true }, { fua: true }, {}] as const) {
      for (const wait of [true, false]) {
        const before = nbd.events().length;
        const answer = wait
          ? io.writeSync([region], memory, options)
          : await io.write([region], memory, options);
        answer.orThrow();
        const count = nbd.events().length - before;
        assertEquals(
          count,
          "preflush" in options ? 2 : 0,
          `${memory.length} ${JSON.stringify(options)} ${wait}`,
        );
      }
    }
  }
});

Deno.test("two regions of one device each have a flush before their data", async () => {
  await using nbd = await NbdDevice.create({ flushes: true, log: true });
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const regions = [{ bdev, sector: 0, count: 16 }, { bdev, sector: 64, count: 32 }];
  (await io.write(regions, DATA, DURABLE)).orThrow();
  for (const { sector, count } of regions) {
    expectSame(nbd.contents(sector * 512, count * 512), DATA.subarray(0, count * 512));
  }
  const [first, second] = nbd.events();
  assertEquals([first!.action, second!.action, second!.ended], ["Flush", "Flush", true]);
});
