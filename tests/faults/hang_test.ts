import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async/delay";
import { BlockDevice, IoClient, type IoResult } from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const MEBIBYTE = 1 << 20;
const SECONDS_10 = 10_000;

Deno.test("a device that hangs for 3 s takes next to nothing of the other devices' rate", async () => {
  await using nbd = await NbdDevice.create();
  await using loops = await loopDevices(2, { bytes: 16 * MEBIBYTE });
  using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using parts = new AsyncDisposableStack();
  const others = loops.devices.map(({ path }) =>
    parts.use(BlockDevice.open(path, { write: true, direct: true }))
  );
  await using io = new IoClient({ pages: 4096 });

  let written = 0;
  let going = true;
  const page = io.pool.alloc(1);
  const writer = async (k: number) => {
    const bdev = others[k % 2]!;
    for (let i = k; going; i += 32) {
      assertEquals(
        (await io.write([{ bdev, sector: (i * 8) % bdev.sectors, count: 8 }], page)).errorBits,
        0n,
      );
      written++;
    }
  };
  const writers = Array.from({ length: 32 }, (_, k) => writer(k));
  // Writes per millisecond of a stretch of time.
  const rate = async (milliseconds: number) => {
    const [start, before] = [performance.now(), written];
    await delay(milliseconds);
    return (written - before) / (performance.now() - start);
  };
  await rate(300);
  const before = await rate(1500);
  await nbd.hang();
  // More than the device may have in flight, from the pool's pages and from memory that must be copied through them.
  const late: Promise<IoResult>[] = [];
  for (let i = 0; i < 600; i++) {
    const memory = i % 2 === 0 ? fillPattern(io.pool.alloc(1), i) : pattern(4096, i);
    late.push(io.write([{ bdev: hung, sector: i * 8, count: 8 }], memory));
  }
  const during = await rate(3000);
  assertEquals(await settlesWithin(Promise.race(late), 1), false, "nothing of the hung device is answered");
  nbd.resume();
  const results = await Promise.all(late);
  const after = await rate(1500);
  going = false;
  await Promise.all(writers);
  assert(results.every(({ errorBits }) => errorBits === 0n), "what was in flight while it hung ends well");
  const now = new Uint8Array(600 * 4096);
  assertEquals((await io.read({ bdev: hung, sector: 0, count: 4800 }, now)).errorBits, 0n);
  for (let i = 0; i < 600; i++) {
    expectSame(now.subarray(i * 4096, (i + 1) * 4096), pattern(4096, i), `write ${i}`);
  }
  const ratio = during / Math.min(before, after);
  console.log(
    `writes/ms: ${before.toFixed(1)} before, ${during.toFixed(1)} during the hang, ${
      after.toFixed(1)
    } after: ` +
      `${(ratio * 100).toFixed(0)} %`,
  );
  // The claim is 90 %; a machine that others use as well is noisier than that. What a lost slot or a wait for the hung device costs is more.
  assertGreater(ratio, 0.6);
});

Deno.test("close waits for a device that hangs; its timeout names the device and frees no memory", async () => {
  await using nbd = await NbdDevice.create();
  await using loops = await loopDevices(1, { bytes: MEBIBYTE });
  await using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using healthy = BlockDevice.open(loops.devices[0]!.path, { write: true, direct: true });
  const io = new IoClient();
  assertEquals((await io.write([{ bdev: hung, sector: 1024, count: 16 }], pattern(8192, 1))).errorBits, 0n);
  const page = io.pool.alloc(2);
  const readPage = io.pool.alloc(2);
  fillPattern(page, 2);
  let read = new Uint8Array(0);
  await nbd.hang();
  const pending = [
    io.write([{ bdev: hung, sector: 0, count: 16 }, { bdev: healthy, sector: 0, count: 16 }], page),
    // The client frees its pages after the last answer, which its caller gets before that.
    io.read({ bdev: hung, sector: 1024, count: 16 }, readPage).then((
      result,
    ) => (read = readPage.slice(), result)),
    io.write([{ bdev: hung, sector: 16, count: 16 }], pattern(8192, 3)),
  ];
  const quick = io.write([{ bdev: healthy, sector: 64, count: 16 }], page);
  const closing = io.close();
  assertEquals((await quick).errorBits, 0n);
  assertEquals(await settlesWithin(closing, 200), false, "close waits");
  const error = await assertRejects(() => io.close({ timeout: 50 }), Error);
  assertStringIncludes(error.message, hung.path);
  assertStringIncludes(error.message, "3 requests");
  assert(!error.message.includes(healthy.path), "the healthy device is not blamed");
  assertEquals(page.length, 8192, "the pool's memory is still there");
  expectSame(page, pattern(8192, 2), "the pool's memory");
  assertEquals(isMapped(page), true);
  assertEquals(hung.inFlight, 3);
  nbd.resume();
  const results = await Promise.all(pending);
  assertEquals(results.map(({ errorBits }) => errorBits), [0n, 0n, 0n]);
  expectSame(read, pattern(8192, 1), "what the late read brought");
  assert(await settlesWithin(closing, SECONDS_10), "close ends when the device answers");
  await io.close({ timeout: 50 });
  assertEquals(page.length, 0, "after close a view of the pool is empty");
  // All of it reached the device.
  await using after = new IoClient();
  const now = new Uint8Array(16384);
  assertEquals((await after.read({ bdev: hung, sector: 0, count: 32 }, now)).errorBits, 0n);
  expectSame(now.subarray(0, 8192), pattern(8192, 2));
  expectSame(now.subarray(8192), pattern(8192, 3));
});

Deno.test("close of a device that hangs waits for its requests in flight", async () => {
  await using nbd = await NbdDevice.create();
  await using io = new IoClient();
  const hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  await nbd.hang();
  const write = io.write([{ bdev: hung, sector: 0, count: 8 }], pattern(4096, 1));
  const closing = hung.close();
  assertEquals(await settlesWithin(closing, 200), false);
  assertEquals(Deno.readLinkSync(`/proc/self/fd/${hung.fd}`), nbd.path, "its file descriptor is still open");
  nbd.resume();
  assertEquals((await write).errorBits, 0n);
  assert(await settlesWithin(closing, SECONDS_10));
});

/** Whether a mapping of this process holds the view's first byte. */
function isMapped(view: Uint8Array): boolean {
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(view as Uint8Array<ArrayBuffer>));
  return Deno.readTextFileSync("/proc/self/maps").split("\n").some((line) => {
    const [from = 0n, to = 0n] = (/^(\w+)-(\w+)/.exec(line)?.slice(1) ?? []).map((hex) => BigInt(`0x${hex}`));
    return address >= from && address < to;
  });
}
