/** Faults of RAM devices, through a client. Nothing here needs a permission. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type BlockDevice, DmioFault, IoClient } from "../../../mod.ts";
import { faults, ramDevice, reopen } from "../../../src/testing/mod.ts";

const MIB = 1 << 20;

const filled = (byte: number, length = 4096) => new Uint8Array(length).fill(byte);
const region = (bdev: BlockDevice, sector = 0, count = 8) => ({ bdev, sector, count });

/** Runs a test with a client and a device in RAM. */
async function withDevice(
  body: (io: IoClient, device: BlockDevice) => Promise<void>,
  options: Parameters<typeof ramDevice>[1] = {},
): Promise<void> {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(MIB, options);
  await body(io, device);
  faults(device).heal();
}

async function bytesOf(io: IoClient, device: BlockDevice, sector = 0, count = 8): Promise<Uint8Array> {
  const bytes = new Uint8Array(count * 512);
  (await io.read(region(device, sector, count), bytes)).orThrow();
  return bytes;
}

Deno.test("a bad sector fails reads and writes at that sector, until it is taken back", () =>
  withDevice(async (io, device) => {
    const bad = faults(device).badSectors(5, 2, { errno: "ENODATA" });
    for (
      const result of [
        await io.read(region(device), filled(0)),
        await io.write([region(device)], filled(1), { locate: true }),
      ]
    ) {
      assertEquals(result.failures, [{ region: 0, errno: 61, code: "ENODATA", sector: 5 }]);
    }
    bad.remove();
    (await io.write([region(device)], filled(2))).orThrow();
    assertEquals(await bytesOf(io, device), filled(2));
  }));

Deno.test("a sector that is bad for writes alone can be read", () =>
  withDevice(async (io, device) => {
    faults(device).badSectors(0, 1, { op: "write" });
    assertEquals((await io.write([region(device)], filled(1))).errorBits, 1n);
    assertEquals(await bytesOf(io, device), filled(0));
  }));

Deno.test("a bad sector makes its whole logical block bad", () =>
  withDevice(async (io, device) => {
    faults(device).badSectors(13);
    const { failures } = await io.read(region(device, 0, 24), filled(0, 24 * 512));
    assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: 8 }]);
  }, { blockSize: 4096 }));

Deno.test("the K-th operation of a kind fails, and only that one", () =>
  withDevice(async (io, device) => {
    const fault = faults(device).fail("ENOLINK", { op: "write", nth: 3 });
    const codes: string[] = [];
    for (let i = 0; i < 5; i++) {
      await bytesOf(io, device);
      const { failures } = await io.write([region(device)], filled(1));
      codes.push(failures[0]?.code ?? "ok");
    }
    assertEquals([codes, fault.hits], [["ok", "ok", "ENOLINK", "ok", "ok"], 1]);
  }));

Deno.test("operations on a place fail, and those beside it do not", () =>
  withDevice(async (io, device) => {
    faults(device).fail(67, { sector: 8, count: 8 });
    assertEquals((await io.write([region(device, 0)], filled(1))).errorBits, 0n);
    assertEquals((await io.write([region(device, 8)], filled(1))).errorBits, 1n);
    assertEquals((await io.write([region(device, 16)], filled(1))).errorBits, 0n);
  }));

Deno.test("each kind of operation can fail", () =>
  withDevice(async (io, device) => {
    const calls = {
      read: () => io.read(region(device), filled(0)),
      write: () => io.write([region(device)], filled(0)),
      flush: () => io.flush([device]),
      discard: () => io.discard([region(device)]),
      zeroes: () => io.writeZeroes([region(device)]),
    } as const;
    for (const op of Object.keys(calls) as (keyof typeof calls)[]) {
      using _fault = faults(device).fail("ENOLINK", { op });
      for (const [other, call] of Object.entries(calls)) {
        assertEquals(
          (await call()).failures[0]?.code,
          other === op ? "ENOLINK" : undefined,
          `${op}, ${other}`,
        );
      }
    }
  }));

Deno.test("a slow device takes its time, asynchronously and blocking", () =>
  withDevice(async (io, device) => {
    using slow = faults(device).slow(30, { op: "read" });
    for (
      const read of [() => io.read(region(device), filled(0)), () => io.readSync(region(device), filled(0))]
    ) {
      const began = performance.now();
      (await read()).orThrow();
      assert(performance.now() - began >= 30);
    }
    assertEquals(slow.hits, 2);
  }));

