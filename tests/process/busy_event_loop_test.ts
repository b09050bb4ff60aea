/** An event loop that is late: what the device has done meanwhile is no failure. */

import { assertEquals, assertRejects } from "@std/assert";
import { BlockDevice, IoClient, type IoOptions } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const PAGE = 4096;
const DEADLINE = 50;
const BUSY = 120;

/** Keeps the event loop from running. */
function work(milliseconds: number): void {
  const until = performance.now() + milliseconds;
  while (performance.now() < until);
}

const DEADLINES: Record<string, () => IoOptions> = {
  "a timeout": () => ({ timeout: DEADLINE }),
  "AbortSignal.timeout": () => ({ signal: AbortSignal.timeout(DEADLINE) }),
};

for (const [name, options] of Object.entries(DEADLINES)) {
  Deno.test(`${name} that comes while the program works fails no request that the device has done`, async () => {
    await using loop = await LoopDevice.create({ bytes: 1 << 20 });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
    await using io = new IoClient({ pages: 64 });
    loop.fill(pattern(PAGE, 5), 8 * 512);
    for (let round = 0; round < 20; round++) {
      const memory = round % 2 === 0 ? io.pool.alloc(1) : new Uint8Array(PAGE);
      const reading = io.read({ bdev, sector: 8, count: 8 }, memory, options());
      work(BUSY);
      assertEquals((await reading).failures, [], `read ${round}`);
      expectSame(memory, pattern(PAGE, 5), `read ${round}`);
      const writing = io.write([{ bdev, sector: 64, count: 8 }], memory, options());
      work(BUSY);
      assertEquals((await writing).failures, [], `write ${round}`);
    }
  });
}

Deno.test("a timeout fails no request of a burst that the event loop was too late to submit", async () => {
  await using loop = await LoopDevice.create({ bytes: 4 << 20 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const data = pattern(64 * PAGE, 2);
  const burst = Array.from({ length: 40 }, (_, i) => {
    const region = { bdev, sector: 8 * i, count: 8 * (i % 5 === 0 ? 64 : 1) };
    return io.write([region], data, { timeout: DEADLINE });
  });
  work(BUSY);
  for (const { failures } of await Promise.all(burst)) assertEquals(failures, []);
});

Deno.test("a device that hangs gets ETIMEDOUT, also when the event loop is late", async () => {
  await using nbd = await NbdDevice.create();
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 16 });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => nbd.resume());
  await nbd.hang();
  const reading = io.read({ bdev, sector: 0, count: 8 }, new Uint8Array(PAGE), { timeout: DEADLINE });
  work(BUSY);
  const { failures, settled } = await reading;
  assertEquals(failures.map(({ code }) => code), ["ETIMEDOUT"]);
  nbd.resume();
  await settled;
});

Deno.test("close with a timeout does not reject for requests that were answered while the program worked", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  const io = new IoClient({ pages: 16 });
  const writing = io.write([{ bdev, sector: 0, count: 8 }], pattern(PAGE, 1));
  const closing = io.close({ timeout: DEADLINE });
  work(BUSY);
  await closing;
  assertEquals((await writing).ok, true);
});

Deno.test("close with a timeout names the device that hangs", async () => {
  await using nbd = await NbdDevice.create();
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 16 });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => nbd.resume());
  await nbd.hang();
  const writing = io.write([{ bdev, sector: 0, count: 8 }], pattern(PAGE, 1));
  await assertRejects(() => io.close({ timeout: DEADLINE }), Error, nbd.path);
  nbd.resume();
  assertEquals((await writing).ok, true);
});
