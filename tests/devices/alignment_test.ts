/** Memory that lies off the logical blocks, and blocks longer than a page: what the kernel takes as it is, and what is copied. */

import { assertEquals } from "@std/assert";
import { BlockDevice, IoClient, pageSize } from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { LoopDevice, sectorSizeLack } from "../support/loop.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";

const PAGE = pageSize();
const BIG_BLOCK = 4 * PAGE;

/** Writes from memory at each multiple of 512 in a page and reads back into it: the bytes are right, and what is off a block is copied. */
async function expectRightAtEachPlace(path: string, block: number): Promise<void> {
  await using bdev = BlockDevice.open(path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const pages = io.pool.alloc(5);
  const region = { bdev, sector: 64, count: 4 * PAGE / 512 };
  const back = io.pool.alloc(4);
  for (let at = 0; at < PAGE; at += 512) {
    const memory = pages.subarray(at, at + 4 * PAGE);
    const { bounces } = io.stats();
    fillPattern(memory, at);
    assertEquals((await io.write([region], memory)).failures, [], `a write from +${at}`);
    assertEquals((await io.read(region, back.fill(0))).failures, []);
    expectSame(back, pattern(4 * PAGE, at), `what was written from +${at}`);
    assertEquals((await io.read(region, memory.fill(0))).failures, [], `a read to +${at}`);
    expectSame(memory, pattern(4 * PAGE, at), `what was read to +${at}`);
    assertEquals(io.stats().bounces - bounces, at % block === 0 ? 0 : 2, `copies at +${at}`);
  }
  assertEquals([bdev.logicalBlockSize, bdev.memoryAlignment], [block, block]);
}

testUnless(zramLack(), "zram gets every byte right, wherever in its page the memory begins", async () => {
  await using zram = await ZramDevice.create(16 << 20);
  await expectRightAtEachPlace(zram.path, PAGE);
});

Deno.test("a device of 4096-byte blocks gets every byte right, wherever in its page the memory begins", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20, sectorSize: 4096 });
  await expectRightAtEachPlace(loop.path, 4096);
});

testUnless(
  await sectorSizeLack(BIG_BLOCK),
  "pages of the pool go uncopied and unregistered to a device of blocks longer than a page",
  async () => {
    await using loop = await LoopDevice.create({ bytes: 4 << 20, sectorSize: BIG_BLOCK });
    await using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
    assertEquals([bdev.logicalBlockSize, bdev.memoryAlignment], [BIG_BLOCK, PAGE]);
    await using io = new IoClient({ pages: 256 });
    // Whole blocks, at a place that is a multiple of the page alone.
    const data = fillPattern(io.pool.alloc(33), 1).subarray(PAGE);
    const region = { bdev, sector: 2 * BIG_BLOCK / 512, count: data.length / 512 };
    assertEquals((await io.write([region], data)).failures, []);
    expectSame(loop.bytes(2 * BIG_BLOCK, data.length), data);
    const back = io.pool.alloc(32);
    assertEquals((await io.read(region, back)).failures, []);
    expectSame(back, data);
    assertEquals(io.readSync(region, back.fill(0)).failures, []);
    expectSame(back, data);
    const { bounces, fixedSqes } = io.stats();
    assertEquals({ bounces, fixedSqes }, { bounces: 0, fixedSqes: 0 });
  },
);
