/** Devices that change while they are open: they keep the facts of their opening until they are refreshed. */

import {
  assertEquals,
  assertGreater,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { BlockDevice, IoClient, pageSize } from "../../mod.ts";
import { libc } from "../../ffi/libc.ts";
import { abilitiesOf, deviceOfKind, holdDevice, releaseDevice } from "../../src/device/device.ts";
import { updateFacts } from "../../src/device/facts.ts";
import { DeviceQueue } from "../../src/schedule/device_queue.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { succeed } from "../support/commands.ts";
import { LoopDevice, sectorSizeLack } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";
import { deviceOf, RecordingEngine } from "../unit/parts.ts";

const MIB = 1 << 20;
const SECTORS = MIB / 512;

/** `LOOP_SET_BLOCK_SIZE` of linux/loop.h. */
const LOOP_SET_BLOCK_SIZE = 0x4C09n;

/** Gives a loop device, which nobody holds, other logical blocks. The call takes their size in the place of a pointer. */
async function setBlockSize(fd: number, bytes: number): Promise<void> {
  const size = Deno.UnsafePointer.create(BigInt(bytes));
  assertEquals(await libc().ioctlAsync(fd, LOOP_SET_BLOCK_SIZE, size), 0);
}

Deno.test("a device that grew is usable to its new end after refresh, and not before", async () => {
  for (const direct of [true, false]) {
    await using loop = await LoopDevice.create({ bytes: MIB });
    await using io = new IoClient({ pages: 16 });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct });
    const data = io.pool.alloc(2);
    data.set(pattern(data.length, 1));
    await loop.resize(2 * MIB);
    const last = { bdev, sector: 2 * SECTORS - 16, count: 16 };
    assertThrows(() => io.write([last], data), RangeError, `${SECTORS} sectors`);
    assertEquals([bdev.sectors, bdev.size], [SECTORS, MIB]);
    bdev.refresh();
    assertEquals([bdev.sectors, bdev.size, bdev.tailBytes], [2 * SECTORS, 2 * MIB, 0]);
    (await io.write([last], data)).orThrow();
    const back = new Uint8Array(8192);
    (await io.read(last, back)).orThrow();
    expectSame(back, data);
    assertThrows(() => io.write([{ ...last, count: 17 }], pattern(17 * 512, 1)), RangeError, "sectors");
    await loop.flush();
    expectOnlyChanged(
      new Uint8Array(2 * MIB),
      loop.bytes(),
      [{ offset: 2 * MIB - 8192, length: 8192 }],
      "disk",
    );
  }
});

Deno.test("a file that grew is usable to its new end after refresh, and its tail is the new one", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 16 });
  const path = scratch.join("file");
  await using bdev = BlockDevice.open(path, { write: true, create: MIB });
  Deno.truncateSync(path, MIB + 1000);
  const last = { bdev, sector: SECTORS, count: 1 };
  assertThrows(() => io.readSync(last, new Uint8Array(512)), RangeError);
  bdev.refresh();
  assertEquals([bdev.sectors, bdev.tailBytes, bdev.size], [SECTORS + 1, 488, MIB + 1000]);
  io.writeSync([last], pattern(512, 2)).orThrow();
  expectSame(Deno.readFileSync(path).subarray(MIB, MIB + 512), pattern(512, 2));
  // Beyond 2^53 bytes the sectors are exact.
  await succeed("truncate", "--size", `${2n ** 53n + 513n}`, path);
  bdev.refresh();
  assertEquals([bdev.sectors, bdev.tailBytes], [2 ** 44 + 1, 1]);
});

