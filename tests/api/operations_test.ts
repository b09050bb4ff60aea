/** Flush, discard, write zeroes and write same: what each medium holds after them, to the byte, with guards on both sides. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BlockDevice,
  dmIo,
  dmIoClientCreate,
  dmIoClientDestroy,
  IoClient,
  IOPRIO_CLASS_BE,
  IOPRIO_CLASS_IDLE,
  IOPRIO_CLASS_RT,
  IOPRIO_PRIO_VALUE,
  type IoRegion,
  REQ_FUA,
  REQ_OP_DISCARD,
  REQ_OP_FLUSH,
  REQ_OP_READ,
  REQ_OP_WRITE,
  REQ_OP_WRITE_ZEROES,
  REQ_PREFLUSH,
  REQ_SYNC,
} from "../../mod.ts";
import { BY_IOCTL, NOT } from "../../src/device/abilities.ts";
import { abilitiesOf } from "../../src/device/device.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { MEDIA, Medium, MEDIUM_BYTES } from "../support/media.ts";
import { Scratch } from "../support/scratch.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";

const OPERATIONS = { discard: REQ_OP_DISCARD, writeZeroes: REQ_OP_WRITE_ZEROES } as const;

/** The error bits of an operation without data, by each way to ask for it. */
const WAYS: Record<
  string,
  (io: IoClient, op: keyof typeof OPERATIONS, where: IoRegion[]) => Promise<bigint>
> = {
  "a promise": async (io, op, where) => (await io[op](where)).errorBits,
  "a blocking call": (io, op, where) => Promise.resolve(io[`${op}Sync`](where).errorBits),
  "a callback": (io, op, where) =>
    new Promise((resolve) => io.notify(OPERATIONS[op], where, null, resolve, undefined)),
  "dmIo, blocking": (client, op, where) => {
    const errorBits = new BigUint64Array(1).fill(7n);
    const returned = dmIo({ opf: OPERATIONS[op], client }, where.length, where, errorBits);
    assertEquals(returned, errorBits[0] === 0n ? 0 : -5);
    return Promise.resolve(errorBits[0]!);
  },
  "dmIo, with notify": (client, op, where) =>
    new Promise((fn) => {
      const opf = OPERATIONS[op] | REQ_SYNC;
      assertEquals(dmIo({ opf, notify: { fn, context: 0 }, client }, where.length, where), 0);
    }),
};

function expectFilled(
  medium: Medium,
  before: Uint8Array,
  region: IoRegion,
  block: Uint8Array,
  what: string,
): void {
  const after = medium.contents();
  const range = { offset: region.sector * 512, length: region.count * 512 };
  const wanted = new Uint8Array(range.length);
  for (let at = 0; at < wanted.length; at += block.length) wanted.set(block, at);
  expectSame(after.subarray(range.offset, range.offset + range.length), wanted, `${what}: the region`);
  expectOnlyChanged(before, after, [range], `${what}: around the region`);
}

for (const name of Object.keys(MEDIA)) {
  Deno.test(`a discarded or zeroed region of ${name} reads as zeros, and nothing around it changes`, async () => {
    await using medium = await Medium.create(name);
    await using io = new IoClient({ pages: 16 });
    const { bdev, unit } = medium;
    let seed = 1;
    for (const op of ["discard", "writeZeroes"] as const) {
      for (const [way, call] of Object.entries(WAYS)) {
        const before = pattern(MEDIUM_BYTES, seed++);
        medium.fill(before);
        const region = { bdev, sector: 5 * unit, count: 16 * unit };
        assertEquals(await call(io, op, [region]), 0n, `${op} by ${way}`);
        expectFilled(medium, before, region, new Uint8Array(512), `${op} by ${way}`);
      }
    }
  });

  Deno.test(`zeroes with and without unmap, and one block again and again, fill a region of ${name}`, async () => {
    await using medium = await Medium.create(name);
    await using io = new IoClient({ pages: 16 });
    const { bdev, unit } = medium;
    const region = { bdev, sector: 3 * unit, count: 600 * unit > 1500 ? 120 * unit : 600 * unit };
    const before = pattern(MEDIUM_BYTES, 9);
    for (const unmap of [false, true]) {
      medium.fill(before);
      (await io.writeZeroes([region], { unmap })).orThrow();
      expectFilled(medium, before, region, new Uint8Array(512), `unmap: ${unmap}`);
    }
    const block = pattern(bdev.logicalBlockSize, 3);
    for (const options of [{}, { fua: true, preflush: true }]) {
      medium.fill(before);
      (await io.writeSame([region], block, options)).orThrow();
      expectFilled(medium, before, region, block, "the same block");
    }
    medium.fill(before);
    io.writeSameSync([region], new Uint8Array(block.length)).orThrow();
    expectFilled(medium, before, region, new Uint8Array(512), "a block of zeros");
  });

  Deno.test(`a write to ${name} that is preflushed, forced to the medium or given a priority is a write`, async () => {
    await using medium = await Medium.create(name);
    await using io = new IoClient({ pages: 64 });
    const { bdev, unit } = medium;
    const region = { bdev, sector: unit, count: 40 * unit };
    const data = pattern(region.count * 512, 4);
    const before = pattern(MEDIUM_BYTES, 5);
    const pages = io.pool.alloc(data.length / 4096);
    pages.set(data);
    for (const memory of [data, pages]) {
      for (
        const options of [{ fua: true }, { preflush: true }, { preflush: true, fua: true, ioprio: BEST }]
      ) {
        medium.fill(before);
        (await io.write([region], memory, options)).orThrow();
        expectFilled(medium, before, region, data, JSON.stringify(options));
        medium.fill(before);
        io.writeSync([region], memory, options).orThrow();
        expectFilled(medium, before, region, data, `${JSON.stringify(options)}, blocking`);
      }
    }
    (await io.flush([bdev])).orThrow();
    io.flushSync([region, bdev]).orThrow();
    (await io.read(region, pages, { ioprio: IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE) })).orThrow();
    expectSame(pages, data);
  });
}

