/** The write-ahead log of examples/: over RAM disks that lose their power, and as a program that is killed. */

import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { BLOCK, groups, pack, region } from "../../examples/log/groups.ts";
import { Log } from "../../examples/log.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { faults, ramDevice, reopen } from "../../src/testing/mod.ts";
import { Random } from "../../src/testing/random.ts";
import { killExample, runExample, untilFree } from "../support/example.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const SEEDS = 300;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The records of a log, and the log. */
async function opened(io: IoClient, bdev: BlockDevice): Promise<{ log: Log; records: string[] }> {
  const records: string[] = [];
  const log = await Log.open(io, bdev, (record) => records.push(decoder.decode(record)));
  return { log, records };
}

/** A record, longer than a block now and then. */
function recordOf(random: Random, name: string): string {
  return name + ".".repeat(random.below(8) === 0 ? random.below(3 * BLOCK) : random.below(100));
}

/** Appends records from several appenders until the log fails. Gives those that were appended, in their order, and how many were answered. */
async function appendUntilItFails(
  log: Log,
  random: Random,
  life: number,
): Promise<{ made: string[]; answered: number }> {
  const made: string[] = [];
  let answered = 0;
  const appender = async () => {
    for (;;) {
      const record = recordOf(random, `life ${life}, record ${made.length} `);
      made.push(record);
      await log.append(encoder.encode(record));
      answered++;
    }
  };
  const appenders = Array.from({ length: random.between(1, 8) }, appender);
  for (const { status } of await Promise.allSettled(appenders)) assertEquals(status, "rejected");
  return { made, answered };
}

Deno.test(`a log recovers each answered record after a power cut at any operation, over ${SEEDS} seeds`, async () => {
  let torn = 0;
  for (let seed = 0; seed < SEEDS; seed++) {
    const random = new Random(seed);
    let bdev = ramDevice(8 << 20, { blockSize: random.below(2) === 0 ? 512 : 4096 });
    await using io = new IoClient({ pages: 700 });
    // What an older log left is no part of this one.
    for (const name of ["old", "new"]) {
      const log = await Log.create(io, bdev);
      for (let i = 0; i < 20; i++) await log.append(encoder.encode(recordOf(random, name)));
      await log.close();
    }
    const { log, records } = await opened(io, bdev);
    assertEquals([records.length, records.every((record) => record.startsWith("new"))], [20, true]);
    await log.close();
    let known = records;
    for (let life = 0; life < 4; life++) {
      const { log, records } = await opened(io, bdev);
      assertEquals(records, known, `seed ${seed}, life ${life}`);
      const cut = faults(bdev).powerCutAt(seed * 7 + life, { nth: random.between(1, 6) });
      const { made, answered } = await appendUntilItFails(log, random, life);
      await log.close();
      await bdev.close();
      cut.remove();
      bdev = reopen(bdev);
      const after = await opened(io, bdev);
      await after.log.close();
      const found = after.records.slice(known.length);
      assertEquals(after.records.slice(0, known.length), known, `seed ${seed}, life ${life}`);
      assert(found.length >= answered, `seed ${seed}, life ${life}: ${found.length} of ${answered} answered`);
      assertEquals(found, made.slice(0, found.length), `seed ${seed}, life ${life}`);
      if (found.length < made.length) torn++;
      known = after.records;
    }
    await bdev.close();
  }
  assertGreater(torn, SEEDS, "power cuts that lost what was not answered");
});

Deno.test("a record that recovery found survives a power cut, also one of a program that was killed", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  const log = await Log.create(io, bdev);
  await log.append(encoder.encode("a"));
  await log.close();
  const { generation, end, next } = log;
  const memory = new Uint8Array(BLOCK);
  pack(memory, [encoder.encode("b")], 0, generation, next);
  (await io.write([region(bdev, end, BLOCK)], memory)).orThrow();
  const { log: again, records } = await opened(io, bdev);
  await again.close();
  assertEquals([records, faults(bdev).unflushed], [["a", "b"], 0]);
});

Deno.test("a group of an older log is none of a new one, though its number is the next", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  for (const [name, count] of [["old", 9], ["new", 3]] as const) {
    const log = await Log.create(io, bdev);
    for (let i = 0; i < count; i++) await log.append(encoder.encode(name));
    await log.close();
  }
  assertEquals((await opened(io, bdev)).records, ["new", "new", "new"]);
});

Deno.test("a log that is closed refuses an append that comes while its last group is written", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  const log = await Log.create(io, bdev);
  const appender = async () => {
    for (;;) await log.append(encoder.encode("a"));
  };
  const appended = assertRejects(appender, Error, "the log is closed");
  await log.close();
  await appended;
  assertEquals((await opened(io, bdev)).records, ["a"]);
});

