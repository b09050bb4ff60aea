/** The mirror of examples/: over RAM disks and nbdkit's faults, and as a program. */

import { assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { Raid1 } from "../../examples/raid1/mirror.ts";
import { DATA, writeState } from "../../examples/raid1/state.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { faults, ramDevice } from "../../src/testing/mod.ts";
import { Random } from "../../src/testing/random.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { runExample } from "../support/example.ts";
import { dataOf } from "../support/raid1.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const MIB = 1 << 20;
const BLOCK = 4096;
const PART = 2048;

Deno.test("a mirror reads from the second leg when the first has a bad sector, and writes that anew", async () => {
  await using io = new IoClient();
  await using a = ramDevice(4 * MIB);
  await using b = ramDevice(4 * MIB);
  const mirror = await Raid1.create(io, [a, b]);
  await mirror.write(8, pattern(2 * BLOCK, 1));
  using bad = faults(a).badSectors(DATA + 9, 1, { op: "read" });
  // A medium takes a new sector for a bad one when it is written.
  using write = faults(a).slow(0, { op: "write" });
  const data = new Uint8Array(2 * BLOCK);
  await mirror.read(8, data);
  expectSame(data, pattern(2 * BLOCK, 1));
  assertEquals([write.hits, mirror.legs.current.length], [1, 2]);
  bad.remove();
  expectSame(await dataOf(io, a, 8, 2 * BLOCK), data);
});

Deno.test("a leg whose write fails is not read any more, and resync copies what it missed alone", async () => {
  await using io = new IoClient();
  const devices = [ramDevice(12 * MIB), ramDevice(12 * MIB)];
  const [a, b] = devices as [BlockDevice, BlockDevice];
  const mirror = await Raid1.create(io, devices);
  await mirror.write(0, pattern(BLOCK, 1));
  await mirror.flush();
  const fault = faults(a).fail("EIO", { op: "write" });
  await mirror.write(3 * PART, pattern(BLOCK, 2));
  assertEquals(mirror.legs.all.map(({ state }) => state), ["failed", "current"]);
  fault.remove();
  await mirror.write(7 * PART, pattern(BLOCK, 3));
  const data = new Uint8Array(BLOCK);
  await mirror.read(7 * PART, data);
  expectSame(data, pattern(BLOCK, 3));
  const before = mirror.copied;
  await mirror.resync();
  assertEquals(mirror.copied - before, 2);
  assertEquals(mirror.legs.all.map(({ state }) => state), ["current", "current"]);
  expectSame(await dataOf(io, a), await dataOf(io, b));
  for (const device of devices) await device.close();
});

Deno.test("a leg that was left out gets what it missed alone, and a leg of another mirror is refused", async () => {
  await using io = new IoClient();
  await using a = ramDevice(12 * MIB);
  await using b = ramDevice(12 * MIB);
  await using c = ramDevice(12 * MIB);
  await (await Raid1.create(io, [a, b])).flush();
  const alone = await Raid1.open(io, [b]);
  await alone.write(5 * PART, pattern(BLOCK, 4));
  await alone.flush();
  const both = await Raid1.open(io, [a, b]);
  assertEquals(both.copied, 1);
  expectSame(await dataOf(io, a), await dataOf(io, b));
  await assertRejects(() => Raid1.open(io, [a, c]), Error, "is no leg of a mirror");
  await (await Raid1.create(io, [c])).flush();
  await assertRejects(() => Raid1.open(io, [a, c]), Error, "of another mirror");
});

Deno.test("a write that no leg took rejects, and so does a read that no leg gives", async () => {
  await using io = new IoClient();
  await using a = ramDevice(4 * MIB);
  await using b = ramDevice(4 * MIB);
  const mirror = await Raid1.create(io, [a, b]);
  await mirror.write(0, pattern(BLOCK, 1));
  for (const device of [a, b]) faults(device).badSectors(DATA);
  await assertRejects(() => mirror.read(0, new Uint8Array(BLOCK)), Error, "EIO");
  await assertRejects(() => mirror.write(0, pattern(BLOCK, 2)), Error, "EIO");
  assertEquals(mirror.legs.all.map(({ state }) => state), ["failed", "current"]);
  await assertRejects(
    () => mirror.write(mirror.legs.sectors, pattern(BLOCK, 2)),
    RangeError,
    "the mirror has",
  );
  for (const device of [a, b]) faults(device).heal();
  await mirror.resync();
  expectSame(await dataOf(io, a), await dataOf(io, b));
});

Deno.test("writes while a leg is copied to reach it, too", async () => {
  await using io = new IoClient();
  await using a = ramDevice(24 * MIB);
  await using b = ramDevice(24 * MIB);
  const mirror = await Raid1.create(io, [a, b]);
  using fault = faults(b).fail("EIO", { op: "write", times: 1 });
  for (let part = 0; part < 20; part++) await mirror.write(part * PART, pattern(BLOCK, part));
  assertEquals(fault.hits, 1);
  let resyncing = true;
  const resync = mirror.resync().finally(() => resyncing = false);
  const random = new Random(1);
  let writes = 0;
  while (resyncing) {
    await mirror.write(random.below(20) * PART + 8 * random.below(200), pattern(BLOCK, writes++));
  }
  await resync;
  await mirror.flush();
  assertGreater(writes, 10);
  expectSame(await dataOf(io, a), await dataOf(io, b));
});

Deno.test("no data is written before its part is marked on each leg, also when another write marks it", async () => {
  await using io = new IoClient();
  await using a = ramDevice(4 * MIB);
  await using b = ramDevice(4 * MIB);
  const mirror = await Raid1.create(io, [a, b]);
  using hang = faults(a).hang({ op: "write", sector: 0, count: 16 });
  const data = faults(b).slow(0, { op: "write", sector: DATA, count: PART });
  const writes = [mirror.write(0, pattern(BLOCK, 1)), mirror.write(8, pattern(BLOCK, 2))];
  assertEquals(await settlesWithin(Promise.race(writes), 50), false);
  assertEquals([hang.hits, data.hits], [1, 0]);
  hang.remove();
  await Promise.all(writes);
  assertEquals(data.hits, 2);
});

Deno.test("a write that a failed leg misses is not answered before the others hold that it failed", async () => {
  await using io = new IoClient();
  await using a = ramDevice(4 * MIB);
  await using b = ramDevice(4 * MIB);
  const mirror = await Raid1.create(io, [a, b]);
  await mirror.write(0, pattern(BLOCK, 1));
  faults(a).fail("EIO", { op: "write" });
  using hang = faults(b).hang({ op: "write", sector: 0, count: 16 });
  const first = mirror.write(0, pattern(BLOCK, 2));
  await until(() => hang.hits > 0, 5000);
  const second = mirror.write(8, pattern(BLOCK, 3));
  assertEquals(await settlesWithin(Promise.race([first, second]), 50), false);
  hang.remove();
  await Promise.all([first, second]);
});

Deno.test("a power cut in the middle of a write of the state leaves the state before it, over 100 seeds", async () => {
  for (let seed = 0; seed < 100; seed++) {
    await using io = new IoClient({ pages: 600 });
    // So large that the bit of its last part is in another sector than the state's head.
    const legs = [0, 1].map(() => ramDevice(8192 * MIB));
    const sectors = 8191 * PART;
    const state = { mirror: seed, legs: 2, sectors, changes: 1, dirty: new Uint8Array(4068) };
    (await writeState(io, legs, state)).orThrow();
    const mirror = await Raid1.open(io, legs);
    const cuts = legs.map((leg, i) => faults(leg).powerCutAt(2 * seed + i, { op: "write" }));
    await assertRejects(() => mirror.write(sectors - 8, pattern(BLOCK, 1)), Error, "ENODEV");
    for (const cut of cuts) cut.remove();
    await Raid1.open(io, legs);
    for (const leg of legs) await leg.close();
  }
});

Deno.test("a leg with EIO leaves the mirror in work, and is made equal when it is back", async () => {
  await using nbd = await NbdDevice.create({ bytes: 8 * MIB });
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  await using io = new IoClient();
  await using a = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using b = BlockDevice.open(loop.path, { write: true, direct: true });
  const mirror = await Raid1.create(io, [a, b]);
  await mirror.write(0, pattern(MIB, 1));
  await mirror.flush();
  nbd.fail();
  await mirror.write(PART, pattern(MIB, 2));
  const data = new Uint8Array(MIB);
  for (const part of [0, 1]) {
    await mirror.read(part * PART, data);
    expectSame(data, pattern(MIB, 1 + part));
  }
  assertEquals(mirror.legs.all.map(({ state }) => state), ["failed", "current"]);
  nbd.heal();
  await mirror.resync();
  assertEquals(mirror.legs.current.length, 2);
  expectSame(await dataOf(io, a), await dataOf(io, b));
});

Deno.test("the mirror demonstrates a bad leg, a missing leg and what is copied when it is back", async () => {
  const { code, stdout, stderr } = await runExample("raid1.ts", []);
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "15 parts were copied");
  assertStringIncludes(stdout, "read 1 from b.img");
  assertStringIncludes(stdout, "2 of the legs are there; 1 parts");
});

Deno.test("the mirror prints its usage for options that it has not", async () => {
  for (const args of [["--help"], ["--create"]]) {
    assertStringIncludes((await runExample("raid1.ts", args)).stdout, "usage: raid1.ts");
  }
});
