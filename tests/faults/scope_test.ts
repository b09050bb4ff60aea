import {
  assertEquals,
  assertLessOrEqual,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { MOST_THREADS } from "../../src/engine/call_threads.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { pattern } from "../support/bytes.ts";
import { until } from "../support/commands.ts";
import { ENGINE } from "../support/engine.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { openFiles, processState } from "../support/process_state.ts";

const ROUNDS = 30;
/** A pool that no other mapping of this process is as large as. */
const PAGES = 1031;

class Thrown extends Error {}

/** Mappings of this process that a client makes: those of the ring, and those of its pool's size. */
function mappings(): number {
  let count = 0;
  for (const line of Deno.readTextFileSync("/proc/self/maps").split("\n")) {
    const [from = "0", to = "0"] = /^(\w+)-(\w+)/.exec(line)?.slice(1) ?? [];
    if (line.includes("io_uring") || parseInt(to, 16) - parseInt(from, 16) === PAGES * 4096) count++;
  }
  return count;
}

function allMappings(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n").length;
}

/** Runs a scope that is left by a throw many times; nothing of it may stay. */
async function expectNothingLeft(scope: () => Promise<void>): Promise<void> {
  // What is made once, at the first use, is no leak.
  await assertRejects(scope, Thrown);
  const before = { ...processState(), mappings: mappings(), all: allMappings() };
  for (let i = 0; i < ROUNDS; i++) await assertRejects(scope, Thrown);
  const still = () => ({ openFiles: openFiles(), mappings: mappings(), pinned: processState().pinned });
  const expected = { openFiles: before.openFiles, mappings: before.mappings, pinned: before.pinned };
  // The kernel ends a ring in the background; Deno's own files may be closed a little later.
  await until(() => JSON.stringify(still()) === JSON.stringify(expected), 5000);
  assertEquals(still(), expected);
  // Threads and the collector map memory of their own, but not with each round; the C library keeps the stacks of threads that ended.
  const most = ROUNDS + (ENGINE === "threads" ? 2 * MOST_THREADS : 0);
  await until(() => allMappings() - before.all <= most, 5000);
  assertLessOrEqual(allMappings() - before.all, most);
}

Deno.test("an `await using` scope left by a throw leaks no file, mapping or registered buffer", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  let seen = 0;
  await expectNothingLeft(async () => {
    await using io = new IoClient({ pages: PAGES });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
    io.pool.get(3);
    await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
    io.readSync({ bdev, sector: 0, count: 8 }, new Uint8Array(4096));
    if (mappings() > 0) seen++;
    throw new Thrown();
  });
  assertEquals(seen, ROUNDS + 1, "within the scope there was something to leak");
});

Deno.test("an `await using` scope left by a throw with requests in flight leaks nothing", async () => {
  await using nbd = await NbdDevice.create({ delay: 10 });
  await expectNothingLeft(async () => {
    await using io = new IoClient({ pages: PAGES });
    using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
    for (let i = 0; i < 8; i++) {
      void io.write([{ bdev, sector: i * 8, count: 8 }], i % 2 === 0 ? io.pool.alloc(1) : pattern(4096, i));
      void io.read({ bdev, sector: i * 8, count: 8 }, new Uint8Array(new SharedArrayBuffer(4096)), {
        timeout: 5,
      });
    }
    void io.pool.allocWait(PAGES).catch(() => {});
    await Promise.resolve();
    throw new Thrown();
  });
});

Deno.test("a `using` scope of a device left by a throw closes its file", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  const before = openFiles();
  for (let i = 0; i < ROUNDS; i++) {
    assertThrows(() => {
      using bdev = BlockDevice.open(loop.path, { write: true, direct: true, exclusive: i % 2 === 0 });
      assertEquals(openFiles(), before + 1);
      throw new Thrown(bdev.path);
    }, Thrown);
  }
  assertEquals(openFiles(), before);
  for (let i = 0; i < ROUNDS; i++) {
    assertThrows(() => BlockDevice.open("/dev/null", { write: true }), TypeError);
    assertThrows(() => BlockDevice.open(`${loop.path}-none`), Error);
  }
  assertEquals(openFiles(), before);
});

/** A ring that has no memory left for fixed buffers. */
class FullRing extends IoUring {
  override registerBuffer(): number {
    return -12;
  }
}

Deno.test("a client whose pages are not registered says why, and leaves nothing behind", () =>
  expectNothingLeft(async () => {
    await using io = clientOn(new FullRing(16), { pages: PAGES });
    assertEquals(io.features.fixedBuffers, false);
    assertStringIncludes(io.features.fixedBuffersRefused ?? "", "RLIMIT_MEMLOCK");
    throw new Thrown();
  }));