const BEST = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7);

Deno.test("one request of each operation names every kind of medium at once", async () => {
  await using parts = new AsyncDisposableStack();
  const media: Medium[] = [];
  for (const name of Object.keys(MEDIA)) media.push(parts.use(await Medium.create(name)));
  await using io = new IoClient();
  const regions = media.map(({ bdev, unit }, i) => ({ bdev, sector: i * unit, count: 8 * (i + 1) }));
  const before = pattern(MEDIUM_BYTES, 6);
  for (const op of ["discard", "writeZeroes"] as const) {
    for (const medium of media) medium.fill(before);
    const result = await io[op](regions);
    assertEquals(result.failures, []);
    media.forEach((medium, i) => expectFilled(medium, before, regions[i]!, new Uint8Array(512), medium.name));
  }
  assertEquals((await io.flush(media.map(({ bdev }) => bdev))).failures, []);
});

Deno.test("a region of no sectors is skipped by all operations but a flush", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient();
  const nothing = [{ bdev, sector: 2048, count: 0 }];
  for (
    const call of [() => io.discard(nothing), () => io.writeZeroes(nothing), () => io.write(nothing, NONE)]
  ) {
    assert((await call()).ok);
  }
  assert((await io.write(nothing, NONE, { fua: true })).ok);
  assertEquals(io.stats().sqes, 0);
  assert((await io.write(nothing, NONE, { preflush: true })).ok);
  assert((await io.flush(nothing)).ok);
  assertEquals(io.stats().sqes, 2);
});

const NONE = new Uint8Array(0);

Deno.test("a device open for reading is flushed, and refuses what changes it", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using bdev = BlockDevice.open(loop.path);
  await using io = new IoClient();
  assert((await io.flush([bdev])).ok);
  const regions = [{ bdev, sector: 0, count: 8 }];
  for (
    const call of [
      () => io.discard(regions),
      () => io.writeZeroes(regions),
      () => io.writeSame(regions, new Uint8Array(512)),
    ]
  ) {
    assertThrows(call, TypeError, "open for reading only");
  }
});

testUnless(
  zramLack(),
  "a long region is split: 64 MiB of zeroes an SQE, a discard at the device's limit",
  async () => {
    // The limit of a loop device would stay so.
    await using zram = await ZramDevice.create(300 << 20);
    await using bdev = BlockDevice.open(zram.path, { write: true, direct: true });
    await using io = new IoClient();
    const all = [{ bdev, sector: 0, count: bdev.sectors }];
    assert((await io.writeZeroes(all)).ok);
    assertEquals(io.stats().sqes, 5);
    Deno.writeTextFileSync(limitOf(zram), `${100 << 20}`);
    bdev.refresh();
    assert((await io.discard(all)).ok);
    assertEquals(io.stats().sqes, 8);
  },
);

