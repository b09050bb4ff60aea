/** A device that dies: it gets no more work than it must, and its neighbours do not wait for it. */

import { assertEquals, assertLessOrEqual } from "@std/assert";
import { BlockDevice, IoClient } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const MIB = 1 << 20;
const PATIENCE = 10_000;

Deno.test("a failed write is retried once, alone, and reports the failed transfer's first sector", async () => {
  await using nbd = await NbdDevice.create({ badRanges: [{ offset: 1001 * 512, length: 512 }] });
  await using loop = await LoopDevice.create({ bytes: 4 * MIB });
  await using bad = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using healthy = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 512 });
  const data = io.pool.alloc(256);
  data.set(pattern(MIB, 3));
  const regions = [healthy, bad].map((bdev) => ({ bdev, sector: 64, count: 2048 }));
  const { errorBits, failures } = await io.write(regions, data);
  assertEquals([errorBits, failures], [0b10n, [{ region: 1, errno: 5, code: "EIO", sector: 64 }]]);
  assertEquals(io.stats().sqes, 2 + 2 + 1, "two for each device, and one more for the one that failed");
  expectSame(loop.bytes(64 * 512, MIB), pattern(MIB, 3), "the healthy device");
});

Deno.test("a read with locate: false is not searched for its first bad sector", async () => {
  await using nbd = await NbdDevice.create({ badRanges: [{ offset: 1001 * 512, length: 512 }] });
  await using bdev = BlockDevice.open(nbd.path, { direct: true });
  await using io = new IoClient({ pages: 512 });
  const memory = io.pool.alloc(128);
  const { failures } = await io.read({ bdev, sector: 960, count: 1024 }, memory, { locate: false });
  assertEquals(failures.map(({ sector }) => sector), [960]);
  assertEquals(io.stats().sqes, 2);
  const located = io.readSync({ bdev, sector: 960, count: 1024 }, memory);
  assertEquals(located.failures.map(({ sector }) => sector), [1001]);
});

Deno.test("a region releases its device when it ends, though another region of its request hangs", async () => {
  await using nbd = await NbdDevice.create();
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  const healthy = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => nbd.resume());
  await nbd.hang();
  const regions = [healthy, hung].map((bdev) => ({ bdev, sector: 0, count: 8 }));
  const timed = await io.write(regions, pattern(4096, 1), { timeout: 100 });
  assertEquals([timed.errorBits, healthy.inFlight, hung.inFlight], [0b10n, 0, 1]);
  const waiting = io.write(regions, io.pool.alloc(1));
  assertEquals(await settlesWithin(waiting, 50), false);
  assertEquals(healthy.inFlight, 0);
  assertEquals(await settlesWithin(healthy.close(), PATIENCE), true, "the healthy device does not close");
  nbd.resume();
  assertEquals((await waiting).ok, true);
  await timed.settled;
});

Deno.test("a removed device fails as ENODEV, beside the kernel's errno, and is not searched", async () => {
  await using loop = await LoopDevice.create({ bytes: 4 * MIB });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 512 });
  await loop.resize(0);
  const region = { bdev, sector: 64, count: 2048 };
  const memory = io.pool.alloc(256);
  const written = await io.write([region], memory, { locate: true });
  assertEquals(written.failures, [{ region: 0, errno: 28, code: "ENODEV", sector: 64 }]);
  assertLessOrEqual(io.stats().sqes, 2, "one for each half MiB");
});

/** A ring whose first CQEs say that the device is busy. */
class BusyRing extends IoUring {
  left = 3;

  override reap(): number {
    const count = super.reap();
    for (let i = 0; i < count && this.left > 0; i++, this.left--) this.completions.result[i] = -16;
    return count;
  }
}

Deno.test("a CQE with EBUSY is tried again", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = clientOn(new BusyRing(8), { pages: 8 });
  assertEquals((await io.write([{ bdev, sector: 8, count: 8 }], pattern(4096, 4))).failures, []);
  expectSame(loop.bytes(4096, 4096), pattern(4096, 4));
});
