/** Devices in RAM and devices of the system in one request. */

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { BlockDevice, IoClient } from "../../mod.ts";
import { faults, ramDevice } from "../../src/testing/mod.ts";
import { settlesWithin } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1 << 20;

/** Runs a test with a client, a file and a device in RAM. */
async function withBoth(
  body: (io: IoClient, file: BlockDevice, ram: BlockDevice) => Promise<void>,
): Promise<void> {
  await using folder = await Scratch.create();
  await using file = BlockDevice.open(folder.join("a.img"), { write: true, create: MIB });
  await using ram = ramDevice(MIB);
  await using io = new IoClient({ pages: 64 });
  await body(io, file, ram);
  faults(ram).heal();
}

Deno.test("one request writes to a file and to RAM, asynchronously and blocking", () =>
  withBoth(async (io, file, ram) => {
    const regions = [file, ram].map((bdev) => ({ bdev, sector: 8, count: 256 }));
    for (const [i, sync] of [false, true].entries()) {
      const data = io.pool.alloc(32).fill(i + 1);
      (sync ? io.writeSync(regions, data) : await io.write(regions, data, { fua: true })).orThrow();
      for (const region of regions) {
        const got = new Uint8Array(data.length);
        (sync ? io.readSync(region, got) : await io.read(region, got)).orThrow();
        assertEquals(got, data.slice());
      }
      io.pool.free(data);
    }
    (await io.flush([file, ram])).orThrow();
    (await io.writeZeroes(regions)).orThrow();
    (await io.discard(regions)).orThrow();
  }));

Deno.test("a fault of the device in RAM is its bit alone, and the file has everything", () =>
  withBoth(async (io, file, ram) => {
    faults(ram).badSectors(20);
    const regions = [ram, file].map((bdev) => ({ bdev, sector: 8, count: 32 }));
    const { failures } = await io.write(regions, new Uint8Array(16384).fill(1), { locate: true });
    assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: 20 }]);
    const got = new Uint8Array(16384);
    (await io.read(regions[1]!, got)).orThrow();
    assertEquals(got, new Uint8Array(16384).fill(1));
  }));

Deno.test("a slow device in RAM holds up only the requests that name it", () =>
  withBoth(async (io, file, ram) => {
    const hang = faults(ram).hang();
    const region = { bdev: file, sector: 0, count: 8 };
    const slow = io.write([region, { ...region, bdev: ram }], new Uint8Array(4096).fill(1));
    for (let i = 0; i < 100; i++) (await io.read(region, new Uint8Array(4096))).orThrow();
    (io.readSync(region, new Uint8Array(4096))).orThrow();
    hang.remove();
    (await slow).orThrow();
  }));

Deno.test("a blocking call waits for the slower of a file and a device in RAM", () =>
  withBoth((io, file, ram) => {
    faults(ram).slow(20);
    const regions = [file, ram].map((bdev) => ({ bdev, sector: 0, count: 8 }));
    const began = performance.now();
    io.writeSync(regions, new Uint8Array(4096).fill(1)).orThrow();
    assert(performance.now() - began >= 20);
    return Promise.resolve();
  }));

Deno.test("many requests to a file and a device in RAM, each slow at its own time, are all answered", () =>
  withBoth(async (io, file, ram) => {
    for (let nth = 1; nth < 40; nth += 3) faults(ram).slow(nth % 5, { nth });
    const answers = Array.from({ length: 200 }, (_, i) => {
      const region = { sector: i * 8 % 2000, count: 8 };
      return io.write([file, ram].map((bdev) => ({ bdev, ...region })), new Uint8Array(4096).fill(i));
    });
    for (const answer of answers) (await answer).orThrow();
  }));

Deno.test("a device in RAM answers at its own time while a real device hangs", async () => {
  await using nbd = await NbdDevice.create();
  await using real = BlockDevice.open(nbd.path, { direct: true });
  await using io = new IoClient({ pages: 4 });
  const region = { sector: 0, count: 8 };
  await nbd.hang();
  const late = io.read({ bdev: real, ...region }, new Uint8Array(4096));
  try {
    await using ram = ramDevice(MIB);
    faults(ram).slow(10);
    // The client waits for the real device: at first it knows no other, then the one in RAM has nothing to do.
    for (let i = 0; i < 2; i++) {
      await delay(50);
      const answer = io.read({ bdev: ram, ...region }, new Uint8Array(4096));
      assert(await settlesWithin(answer, 10_000), `read ${i} of the device in RAM waits for the real one`);
    }
  } finally {
    nbd.resume();
    (await late).orThrow();
  }
});
