/** Copies: memory that the kernel cannot be given goes through pages of the pool, and waits for them in order. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { BlockDevice, IoClient, pageSize } from "../mod.ts";
import { expectSame, pattern } from "./support/bytes.ts";
import { settlesWithin } from "./support/commands.ts";
import { Scratch } from "./support/scratch.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

async function withFile(body: (device: BlockDevice, path: string) => Promise<void>): Promise<void> {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using device = BlockDevice.open(path, { write: true, create: 1 << 20 });
  await body(device, path);
  assertEquals(device.inFlight, 0);
}

Deno.test("copied requests wait in order for pages, and go on when some are freed", () =>
  withFile(async (device, path) => {
    await using io = new IoClient({ pages: 4 });
    const held = io.pool.alloc(4);
    const order: number[] = [];
    // All to one place, so that the last one in order is what stays.
    const answers = Array.from({ length: 6 }, async (_, i) => {
      const where = { bdev: device, sector: 0, count: 64 };
      const { errorBits } = await io.write([where], pattern(64 * 512, i));
      order.push(i);
      assertEquals(errorBits, 0n);
    });
    await new Promise((resolve) => setTimeout(resolve, 10));
    assertEquals([order.length, io.outstanding], [0, 6]);
    // One page must do for requests of eight.
    io.pool.free(held.subarray(0, PAGE));
    await Promise.all(answers);
    assertEquals(io.pool.available, 1);
    io.pool.free(held.subarray(PAGE));
    assertEquals(io.pool.available, 4);
    assertEquals(order.length, 6);
    assertEquals(Deno.readFileSync(path).length, 1 << 20);
  }));

Deno.test("a copied request of one device does not wait for pages that another's reads back", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 3 });
    const source = pattern(1 << 20, 9);
    assertEquals(io.writeSync([{ bdev: device, sector: 0, count: 2048 }], source).errorBits, 0n);
    const back = Array.from({ length: 8 }, () => new Uint8Array(1 << 20));
    const where = { bdev: device, sector: 0, count: 2048 };
    const answers = await Promise.all(back.map((memory) => io.read(where, memory)));
    for (const [i, { errorBits }] of answers.entries()) {
      assertEquals(errorBits, 0n);
      expectSame(back[i]!, source, `read ${i}`);
    }
    assertEquals(io.pool.available, 3);
  }));

Deno.test("a blocking copy behind others that wait for pages throws instead of hanging", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 2 });
    const where = { bdev: device, sector: 0, count: 8 };
    const held = io.pool.alloc(2);
    const waiting = io.write([where], pattern(4096, 1));
    assertThrows(() => io.readSync(where, new Uint8Array(4096)), RangeError, "pool.get");
    assertEquals(io.outstanding, 1);
    io.pool.free(held);
    assertEquals((await waiting).errorBits, 0n);
    assertEquals(io.readSync(where, new Uint8Array(4096)).errorBits, 0n);
  }));

Deno.test("a copied request does not wait for pages that can never come", () =>
  withFile(async (device) => {
    const where = { bdev: device, sector: 0, count: 8 };
    await using io = new IoClient({ pages: 4 });
    const held = io.pool.alloc(4);
    const answer = io.write([where], pattern(4096, 1));
    io.pool.put(4);
    io.pool.free(held);
    assert(await settlesWithin(answer, PATIENCE), "it waits, though the pool is empty for good");
    assertEquals(io.outstanding, 0);
  }));

Deno.test("a pool whose memory was transferred away refuses or fails, and closes", () =>
  withFile(async (device) => {
    const where = { bdev: device, sector: 0, count: 8 };
    const io = new IoClient({ pages: 4 });
    const view = io.pool.alloc(1);
    const taken = new Uint8Array((view.buffer as ArrayBuffer).transfer());
    assertEquals(view.length, 0);
    taken.fill(1);
    assertThrows(() => io.pool.alloc(1), RangeError);
    assertThrows(() => io.write([where], view), RangeError, "holds 0");
    let done: Promise<unknown>;
    try {
      done = io.write([where], new Uint8Array(4096));
    } catch (error) {
      assert(error instanceof RangeError || error instanceof TypeError);
      done = Promise.resolve();
    }
    assert(await settlesWithin(done, PATIENCE), "a copied write hangs");
    assertThrows(() => io.pool.free(view), TypeError);
    assert(await settlesWithin(io.close(), PATIENCE), "close() hangs");
    taken.fill(2);
  }));