Deno.test("a region past a shrunk end is its bit before refresh, and is refused after it", async () => {
  for (const direct of [true, false]) {
    await using loop = await LoopDevice.create({ bytes: 2 * MIB });
    await using healthy = await LoopDevice.create({ bytes: 2 * MIB });
    await using io = new IoClient({ pages: 32 });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct });
    await using other = BlockDevice.open(healthy.path, { write: true, direct });
    await loop.resize(MIB);
    const past = { sector: 2 * SECTORS - 16, count: 16 };
    const written = await io.write([{ bdev: other, ...past }, { bdev, ...past }], pattern(8192, 3));
    assertEquals([written.errorBits, written.failures.length], [2n, 1]);
    assertEquals((await io.read({ bdev, ...past }, new Uint8Array(8192))).errorBits, 1n);
    // What crosses the end is there up to the end.
    const across = await io.read({ bdev, sector: SECTORS - 8, count: 16 }, new Uint8Array(8192));
    assertEquals([across.errorBits, across.failures[0]?.sector], [1n, SECTORS]);
    bdev.refresh();
    assertEquals(bdev.sectors, SECTORS);
    for (const region of [past, { sector: SECTORS - 8, count: 16 }]) {
      const error = assertThrows(() => io.write([{ bdev, ...region }], pattern(8192, 3)), RangeError);
      assertStringIncludes(error.message, `${loop.path} has ${SECTORS} sectors`);
    }
    (await io.write([{ bdev, sector: SECTORS - 16, count: 16 }], pattern(8192, 4))).orThrow();
    await loop.flush();
    expectSame(loop.bytes(MIB - 8192, 8192), pattern(8192, 4));
  }
});

Deno.test("a read past a file's shrunk end is its bit before refresh, and is refused after it", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 16 });
  const path = scratch.join("file");
  await using bdev = BlockDevice.open(path, { write: true, create: MIB });
  Deno.truncateSync(path, 4096);
  const data = new Uint8Array(8192).fill(1);
  const { errorBits, failures } = await io.read({ bdev, sector: 0, count: 16 }, data);
  assertEquals([errorBits, failures[0]?.sector], [1n, 8]);
  bdev.refresh();
  assertEquals(bdev.sectors, 8);
  assertThrows(() => io.read({ bdev, sector: 0, count: 16 }, data), RangeError, "8 sectors");
});

Deno.test("a device that changes its size under requests in flight finishes all of them", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using io = new IoClient({ pages: 64 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  for (const mebibytes of [2, 1, 3]) {
    const reads = Array.from(
      { length: 200 },
      (_, i) => io.read({ bdev, sector: (i * 8) % SECTORS, count: 8 }, new Uint8Array(4096)),
    );
    assertGreater(bdev.inFlight, 0);
    await loop.resize(mebibytes * MIB);
    bdev.refresh();
    assertEquals(bdev.sectors, mebibytes * SECTORS);
    for (const { errorBits } of await Promise.all(reads)) assertEquals(errorBits, 0n);
  }
});

Deno.test("a device that turns read-only says so after refresh, and accepts writes again later", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using io = new IoClient({ pages: 16 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await loop.refuseWrites();
  assertEquals(bdev.readOnly, false);
  bdev.refresh();
  assertEquals([bdev.readOnly, bdev.writable], [true, true]);
  assertEquals((await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1))).errorBits, 1n);
  await succeed("blockdev", "--setrw", loop.path);
  bdev.refresh();
  assertEquals(bdev.readOnly, false);
  (await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1))).orThrow();
});

Deno.test("close syncs a device that was written before it turned read-only", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using io = new IoClient({ pages: 16 });
  using file = BlockDevice.open(loop.path, { write: true });
  const syncFd = () => Promise.reject(new Error("the medium fails"));
  const bdev = new BlockDevice({ ...file, closeFd: () => {}, syncFd });
  (await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1))).orThrow();
  await loop.refuseWrites();
  bdev.refresh();
  assertEquals(bdev.readOnly, true);
  await assertRejects(() => bdev.close(), Error, "the medium fails");
});

