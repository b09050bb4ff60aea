/** Code of the caller's that the library runs: closeFd, signals, callbacks. It runs outside the loop over CQEs, and harms nobody else. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { closeSync, openSync } from "node:fs";
import { BlockDevice, IoClient, SECTOR_SIZE, WRITE } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

const BYTES = 1 << 20;

/** A file as a device, whose `closeFd` does something of the caller's besides. */
function device(path: string, atClose: () => void): BlockDevice {
  Deno.writeFileSync(path, new Uint8Array(BYTES));
  return new BlockDevice({
    path,
    fd: openSync(path, "r+"),
    sectors: BYTES / SECTOR_SIZE,
    logicalBlockSize: 512,
    physicalBlockSize: 4096,
    memoryAlignment: 1,
    isBlockDevice: false,
    tailBytes: 0,
    mayBlock: false,
    readOnly: false,
    writable: true,
    direct: false,
    closeFd: (fd) => {
      closeSync(fd);
      atClose();
    },
  });
}

/** Catches the errors that surface as uncaught while `body` runs. */
async function uncaughtOf(body: () => Promise<void>): Promise<string[]> {
  const messages: string[] = [];
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    messages.push((event.error as Error).message);
  };
  globalThis.addEventListener("error", onError);
  try {
    await body();
    await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    globalThis.removeEventListener("error", onError);
  }
  return messages;
}

Deno.test("a closeFd that writes with the same client disturbs no completion of the batch that it is in", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 64 });
  await using other = BlockDevice.open(scratch.join("other"), { write: true, create: BYTES });
  let inner = 0;
  for (let round = 0; round < 10; round++) {
    const closing = device(scratch.join(`closing-${round}`), () => {
      for (let i = 0; i < 4; i++) {
        const { ok } = io.writeSync([{ bdev: other, sector: 8 * i, count: 8 }], pattern(4096, i));
        assert(ok);
        inner++;
      }
    });
    const writes = Array.from({ length: 32 }, (_, i) => {
      const regions = [closing, other].map((bdev) => ({ bdev, sector: 64 + 8 * i, count: 8 }));
      return io.write(regions, pattern(4096, i));
    });
    const closed = closing.close();
    for (const { failures } of await Promise.all(writes)) assertEquals(failures, []);
    await closed;
  }
  assertEquals(inner, 40);
});

Deno.test("a closeFd that throws fails the device's close and nothing else", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 16 });
  await using other = BlockDevice.open(scratch.join("other"), { write: true, create: BYTES });
  const closing = device(scratch.join("closing"), () => {
    throw new Error("no such descriptor");
  });
  const regions = [closing, other].map((bdev) => ({ bdev, sector: 0, count: 8 }));
  const writing = io.write(regions, pattern(4096, 1));
  const closed = closing.close().then(() => "closed", (error) => error.message);
  assertEquals((await writing).ok, true);
  assertEquals(await closed, "no such descriptor");
  assertEquals((await io.write([regions[1]!], pattern(4096, 2))).ok, true);
  assertEquals(io.closed, false);
});

Deno.test("a signal's own members are not called: one that throws cannot leave a request outstanding", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 16 });
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: BYTES });
  const throws = () => {
    throw new Error("of the caller's own");
  };
  for (const member of ["addEventListener", "removeEventListener"]) {
    const { signal } = new AbortController();
    Object.defineProperty(signal, member, { value: throws });
    const { ok } = await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1), { signal });
    assertEquals([ok, io.outstanding], [true, 0]);
  }
});

Deno.test("what only looks like an AbortSignal leaves no request outstanding, refused or not", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 16 });
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: BYTES });
  const region = { bdev, sector: 0, count: 8 };
  const signals = [Object.create(AbortSignal.prototype), new Proxy(new AbortController().signal, {})];
  for (const signal of signals) {
    try {
      assertEquals((await io.write([region], pattern(4096, 1), { signal })).ok, true);
    } catch (error) {
      assert(error instanceof TypeError, `${error}`);
    }
    assertEquals([io.outstanding, bdev.inFlight], [0, 0]);
  }
  assert(await settlesWithin(io.close(), 5000), "close waits for a request that was never made");
});

Deno.test("a callback that throws when the ring broke keeps no other request pending", async () => {
  await using scratch = await Scratch.create();
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: BYTES });
  const ring = new BreakingRing(64);
  const io = clientOn(ring, { pages: 64 });
  const region = { bdev, sector: 0, count: 8 };
  const messages = await uncaughtOf(async () => {
    const first = io.write([region], pattern(4096, 1));
    for (let i = 0; i < 3; i++) {
      io.notify(WRITE, [region], pattern(4096, 1), () => {
        throw new Error(`from callback ${i}`);
      }, null);
    }
    const last = io.write([region], pattern(4096, 1));
    ring.breaksAt = 1;
    await first.catch(() => {});
    await assertRejects(() => last, Error, "the ring is broken");
  });
  assertEquals(messages, [0, 1, 2].map((i) => `from callback ${i}`));
  await io.close();
  assertEquals(bdev.inFlight, 0);
});