Deno.test("a device that hangs goes on when the fault is taken back", () =>
  withDevice(async (io, device) => {
    const hang = faults(device).hang();
    let answered = false;
    const write = io.write([region(device)], filled(3)).then((result) => {
      answered = true;
      return result;
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals([answered, hang.hits], [false, 1]);
    hang.remove();
    (await write).orThrow();
    assertEquals(await bytesOf(io, device), filled(3));
  }));

Deno.test("a deadline ends a request to a device that hangs, and settles when it goes on", () =>
  withDevice(async (io, device) => {
    const hang = faults(device).hang();
    const { failures, settled } = await io.write([region(device)], filled(3), { timeout: 5 });
    assertEquals(failures[0]?.code, "ETIMEDOUT");
    hang.remove();
    await settled;
    assertEquals(await bytesOf(io, device), filled(3), "the write arrived late");
  }));

Deno.test("a close that comes to its timeout names the device in RAM that hangs", async () => {
  await using device = ramDevice(MIB, { name: "leg b" });
  const io = new IoClient({ pages: 16 });
  const hang = faults(device).hang();
  const write = io.write([region(device)], filled(1));
  await assertRejects(() => io.close({ timeout: 5 }), Error, "waiting for leg b");
  hang.remove();
  (await write).orThrow();
  await io.close();
});

Deno.test("a device that dies at an operation ends it, though another fault would hold it up", () =>
  withDevice(async (io, device) => {
    faults(device).powerCutAt(1, { nth: 1 });
    faults(device).hang();
    assertEquals((await io.write([region(device)], filled(1))).failures[0]?.code, "ENODEV");
  }));

Deno.test("short transfers are resumed, and one without progress fails", () =>
  withDevice(async (io, device) => {
    {
      using short = faults(device).short(1500);
      (await io.write([region(device)], filled(4))).orThrow();
      assertEquals([await bytesOf(io, device), short.hits], [filled(4), 8]);
    }
    faults(device).short(0, { op: "write" });
    assertEquals((await io.write([region(device)], filled(5))).failures[0]?.code, "EIO");
  }));

Deno.test("a write that lies answers success and keeps nothing, or other bytes", () =>
  withDevice(async (io, device) => {
    (await io.write([region(device)], filled(1))).orThrow();
    {
      using _lie = faults(device).lie("lose");
      (await io.write([region(device)], filled(2), { fua: true })).orThrow();
    }
    assertEquals(await bytesOf(io, device), filled(1));
    {
      using _lie = faults(device).lie("corrupt");
      (await io.write([region(device)], filled(2))).orThrow();
    }
    const bytes = await bytesOf(io, device);
    assertEquals(bytes.filter((byte) => byte !== 2).length, 8, "one byte of each block");
  }));

Deno.test("a flush that lies makes nothing durable", () =>
  withDevice(async (io, device) => {
    faults(device).lie("lose", { op: "flush" });
    (await io.write([region(device)], filled(1))).orThrow();
    (await io.flush([device])).orThrow();
    assertEquals(faults(device).unflushed, 8);
    for (let seed = 0; faults(device).unflushed > 0; seed++) faults(device).powerCut(seed);
  }));

Deno.test("a dead device fails all that is in flight and all that follows, and is gone", () =>
  withDevice(async (io, device) => {
    (await io.write([region(device)], filled(1))).orThrow();
    faults(device).hang({ nth: 1 });
    const hung = io.write([region(device)], filled(2));
    const death = faults(device).die();
    assertEquals((await hung).failures[0]?.code, "ENODEV");
    for (const call of [io.read(region(device), filled(0)), io.flush([device])]) {
      assertEquals((await call).failures[0]?.errno, 5);
    }
    death.remove();
    assertEquals(await bytesOf(io, device), filled(1));
  }));

Deno.test("a power cut keeps what was flushed or written with FUA, whatever the seed", async () => {
  for (let seed = 0; seed < 50; seed++) {
    await withDevice(async (io, device) => {
      (await io.write([region(device, 0)], filled(1))).orThrow();
      (await io.flush([device])).orThrow();
      (await io.write([region(device, 8)], filled(2), { fua: true })).orThrow();
      (await io.write([region(device, 16)], filled(3))).orThrow();
      faults(device).powerCut(seed);
      assertEquals(await bytesOf(io, device, 0), filled(1));
      assertEquals(await bytesOf(io, device, 8), filled(2));
    });
  }
});

Deno.test("a power cut loses what was neither flushed nor written with FUA, with some seed", async () => {
  let lost = 0;
  for (let seed = 0; seed < 50; seed++) {
    await withDevice(async (io, device) => {
      (await io.write([region(device)], filled(1))).orThrow();
      faults(device).powerCut(seed);
      if ((await bytesOf(io, device)).includes(0)) lost++;
    });
  }
  assert(lost > 5 && lost < 45, `${lost}`);
});

Deno.test("a power cut fails what is in flight, and tears its writes between blocks alone", async () => {
  let torn = 0;
  for (let seed = 0; seed < 50; seed++) {
    await withDevice(async (io, device) => {
      (await io.write([region(device, 0, 32)], filled(1, 16384), { fua: true })).orThrow();
      faults(device).hang({ op: "write" });
      const write = io.write([region(device, 0, 32)], filled(2, 16384));
      faults(device).powerCut(seed);
      faults(device).heal();
      (await write).orThrow(); // tried again, when the power was back
      faults(device).hang({ op: "write" });
      const { settled } = await io.write([region(device, 0, 32)], filled(3, 16384), { timeout: 1 });
      faults(device).powerCut(seed);
      await settled;
      const bytes = await bytesOf(io, device, 0, 32);
      const blocks = [0, 1, 2, 3].map((i) => new Set(bytes.subarray(i * 4096, (i + 1) * 4096)));
      assert(blocks.every((block) => block.size === 1), `seed ${seed}: a block is half old, half new`);
      if (new Set(bytes).size > 1) torn++;
    }, { blockSize: 4096 });
  }
  assert(torn > 5, `${torn}`);
});

Deno.test("a power cut at the K-th operation leaves the device dead until it is taken back", () =>
  withDevice(async (io, device) => {
    const cut = faults(device).powerCutAt(7, { nth: 2 });
    (await io.write([region(device, 0)], filled(1), { fua: true })).orThrow();
    assertEquals((await io.write([region(device, 8)], filled(2), { fua: true })).errorBits, 1n);
    assertEquals((await io.flush([device])).errorBits, 1n);
    cut.remove();
    assertEquals(await bytesOf(io, device), filled(1));
  }));

Deno.test("a device without a cache loses nothing in a power cut", () =>
  withDevice(async (io, device) => {
    (await io.write([region(device)], filled(1))).orThrow();
    for (let seed = 0; seed < 20; seed++) faults(device).powerCut(seed);
    assertEquals(await bytesOf(io, device), filled(1));
  }, { cache: "none" }));

Deno.test("all devices of one disk have its faults and what it holds", () =>
  withDevice(async (io, device) => {
    (await io.write([region(device)], filled(1))).orThrow();
    faults(device).badSectors(8);
    await device.close();
    await using again = reopen(device);
    assertEquals(await bytesOf(io, again), filled(1));
    assertEquals((await io.read(region(again, 8), filled(0))).errorBits, 1n);
    faults(again).heal();
    (await io.read(region(again, 8), filled(0))).orThrow();
  }));

Deno.test("a blocking call to a device that hangs throws, as nothing could end it", async () => {
  const io = new IoClient({ pages: 16 });
  await using device = ramDevice(MIB);
  faults(device).hang();
  assertThrows(() => io.readSync(region(device), filled(0)), DmioFault, "hangs");
  await io.close();
});

Deno.test("a wrong argument of a fault throws, and says what is right", () => {
  using device = ramDevice(MIB);
  const broken = faults(device);
  assertThrows(() => broken.fail("EWHAT"), TypeError, "errno");
  assertThrows(() => broken.fail("EIO", { nth: 0 }), RangeError, "scope.nth");
  assertThrows(() => broken.fail("EIO", { op: "erase" as "read" }), TypeError, "scope.op");
  assertThrows(() => broken.short(512, { op: "flush" }), TypeError, '"read", "write"');
  assertThrows(() => broken.lie("steal" as "lose"), TypeError, "how");
  assertThrows(() => broken.slow(-1), RangeError, "milliseconds");
  assertThrows(() => broken.badSectors(2048), RangeError, "sector");
  assertThrows(() => broken.badSectors(0, 2049), RangeError, "count");
  assertThrows(() => broken.powerCut(0.5), RangeError, "seed");
  assertThrows(() => faults({} as BlockDevice), TypeError, "ramDevice");
  assertThrows(() => ramDevice(1000), RangeError, "bytes");
  assertThrows(() => ramDevice(MIB, { blockSize: 1000 }), RangeError, "power of two");
  assertThrows(() => ramDevice(MIB, { cache: "big" as "none" }), TypeError, "cache");
  assertThrows(() => ramDevice(MIB, { write: 1 as never }), TypeError, "options.write");
  assertThrows(() => ramDevice(MIB, { name: 1 as never }), TypeError, "options.name");
  assertThrows(() => broken.powerCutAt(1, null as never), TypeError, "scope");
  assertThrows(() => broken.lie("lose", null as never), TypeError, "scope");
});
