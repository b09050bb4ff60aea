/** The library runs code of the caller (closeFd, signals, callbacks) outside the loop over CQEs. It affects no other request. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { closeSync, openSync } from "node:fs";
import { BlockDevice, IoClient, SECTOR_SIZE, WRITE } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

const BYTES = 1 << 20;
const PATIENCE = 5000;

/**
 * A file as a device, whose `closeFd` also calls `atClose`. It is a direct one, which is closed without a sync: so
 * `closeFd` runs while the library settles the device's last region.
 */
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
    direct: true,
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

Deno.test("a closeFd that writes with the same client disturbs no other completion of its batch", async () => {
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

Deno.test("a closeFd that writes between two regions of one request leaves that request one answer", async () => {
  await using scratch = await Scratch.create();
  await using other = BlockDevice.open(scratch.join("other"), { write: true, create: BYTES });
  const io = new IoClient({ pages: 16 });
  const region = { bdev: other, sector: 8, count: 8 };
  const closing = device(scratch.join("closing"), () => {
    assert(io.writeSync([region], pattern(4096, 1)).ok);
  });
  const bits: bigint[] = [];
  const data = io.pool.alloc(1);
  io.notify(WRITE, [{ ...region, bdev: closing }, region], data, (error) => bits.push(error), null);
  const after = io.write([region], data);
  await closing.close();
  assert(await settlesWithin(after, PATIENCE), "the request behind it has no answer");
  assertEquals([io.closed, io.outstanding, other.inFlight], [false, 0, 0]);
  assert(await settlesWithin(io.close(), PATIENCE), "the client does not close");
  assertEquals(bits, [0n]);
});

Deno.test("a closeFd that closes the client leaves no request without its answer", async () => {
  await using scratch = await Scratch.create();
  const io = new IoClient({ pages: 16 });
  let closed: Promise<void> | undefined;
  const closing = device(scratch.join("closing"), () => closed = io.close());
  const memory = new Uint8Array(BYTES);
  const controller = new AbortController();
  const { signal } = controller;
  const region = { bdev: closing, sector: 0, count: BYTES / SECTOR_SIZE };
  // Longer than one window. Its memory is gone when the next one is copied, which ends it in the abort's look at the ring.
  const writing = io.write([region], memory, { signal });
  memory.buffer.transfer();
  const ended = closing.close();
  const until = performance.now() + 20;
  while (performance.now() < until);
  controller.abort();
  assert(await settlesWithin(Promise.all([writing, ended]), PATIENCE), "the write has no answer");
  assert(await settlesWithin(closed!, PATIENCE), "the client does not close");
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

Deno.test("a signal whose own addEventListener throws leaves no request outstanding, as it is not called", async () => {
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

Deno.test("an object that only looks like an AbortSignal leaves no request outstanding", async () => {
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
  assert(await settlesWithin(io.close(), PATIENCE), "close waits for a request that was never made");
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

Deno.test("a callback that breaks the ring gets no other callback called twice", async () => {
  await using scratch = await Scratch.create();
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: BYTES });
  const ring = new BreakingRing(64);
  const io = clientOn(ring, { pages: 64 });
  const region = { bdev, sector: 0, count: 8 };
  const data = io.pool.alloc(1);
  const controller = new AbortController();
  const { signal } = controller;
  const calls = [0, 0, 0];
  for (const i of calls.keys()) {
    // The kernel has them, and their CQEs stay in the ring: all three are answered by the abort, and not settled.
    ring.keepsCompletions = true;
    io.notify(
      WRITE,
      [region],
      data,
      () => {
        calls[i]!++;
        ring.breaksAt = 0;
        assertThrows(() => io.writeSync([region], data));
      },
      null,
      { signal },
    );
  }
  controller.abort();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(calls, [1, 1, 1]);
  await io.close();
});

Deno.test("a closeFd that breaks the ring ends a blocking call with the ring's error", async () => {
  await using scratch = await Scratch.create();
  await using other = BlockDevice.open(scratch.join("other"), { write: true, create: BYTES });
  const ring = new BreakingRing(64);
  const io = clientOn(ring, { pages: 16 });
  const closing = device(scratch.join("closing"), () => {
    ring.breaksAt = 0;
    assertThrows(() => io.writeSync([{ bdev: other, sector: 0, count: 8 }], pattern(4096, 1)));
    ring.breaksAt = Infinity;
  });
  const calls: bigint[] = [];
  const regions = [{ bdev: closing, sector: 0, count: 8 }, { bdev: other, sector: 0, count: 8 }];
  io.notify(WRITE, regions, pattern(4096, 1), (bits) => calls.push(bits), null);
  const closed = closing.close();
  // Longer than a window: the ring breaks before it is done.
  const long = new Uint8Array(BYTES);
  assertThrows(
    () => io.writeSync([{ bdev: other, sector: 0, count: BYTES / SECTOR_SIZE }], long),
    Error,
    "the ring is broken",
  );
  await closed;
  await io.close();
  assertEquals(calls, [3n]);
});
