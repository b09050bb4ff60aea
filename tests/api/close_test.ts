/** A client that closes or breaks while requests and callers wait answers each once, and leaves nothing behind. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BlockDevice,
  dmIoAsyncVm,
  dmIoClient,
  dmIoGet,
  dmIoPut,
  IoClient,
  pageSize,
  READ,
  WRITE,
} from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

async function withFile(body: (device: BlockDevice) => Promise<void>): Promise<void> {
  await using scratch = await Scratch.create();
  const device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  await body(device);
  assertEquals(device.inFlight, 0);
  assert(await settlesWithin(device.close(), PATIENCE), "the device does not close");
}

for (const count of [1, 2, 3, 50]) {
  Deno.test(`close answers ${count} copied requests, each once, though the program holds every page`, () =>
    withFile(async (device) => {
      const io = new IoClient({ pages: 1 });
      io.pool.alloc(1);
      const where = { bdev: device, sector: 0, count: 8 };
      const writes = Array.from({ length: count }, (_, i) => io.write([where, where], pattern(4096, i)));
      const answers: bigint[][] = Array.from({ length: count }, () => []);
      for (const bits of answers) {
        io.notify(READ, [where], new Uint8Array(4096), (error) => bits.push(error), null);
      }
      assertEquals([io.outstanding, device.inFlight], [2 * count, 3 * count]);
      const closing = io.close();
      assert(await settlesWithin(closing, PATIENCE), "close() hangs");
      assert(await settlesWithin(Promise.all(writes), PATIENCE), "a request is not answered");
      for (const { errorBits, failures, settled } of await Promise.all(writes)) {
        assertEquals([errorBits, failures], [0n, []]);
        await settled;
      }
      assertEquals(answers, answers.map(() => [0n]));
      assertEquals([io.outstanding, device.inFlight], [0, 0]);
      await closing;
    }));
}

Deno.test("close of one client leaves devices open for another", async () => {
  await using nbd = await NbdDevice.create();
  const device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using other = new IoClient({ pages: 4 });
  using parts = new DisposableStack();
  parts.defer(() => nbd.resume());
  const io = new IoClient({ pages: 1 });
  const where = { bdev: device, sector: 0, count: 8 };
  await nbd.hang();
  const reads = Array.from({ length: 4 }, () => other.read(where, other.pool.alloc(1)));
  const waiting = [1, 2, 3].map((i) => io.write([{ ...where, count: 0 }], pattern(4096, i)));
  assert(await settlesWithin(io.close(), PATIENCE), "close() hangs");
  assert(await settlesWithin(Promise.all(waiting), PATIENCE));
  assertEquals(device.inFlight, 4);
  const closed = device.close();
  assertEquals(await settlesWithin(closed, 50), false, "the file descriptor is closed under the other's I/O");
  nbd.resume();
  for (const { errorBits } of await Promise.all(reads)) assertEquals(errorBits, 0n);
  assert(await settlesWithin(closed, PATIENCE));
});

for (const how of ["put", "transferred away"] as const) {
  Deno.test(`a copy goes on after close when pages that the program held were ${how}`, async () => {
    await using nbd = await NbdDevice.create();
    using device = BlockDevice.open(nbd.path, { write: true, direct: true });
    const io = new IoClient({ pages: 4 });
    const held = io.pool.alloc(2);
    await nbd.hang();
    const answer = io.read({ bdev: device, sector: 0, count: 64 }, new Uint8Array(64 * 512));
    assert(await until(() => io.stats().inFlight > 0, PATIENCE));
    if (how === "put") io.pool.put(2);
    else new Uint8Array((held.buffer as ArrayBuffer).transfer());
    const closing = io.close();
    nbd.resume();
    assert(await settlesWithin(answer, PATIENCE), "the request is not answered");
    assertEquals((await answer).failures, []);
    assert(await settlesWithin(closing, PATIENCE), "close() hangs");
    assertEquals([io.outstanding, device.inFlight], [0, 0]);
  });
}

Deno.test("close rejects every allocWait", async () => {
  await using nbd = await NbdDevice.create();
  using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  const io = new IoClient({ pages: 2 });
  const page = io.pool.alloc(1);
  const last = io.pool.alloc(1);
  await nbd.hang();
  const read = io.read({ bdev: device, sector: 0, count: 8 }, page);
  const before = assertRejects(() => io.pool.allocWait(1), Error, "closed");
  const closing = io.close();
  const after = assertRejects(async () => void await io.pool.allocWait(1), Error, "closed");
  assert(await settlesWithin(before, PATIENCE), "an allocWait before close() still waits");
  assert(await settlesWithin(after, PATIENCE), "an allocWait after close() waits");
  await Promise.all([before, after]);
  io.pool.free(last);
  nbd.resume();
  assertEquals((await read).errorBits, 0n);
  assert(await settlesWithin(closing, PATIENCE));
  refusesAll(io, "closed", TypeError);
  await assertRejects(async () => void await io.pool.allocWait(1), Error, "closed");
});

Deno.test("close of an idle client resolves at once, at each call and with any timeout", async () => {
  for (const timeout of [0, 1]) {
    const io = new IoClient({ pages: 4 });
    const closes = [io.close({ timeout: 1000 }), io.close(), io.close()];
    assert(await settlesWithin(Promise.all(closes), PATIENCE));
    await Promise.all(closes);
    await io.close({ timeout });
    assertEquals(io.closed, true);
  }
});

Deno.test("a fault rejects every allocWait, and refuses later ones", () =>
  withFile(async (device) => {
    const ring = new BreakingRing(8);
    const io = clientOn(ring, { pages: 2 });
    const held = io.pool.alloc(2);
    const where = { bdev: device, sector: 0, count: 8 };
    const copied = io.write([where], pattern(4096, 1));
    const waiting = [1, 2].map((pages) => io.pool.allocWait(pages));
    const rejected = Promise.allSettled([copied, ...waiting]);
    ring.breaksAt = 0;
    await assertRejects(() => io.write([where], held), Error, "the ring is broken");
    assert(await settlesWithin(rejected, PATIENCE), "an allocWait waits for ever");
    assertEquals((await rejected).map(({ status }) => status), ["rejected", "rejected", "rejected"]);
    refusesAll(io, "the ring is broken", Error);
    const later = assertRejects(async () => void await io.pool.allocWait(1), Error);
    assert(await settlesWithin(later, PATIENCE), "an allocWait after the fault waits for ever");
    await later;
    assertEquals(held.length, 2 * PAGE, "the kernel may still use the memory: it stays");
    assert(await settlesWithin(io.close(), PATIENCE));
  }));

Deno.test("the last dmIoPut lets each copied request call back once, though the program holds every page", () =>
  withFile(async (device) => {
    dmIoGet(1);
    dmIoClient().pool.alloc(1);
    const answers: bigint[][] = [[], [], []];
    for (const bits of answers) {
      const where = [{ bdev: device, sector: 0, count: 8 }];
      const fn = (error: bigint, context: bigint[]) => void context.push(error);
      assertEquals(dmIoAsyncVm(1, where, WRITE, pattern(4096, 1), fn, bits), 0);
    }
    dmIoPut(1);
    assert(await until(() => answers.every((bits) => bits.length > 0), PATIENCE), "a callback is not called");
    assert(await until(() => device.inFlight <= 0, PATIENCE));
    assertEquals(answers, [[0n], [0n], [0n]]);
  }));

// Every function of a pool that was closed or broke throws the reason.
function refusesAll({ pool }: IoClient, why: string, kind: new (message: string) => Error): void {
  for (const call of [() => pool.alloc(1), () => pool.allocList(1), () => pool.get(1), () => pool.put(1)]) {
    assertThrows(call, kind, why, `${call}`);
  }
}