Deno.test("a log is damaged, not short, when a group in its middle is lost", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  const log = await Log.create(io, bdev);
  for (const record of ["a", "b", "c"]) await log.append(encoder.encode(record));
  await log.close();
  (await io.write([{ bdev, sector: 2 * BLOCK / 512, count: 1 }], new Uint8Array(512))).orThrow();
  await assertRejects(() => Log.open(io, bdev, () => {}), Error, "damaged");
});

Deno.test("a log whose device cannot be read, or holds none, is not opened", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  await assertRejects(() => Log.open(io, bdev, () => {}), Error, "holds no log");
  await (await Log.create(io, bdev)).close();
  using _bad = faults(bdev).badSectors(8);
  await assertRejects(() => Log.open(io, bdev, () => {}), Error, "EIO");
  assertEquals(io.pool.available, io.pool.pages);
});

Deno.test("appends that come while a group is in flight share the next write", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(1 << 20);
  const log = await Log.create(io, bdev);
  using hang = faults(bdev).hang({ op: "write" });
  const appends = ["a", "b"].map((record) => log.append(encoder.encode(record)));
  while (hang.hits === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  for (const record of ["c", "d", "e"]) appends.push(log.append(encoder.encode(record)));
  hang.remove();
  await Promise.all(appends);
  assertEquals(log.next, 5);
  await log.close();
  const found: number[] = [];
  for await (const { records } of groups(io, bdev)) found.push(records.length);
  assertEquals(found, [0, 2, 3]);
});

Deno.test("a full log says so, and keeps what it has", async () => {
  await using io = new IoClient({ pages: 700 });
  await using bdev = ramDevice(4 * BLOCK);
  const log = await Log.create(io, bdev);
  await log.append(encoder.encode("a"));
  await assertRejects(() => log.append(new Uint8Array(2 * BLOCK)), RangeError, "full");
  await log.close();
  assertEquals((await opened(io, bdev)).records, ["a"]);
});

Deno.test("an append whose write fails rejects, and so do all later ones, until the log is opened again", async () => {
  await using nbd = await NbdDevice.create({ failing: "writes" });
  await using io = new IoClient({ pages: 700 });
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  const log = await Log.create(io, bdev);
  await log.append(encoder.encode("a"));
  nbd.fail();
  const appends = ["b", "c"].map((record) => log.append(encoder.encode(record)));
  for (const append of appends) await assertRejects(() => append, Error, "EIO at sector");
  nbd.heal();
  await assertRejects(() => log.append(encoder.encode("d")), Error, "EIO");
  await log.close();
  const { log: again, records } = await opened(io, bdev);
  assertEquals(records, ["a"]);
  await again.append(encoder.encode("e"));
  assertEquals(again.next, 2);
  await again.close();
});

/** Lines without end. */
function* lines(first: number): Generator<Uint8Array> {
  for (let i = first;; i += 10) {
    yield encoder.encode(
      Array.from({ length: 10 }, (_, j) => `line ${i + j} ${"x".repeat((i * 7 + j) % 300)}\n`).join(""),
    );
  }
}

/** Kills the log in mid-append, ten times; each answered line is there each time. */
async function killTenTimes(path: string): Promise<void> {
  let known = 0;
  assertEquals((await runExample("log.ts", ["--create", path])).code, 0);
  for (let kill = 0; kill < 10; kill++) {
    const { lines: printed, signal } = await killExample(
      "log.ts",
      [path],
      lines(known),
      known + 1 + kill % 5,
      kill,
    );
    assertEquals(signal, "SIGKILL");
    await untilFree(path);
    const answered = Number(printed.at(-1));
    assertGreater(answered, known);
    const { code, stdout, stderr } = await runExample("log.ts", [path]);
    assertEquals([code, stderr], [0, ""]);
    const records = stdout.trimEnd().split("\n");
    for (const [i, record] of records.entries()) {
      assert(record.startsWith(`line ${i} x`) || record === `line ${i} `, record);
    }
    assert(records.length >= answered, `${records.length} of ${answered} answered lines`);
    known = records.length;
  }
}

Deno.test("after SIGKILL in appends to a loop device, ten times, each answered line is there", async () => {
  await using loops = await loopDevices(1, { bytes: 64 << 20 });
  await killTenTimes(loops.devices[0]!.path);
});

Deno.test("after SIGKILL in appends to a file, ten times, each answered line is there", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("log.img");
  Deno.writeFileSync(path, new Uint8Array(0));
  Deno.truncateSync(path, 64 << 20);
  await killTenTimes(path);
});

Deno.test("the log demonstrates itself, and a torn group is not recovered", async () => {
  const { code, stdout, stderr } = await runExample("log.ts", []);
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "32000 durable records");
  assertStringIncludes(stdout, "32000 records are recovered");
});

Deno.test("the log prints its usage for options that it has not", async () => {
  for (const args of [["--help"], ["--create"], ["a", "b"]]) {
    assertStringIncludes((await runExample("log.ts", args)).stdout, "usage: log.ts [[--create] PATH]");
  }
});
