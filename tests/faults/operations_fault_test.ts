/** Flush, discard and write zeroes on devices that hang, die or fail: a bit for each, and nothing of the others waits. */

import { assert, assertEquals } from "@std/assert";
import { BlockDevice, IoClient } from "../../mod.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const PATIENCE = 10_000;
const ETIMEDOUT = 110;
const ECANCELED = 125;

async function pair(
  parts: AsyncDisposableStack,
): Promise<{ nbd: NbdDevice; bad: BlockDevice; good: BlockDevice }> {
  const nbd = parts.use(await NbdDevice.create());
  const loop = parts.use(await LoopDevice.create({ bytes: 1 << 20 }));
  const bad = parts.use(BlockDevice.open(nbd.path, { write: true, direct: true }));
  const good = parts.use(BlockDevice.open(loop.path, { write: true, direct: true }));
  return { nbd, bad, good };
}

Deno.test("an operation on a device that hangs ends at its deadline, and settles when the device answers", async () => {
  await using parts = new AsyncDisposableStack();
  const { nbd, bad, good } = await pair(parts);
  const io = parts.use(new IoClient());
  const regions = [bad, good].map((bdev) => ({ bdev, sector: 8, count: 8 }));
  // Nothing is dirty in the server's file, so that a flush has to reach the server.
  await io.write(regions, new Uint8Array(4096).fill(1));
  await nbd.hang();
  try {
    const calls = {
      discard: io.discard(regions, { timeout: 300 }),
      zeroes: io.writeZeroes(regions, { timeout: 300 }),
      write: io.write(regions, new Uint8Array(4096), { fua: true, preflush: true, timeout: 300 }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const { failures, settled } = await call;
      assertEquals(failures.map(({ region, errno }) => [region, errno]), [[0, ETIMEDOUT]], name);
      assertEquals(await settlesWithin(settled, 1), false, `${name} cannot have settled`);
    }
    const controller = new AbortController();
    const aborted = io.discard([regions[0]!], { signal: controller.signal });
    controller.abort();
    assertEquals((await aborted).failures[0]!.errno, ECANCELED);
    assert((await io.flush([good], { timeout: PATIENCE })).ok, "the other device answers meanwhile");
  } finally {
    nbd.resume();
  }
  assert(await settlesWithin(io.close(), PATIENCE), "the client closes once the device has answered");
});

Deno.test("a device that fails is its bit in each operation, and none is searched for a bad block", async () => {
  await using parts = new AsyncDisposableStack();
  const { nbd, bad, good } = await pair(parts);
  const io = parts.use(new IoClient());
  const regions = [good, bad].map((bdev) => ({ bdev, sector: 16, count: 64 }));
  nbd.fail();
  for (const op of ["discard", "writeZeroes"] as const) {
    const { sqes } = io.stats();
    const { failures } = await io[op](regions);
    assertEquals(failures.map(({ region, code, sector }) => [region, code, sector]), [[1, "EIO", 16]], op);
    assert(io.stats().sqes - sqes <= 3, `${op} took ${io.stats().sqes - sqes} SQEs`);
    assertEquals(io[`${op}Sync`](regions).errorBits, 2n, op);
  }
  nbd.heal();
  for (const op of ["discard", "writeZeroes"] as const) {
    assert((await io[op](regions)).ok, `${op} of a healed device`);
  }
});

Deno.test("an operation on a device that is gone says ENODEV", async () => {
  await using parts = new AsyncDisposableStack();
  const io = parts.use(new IoClient());
  const loop = parts.use(await LoopDevice.create({ bytes: 1 << 20 }));
  const bdev = parts.use(BlockDevice.open(loop.path, { write: true, direct: true }));
  await loop.resize(0);
  const regions = [{ bdev, sector: 0, count: 8 }];
  for (const op of ["discard", "writeZeroes"] as const) {
    assertEquals((await io[op](regions)).failures.map(({ code }) => code), ["ENODEV"], op);
  }
});