Deno.test("a device whose logical blocks grew takes only whole ones after refresh", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB, sectorSize: 512 });
  await using io = new IoClient({ pages: 16 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true, exclusive: false });
  (await io.write([{ bdev, sector: 1, count: 1 }], pattern(512, 1))).orThrow();
  await setBlockSize(bdev.fd, 4096);
  // Requests under way were cut by the old blocks.
  holdDevice(bdev);
  const error = assertThrows(() => bdev.refresh(), TypeError);
  for (const word of [loop.path, "4096", "512", "await"]) assertStringIncludes(error.message, word);
  assertEquals([bdev.logicalBlockSize, bdev.memoryAlignment], [512, 512]);
  releaseDevice(bdev);
  bdev.refresh();
  assertEquals([bdev.logicalBlockSize, bdev.memoryAlignment], [4096, 4096]);
  assertThrows(() => io.write([{ bdev, sector: 1, count: 1 }], pattern(512, 1)), RangeError, "8 sectors");
  const page = io.pool.alloc(1);
  page.set(pattern(4096, 2));
  (await io.write([{ bdev, sector: 8, count: 8 }], page)).orThrow();
  (await io.write([{ bdev, sector: 16, count: 8 }], pattern(4096, 3))).orThrow();
  expectSame(loop.bytes(4096, 8192), new Uint8Array([...pattern(4096, 2), ...pattern(4096, 3)]));
});

const LONG_BLOCK = 2 * pageSize();

testUnless(
  await sectorSizeLack(LONG_BLOCK),
  "a device whose logical blocks grew beyond a page takes the pages of the pool after refresh",
  async () => {
    await using loop = await LoopDevice.create({ bytes: MIB, sectorSize: 512 });
    await using io = new IoClient({ pages: 16 });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct: true, exclusive: false });
    const pages = io.pool.alloc(2);
    pages.set(pattern(LONG_BLOCK, 1));
    const region = { bdev, sector: 0, count: LONG_BLOCK / 512 };
    (await io.write([region], pages)).orThrow();
    await setBlockSize(bdev.fd, LONG_BLOCK);
    bdev.refresh();
    assertEquals(bdev.logicalBlockSize, LONG_BLOCK);
    pages.set(pattern(LONG_BLOCK, 2));
    (await io.write([region], pages)).orThrow();
    expectSame(loop.bytes(0, LONG_BLOCK), pattern(LONG_BLOCK, 2));
  },
);

Deno.test("registered buffers are for direct devices of blocks up to a page, also when the blocks change", () => {
  const device = deviceOf({ direct: true, logicalBlockSize: 512 });
  const queue = new DeviceQueue<never>(device, new RecordingEngine(), 7, 0, () => {});
  for (const [logicalBlockSize, takesFixed] of [[LONG_BLOCK, false], [pageSize(), true]] as const) {
    updateFacts(device, { ...device, logicalBlockSize });
    assertEquals(queue.takesFixed, takesFixed);
  }
});

testUnless(zramLack(), "what a device can do is read once, and again after refresh", async () => {
  await using zram = await ZramDevice.create(MIB);
  await using io = new IoClient({ pages: 4 });
  await using bdev = BlockDevice.open(zram.path, { write: true, direct: true });
  const discard = async () => (await io.discard([{ bdev, sector: 0, count: 8 }])).failures[0]?.code;
  assertEquals(await discard(), undefined);
  const abilities = abilitiesOf(bdev);
  Deno.writeTextFileSync(`/sys/block/${zram.path.slice("/dev/".length)}/queue/discard_max_bytes`, "0");
  assertStrictEquals(abilitiesOf(bdev), abilities);
  bdev.refresh();
  assertEquals(await discard(), "EOPNOTSUPP");
});

Deno.test("a device that is not the system's has the size that its kind tells after refresh", () => {
  let sectors = 2048;
  const facts = { ...deviceOf({ sectors }) };
  const kind = {
    makeEngine: () => new RecordingEngine(),
    sectorsNow: () => sectors,
    inspect: () => ({ ...facts, sectors }),
    limits: () => ({ discardMaxBytes: null, writeZeroesMaxBytes: null }),
    sync: () => Promise.resolve(),
    close: () => {},
  };
  using device = deviceOfKind(facts, kind);
  sectors = 0;
  assertEquals(device.sectors, 2048);
  device.refresh();
  assertEquals([device.sectors, device.logicalBlockSize], [0, 512]);
});

Deno.test("a closed device is not refreshed: its file descriptor may be another file's", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  const device = BlockDevice.open(path, { write: true, create: 4096 });
  await device.close();
  await using _other = BlockDevice.open(path, { write: true, create: 8192 });
  assertThrows(() => device.refresh(), TypeError, `${path} is closed`);
  assertEquals(device.sectors, 8);
});
