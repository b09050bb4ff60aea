/** Devices: what they say of themselves, how they are opened, and when they close. */

import { assert, assertEquals, assertFalse, assertStringIncludes, assertThrows } from "@std/assert";
import { BlockDevice, IoClient } from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { exists, settlesWithin, succeed, until } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { openFiles } from "../support/process_state.ts";
import { Scratch } from "../support/scratch.ts";

const PATIENCE = 5000;

Deno.test("a block device's facts are those that blockdev prints", async () => {
  for (const sectorSize of [512, 4096] as const) {
    for (const readOnly of [false, true]) {
      const bytes = 3 * 4096 * 100 + 4096;
      await using loop = await LoopDevice.create({ bytes, sectorSize, readOnly });
      await using device = BlockDevice.open(loop.path);
      const options = ["--getsz", "--getss", "--getpbsz", "--getro"];
      const printed = (await succeed("blockdev", ...options, loop.path)).split("\n").map(Number);
      const { sectors, logicalBlockSize, physicalBlockSize } = device;
      assertEquals([sectors, logicalBlockSize, physicalBlockSize, Number(device.readOnly)], printed);
      assertEquals([sectors, logicalBlockSize, device.readOnly], [bytes / 512, sectorSize, readOnly]);
      assertEquals([device.size, device.tailBytes], [bytes, 0]);
      assertEquals([device.path, device.writable, device.direct, device.closed], [
        loop.path,
        false,
        false,
        false,
      ]);
      assertEquals(Deno.readLinkSync(`/proc/self/fd/${device.fd}`), loop.path);
    }
  }
});

Deno.test("a file is a device of its whole sectors, whose size and tail are in bytes", async () => {
  await using scratch = await Scratch.create();
  for (const bytes of [0, 511, 512, 1000, 4096, 5_000_000, 2 ** 40 + 512, 2 ** 42 + 77]) {
    const path = scratch.join(`${bytes}`);
    Deno.writeFileSync(path, new Uint8Array(0));
    Deno.truncateSync(path, bytes);
    await using device = BlockDevice.open(path, { write: true });
    assertEquals([device.sectors, device.tailBytes], [Math.floor(bytes / 512), bytes % 512]);
    assertEquals(device.size, bytes);
    assertEquals([device.readOnly, device.writable, device.direct], [false, true, false]);
    assertEquals(Deno.statSync(path).size, bytes);
  }
});

Deno.test("create makes a file, lengthens a short one, and leaves a long one and its bytes alone", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using made = BlockDevice.open(path, { write: true, create: 4096 });
  assertEquals([made.sectors, Deno.statSync(path).size], [8, 4096]);
  Deno.writeFileSync(path, pattern(4096, 1));
  await using longer = BlockDevice.open(path, { write: true, create: 8192 });
  assertEquals([longer.sectors, Deno.statSync(path).size], [16, 8192]);
  await using same = BlockDevice.open(path, { write: true, create: 512 });
  assertEquals([same.sectors, Deno.statSync(path).size], [16, 8192]);
  const bytes = Deno.readFileSync(path);
  expectSame(bytes.subarray(0, 4096), pattern(4096, 1));
  expectSame(bytes.subarray(4096), new Uint8Array(4096));
});

Deno.test("a path that is no block device and no file is refused, and leaves nothing open", async () => {
  await using scratch = await Scratch.create();
  await succeed("mkfifo", scratch.join("fifo"));
  const before = openFiles();
  for (const path of ["/dev/null", "/dev/zero", scratch.path]) {
    const error = assertThrows(() => BlockDevice.open(path), TypeError);
    assertStringIncludes(error.message, path);
  }
  // A fifo has no writer, so that opening it for reading alone would wait.
  assertThrows(() => BlockDevice.open(scratch.join("fifo"), { write: true }), TypeError, "fifo");
  const missing = assertThrows(() => BlockDevice.open(scratch.join("none")), Error);
  assertEquals((missing as Error & { code?: string }).code, "ENOENT");
  for (const path of [5, null, undefined, {}, "a\0b"]) {
    assertThrows(() => BlockDevice.open(path as string), TypeError);
  }
  assertEquals(openFiles(), before);
});