testUnless(
  zramLack(),
  "a device that cannot discard is its region's bit, and is not asked again",
  async () => {
    await using zram = await ZramDevice.create(1 << 20);
    await using good = await LoopDevice.create({ bytes: 1 << 20 });
    await using other = BlockDevice.open(good.path, { write: true, direct: true });
    await using io = new IoClient();
    const cannot = { errno: 95, code: "EOPNOTSUPP", sector: 8, region: 0 };
    const refused = async (bdev: BlockDevice) => {
      const result = await io.discard([{ bdev, sector: 8, count: 8 }, { bdev: other, sector: 0, count: 8 }]);
      assertEquals(result.failures, [cannot]);
    };
    {
      // The device is opened first, so that its own answer tells.
      await using bdev = BlockDevice.open(zram.path, { write: true, direct: true });
      assert((await io.discard([{ bdev, sector: 0, count: 8 }])).ok);
      Deno.writeTextFileSync(limitOf(zram), "0");
      await refused(bdev);
      assertEquals(abilitiesOf(bdev).discard, NOT);
      const { sqes } = io.stats();
      await refused(bdev);
      assertEquals(io.stats().sqes, sqes + 1, "only the other device was asked");
    }
    // Opened now, its limit of 0 is known before it is asked.
    await using bdev = BlockDevice.open(zram.path, { write: true, direct: true });
    const { sqes } = io.stats();
    await refused(bdev);
    assertEquals(io.stats().sqes, sqes + 1);
  },
);

function limitOf({ path }: ZramDevice): string {
  return `/sys/block/${path.slice("/dev/".length)}/queue/discard_max_bytes`;
}

Deno.test("where the ring lacks a command, an ioctl discards and zeroes, asynchronously and blocking", async () => {
  await using medium = await Medium.create("a direct loop device");
  await using io = new IoClient();
  const { bdev } = medium;
  const abilities = abilitiesOf(bdev);
  abilities.discard = abilities.zeroes = BY_IOCTL;
  const before = pattern(MEDIUM_BYTES, 7);
  const region = { bdev, sector: 24, count: 100 };
  for (const op of ["discard", "writeZeroes"] as const) {
    for (const [way, call] of Object.entries(WAYS)) {
      medium.fill(before);
      assertEquals(await call(io, op, [region]), 0n, `${op} by ${way}`);
      expectFilled(medium, before, region, new Uint8Array(512), `${op} by ${way}`);
    }
  }
  assertEquals([abilities.discard, abilities.zeroes], [BY_IOCTL, BY_IOCTL]);
});

Deno.test("fallback: false refuses a file system that zeroes nothing by itself, first and later", async () => {
  await using folder = await Scratch.create();
  await using bdev = BlockDevice.open(folder.join("file"), { write: true, create: 1 << 20 });
  await using io = new IoClient();
  const region = { bdev, sector: 16, count: 8 };
  const failures = [{ region: 0, errno: 95, code: "EOPNOTSUPP", sector: 16 }];
  assertEquals((await io.writeZeroes([region], { fallback: false })).failures, failures);
  assert((await io.writeZeroes([region])).ok);
  assertEquals((await io.writeZeroes([region], { fallback: false })).failures, failures);
  assertEquals(io.writeZeroesSync([region], { fallback: false }).failures, failures);
});

Deno.test("an operation past the end of a device that shrank is its region's bit", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient();
  await loop.resize(512 << 10);
  const regions = [{ bdev, sector: 1024, count: 8 }, { bdev, sector: 0, count: 8 }];
  for (const op of ["discard", "writeZeroes"] as const) {
    assertEquals((await io[op](regions)).errorBits, 1n, op);
    assertEquals(io[`${op}Sync`](regions).errorBits, 1n, op);
  }
});

Deno.test("dmIo reads and writes with its flags, and gives -EIO for a read of two regions", async () => {
  const client = dmIoClientCreate(16);
  await using medium = await Medium.create("a direct loop device");
  const { bdev } = medium;
  const mem = pattern(8192, 2);
  const region = { bdev, sector: 8, count: 16 };
  const opf = REQ_OP_WRITE | REQ_PREFLUSH | REQ_FUA | REQ_SYNC;
  assertEquals(dmIo({ opf, mem, client, ioprio: BEST }, 1, [region]), 0);
  const back = new Uint8Array(8192);
  assertEquals(dmIo({ opf: REQ_OP_READ, mem: back, client }, 1, [region], null), 0);
  expectSame(back, mem);
  assertEquals(dmIo({ opf: REQ_OP_FLUSH, client }, 2, [region, region]), 0);
  const bits = new BigUint64Array(1);
  assertEquals(dmIo({ opf: REQ_OP_READ, mem: back, client }, 2, [region, region], bits), -5);
  assertEquals(bits[0], 1n);
  const called = Promise.withResolvers<[bigint, string]>();
  const notify = {
    fn: (error: bigint, context: string) => called.resolve([error, context]),
    context: "mine",
  };
  assertEquals(dmIo({ opf: REQ_OP_READ, mem: back, client, notify }, 2, [region, region]), -5);
  assertEquals(await called.promise, [1n, "mine"]);
  await dmIoClientDestroy(client);
  assertThrows(() => dmIo({ opf: REQ_OP_FLUSH, client }, 1, [region]), TypeError, "closed");
});