Deno.test("close waits for requests in flight, and refuses new ones", async () => {
  await using nbd = await NbdDevice.create({ delay: 200 });
  await using io = new IoClient({ pages: 8 });
  const device = BlockDevice.open(nbd.path, { write: true, direct: true });
  const { fd } = device;
  const where = { bdev: device, sector: 0, count: 8 };
  const data = io.pool.alloc(1).fill(6);
  let answered = false;
  const answer = io.write([where, { ...where, sector: 8 }], data);
  answer.then(() => answered = true);
  assertEquals(device.inFlight, 2);
  const closing = device.close();
  assert(device.closed);
  assertThrows(() => io.read(where, data), TypeError, "closed");
  assert(exists(`/proc/self/fd/${fd}`), "the file was closed under the kernel's hands");
  let closed = false;
  closing.then(() => closed = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals([answered, closed], [false, false]);
  assertEquals((await answer).errorBits, 0n);
  assert(await settlesWithin(closing, PATIENCE), "close() hangs");
  assertEquals(device.inFlight, 0);
  assert(!isOpen(nbd.path, fd));
});

Deno.test("close may be called again, and a scope closes by itself", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using io = new IoClient({ pages: 8 });
  const device = BlockDevice.open(path, { write: true, create: 1 << 20 });
  await Promise.all([device.close(), device.close()]);
  const { fd } = device;
  // Another file may have the number now; a second close must not close that.
  await using other = BlockDevice.open(path, { write: true });
  assertEquals(other.fd, fd);
  await device.close();
  device[Symbol.dispose]();
  await device[Symbol.asyncDispose]();
  assert(isOpen(path, other.fd));
  let answer: Promise<unknown>;
  let left: BlockDevice;
  {
    using scoped = BlockDevice.open(path, { write: true });
    left = scoped;
    answer = io.write([{ bdev: scoped, sector: 0, count: 2048 }], pattern(1 << 20, 4));
    assertFalse(scoped.closed);
  }
  assert(left.closed);
  assertEquals((await answer as { errorBits: bigint }).errorBits, 0n);
  assert(await until(() => left.inFlight === 0 && !isOpen(path, left.fd), PATIENCE));
  expectSame(Deno.readFileSync(path), pattern(1 << 20, 4));
});

Deno.test("a file descriptor number that a closed device had serves the next device", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 8 });
  for (let i = 0; i < 300; i++) {
    const path = scratch.join(`${i % 3}`);
    const device = BlockDevice.open(path, { write: true, create: 4096 });
    const data = pattern(4096, i);
    assertEquals(io.writeSync([{ bdev: device, sector: 0, count: 8 }], data).errorBits, 0n);
    await device.close();
    expectSame(Deno.readFileSync(path), data, `device ${i}`);
  }
});

Deno.test("devices beyond the ring's table of files are served alike", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 300 });
  await using stack = new AsyncDisposableStack();
  const devices = Array.from(
    { length: 300 },
    (_, i) => stack.use(BlockDevice.open(scratch.join(`${i}`), { write: true, create: 4096 })),
  );
  const answers = await Promise.all(
    devices.map((bdev, i) => io.write([{ bdev, sector: 0, count: 8 }], fillPattern(io.pool.alloc(1), i))),
  );
  assert(answers.every(({ errorBits }) => errorBits === 0n));
  for (const [i, device] of devices.entries()) expectSame(Deno.readFileSync(device.path), pattern(4096, i));
});

Deno.test("one device serves several clients", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using device = BlockDevice.open(path, { write: true, create: 1 << 20 });
  const clients = Array.from({ length: 4 }, () => new IoClient({ pages: 8 }));
  const answers = await Promise.all(
    clients.map((io, i) => io.write([{ bdev: device, sector: i * 8, count: 8 }], pattern(4096, i))),
  );
  assertEquals(answers.map(({ errorBits }) => errorBits), [0n, 0n, 0n, 0n]);
  for (let i = 0; i < 4; i++) {
    expectSame(Deno.readFileSync(path).subarray(i * 4096, (i + 1) * 4096), pattern(4096, i));
  }
  await Promise.all(clients.map((io) => io.close()));
});

function isOpen(path: string, fd: number): boolean {
  try {
    return Deno.readLinkSync(`/proc/self/fd/${fd}`) === path;
  } catch {
    return false;
  }
}