Deno.test("dmIo refuses what is no request, and says which part", async () => {
  const client = dmIoClientCreate(16);
  await using medium = await Medium.create("a direct loop device");
  const where = [{ bdev: medium.bdev, sector: 0, count: 8 }];
  const mem = new Uint8Array(4096);
  // deno-lint-ignore no-explicit-any
  const wrong = (value: unknown): any => value;
  const cases: [unknown, typeof TypeError | typeof RangeError, string][] = [
    [null, TypeError, "request is null"],
    [{ opf: "write", client }, TypeError, 'request.opf is "write"'],
    [{ opf: 5, client }, RangeError, "the operation of request.opf is 5"],
    [{ opf: REQ_OP_WRITE | 1 << 12, mem, client }, RangeError, "request.opf is 0x1001"],
    [{ opf: REQ_OP_WRITE, client }, TypeError, "request.mem is left out"],
    [{ opf: REQ_OP_DISCARD, mem, client }, TypeError, "takes no memory"],
    [{ opf: REQ_OP_DISCARD | REQ_FUA, client }, TypeError, "options.fua does not go with a discard"],
    [{ opf: REQ_OP_FLUSH, client, ioprio: BEST }, TypeError, "options.ioprio does not go with a flush"],
    [{ opf: REQ_OP_FLUSH, client: {} }, TypeError, "client is"],
    [{ opf: REQ_OP_FLUSH, client, notify: 7 }, TypeError, "request.notify is 7"],
    [{ opf: REQ_OP_WRITE, mem, client, ioprio: 1 }, RangeError, "options.ioprio is 1"],
  ];
  for (const [request, kind, message] of cases) {
    assertThrows(() => dmIo(wrong(request), 1, where), kind, message);
  }
  assertThrows(() => dmIo({ opf: REQ_OP_FLUSH, client }, 2, where), RangeError, "numRegions is 2");
  assertThrows(() => dmIo({ opf: REQ_OP_FLUSH, client }, 1, where, wrong([])), TypeError, "syncErrorBits is");
  await dmIoClientDestroy(client);
});

Deno.test("an operation refuses regions off the blocks of a buffered device, and a block of odd length", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20, sectorSize: 4096 });
  await using bdev = BlockDevice.open(loop.path, { write: true });
  await using io = new IoClient();
  const odd = [{ bdev, sector: 1, count: 8 }];
  assertThrows(() => io.discard(odd), RangeError, "needs whole blocks");
  assertThrows(() => io.writeZeroes(odd), RangeError, "needs whole blocks");
  assert((await io.write(odd, new Uint8Array(4096))).ok, "a buffered write does not need them");
  const whole = [{ bdev, sector: 0, count: 8 }];
  for (const length of [0, 511, 513, (16 << 20) + 512]) {
    assertThrows(() => io.writeSame(whole, new Uint8Array(length)), RangeError, `block has ${length} bytes`);
  }
  assertThrows(() => io.writeSame(whole, new Uint8Array(8192)), RangeError, "multiple of 16 sectors");
  // deno-lint-ignore no-explicit-any
  const wrong = (value: unknown): any => value;
  assertThrows(() => io.writeSame(whole, wrong("block")), TypeError, "block is");
  assertThrows(() => io.flush(wrong(bdev)), TypeError, "targets is");
  assertThrows(() => io.flush([wrong(null)]), TypeError, "regions[0]");
  assertThrows(() => io.flush([]), RangeError, "0 regions");
  await assertRejects(
    () => (async () => await io.write(whole, new Uint8Array(4096), wrong({ fua: 1 })))(),
    TypeError,
  );
});

Deno.test("a realtime priority goes through with the capability", async () => {
  await using medium = await Medium.create("a direct loop device");
  await using io = new IoClient();
  const region = { bdev: medium.bdev, sector: 0, count: 8 };
  const ioprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0);
  assert((await io.write([region], new Uint8Array(4096), { ioprio })).ok);
  assertThrows(() => IOPRIO_PRIO_VALUE(4, 0), RangeError, "ioclass is 4");
  assertThrows(() => IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 8), RangeError, "level is 8");
});
