import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { BlockDevice, IoClient, type IoResult } from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { NbdDevice } from "../support/nbd.ts";

const LENGTH = 32768;
const COUNT = LENGTH / 512;
const EFAULT = { region: 0, errno: 14, code: "EFAULT", sector: 0 };

/** Runs a request on a device that hangs, does something to its memory meanwhile, and lets the device go on. */
async function meanwhile(
  write: boolean,
  make: (io: IoClient) => Uint8Array,
  act: (memory: Uint8Array) => void,
  check: (result: IoResult, memory: Uint8Array, now: Uint8Array, io: IoClient) => void | Promise<void>,
): Promise<void> {
  await using nbd = await NbdDevice.create({ bytes: 1 << 20 });
  await using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const region = { bdev: hung, sector: 0, count: COUNT };
  assertEquals((await io.write([region], pattern(LENGTH, 1))).errorBits, 0n);
  const memory = fillPattern(make(io), 2);
  await nbd.hang();
  const answer = write ? io.write([region], memory) : io.read(region, memory);
  act(memory);
  // New memory may lie where the old one was: the kernel must not write to it.
  const others = Array.from({ length: 50 }, (_, i) => pattern(LENGTH, 10 + i));
  nbd.resume();
  const result = await answer;
  for (const [i, other] of others.entries()) expectSame(other, pattern(LENGTH, 10 + i), "memory of others");
  const now = new Uint8Array(LENGTH);
  await using after = new IoClient();
  assertEquals((await after.read(region, now)).errorBits, 0n);
  await check(result, memory, now, io);
}

const moves: Record<string, (memory: Uint8Array) => void> = {
  "transferred": (memory) => void (memory.buffer as ArrayBuffer).transfer(),
  "transferred to another length": (memory) => void (memory.buffer as ArrayBuffer).transfer(100),
  "posted away": (memory) =>
    void structuredClone(memory.buffer, { transfer: [memory.buffer as ArrayBuffer] }),
};

const resizable = () => new Uint8Array(new ArrayBuffer(LENGTH, { maxByteLength: LENGTH * 4 }));

for (const [how, move] of Object.entries(moves)) {
  Deno.test(`an ordinary buffer ${how} during a write: the device gets the bytes of the call`, () =>
    meanwhile(true, () => new Uint8Array(LENGTH), move, ({ errorBits }, memory, now) => {
      assertEquals(errorBits, 0n);
      assertEquals(memory.length, 0);
      expectSame(now, pattern(LENGTH, 2));
    }));

  Deno.test(`an ordinary buffer ${how} during a read: EFAULT for the region, no other memory changes`, () =>
    meanwhile(false, () => new Uint8Array(LENGTH), move, ({ errorBits, failures }, memory) => {
      assertEquals(errorBits, 1n);
      assertEquals(failures, [EFAULT]);
      assertEquals(memory.length, 0);
    }));

  Deno.test(`the pool's buffer ${how} during a write: the device gets the bytes, the pages are lost`, () =>
    meanwhile(true, (io) => io.pool.alloc(LENGTH / 4096), move, async ({ errorBits }, memory, now, io) => {
      assertEquals(errorBits, 0n);
      assertEquals(memory.length, 0);
      expectSame(now, pattern(LENGTH, 2));
      await expectUsable(io);
    }));

  Deno.test(`the pool's buffer ${how} during a read: harmless, and new pages work`, () =>
    meanwhile(false, (io) => io.pool.alloc(LENGTH / 4096), move, async ({ errorBits }, memory, now, io) => {
      assertEquals(errorBits, 0n);
      assertEquals(memory.length, 0);
      expectSame(now, pattern(LENGTH, 1));
      await expectUsable(io);
    }));
}

// The pool's pages are lost to their client, which goes on: it must neither fall over nor hand out memory that is gone.
function expectUsable(io: IoClient): Promise<void> {
  io.pool.get(16);
  const pages = io.pool.alloc(8);
  assertEquals(pages.length, 8 * 4096);
  io.pool.free(pages);
  assertEquals(io.outstanding, 0);
  return Promise.resolve();
}

Deno.test("the pool's buffer transferred during a failing read: the bit is set, the client goes on", async () => {
  await using nbd = await NbdDevice.create({ bytes: 1 << 20 });
  await using hung = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  // Pool pages go to the kernel as they are; an ordinary buffer goes through pool pages, and loses those.
  const makes = [() => io.pool.alloc(8), () => new Uint8Array(LENGTH)];
  for (const make of makes) {
    const chunk = io.pool.alloc(1).buffer as ArrayBuffer;
    const memory = make();
    await nbd.hang();
    nbd.fail();
    const answer = io.read({ bdev: hung, sector: 8, count: COUNT }, memory);
    chunk.transfer();
    nbd.resume();
    const { errorBits, failures } = await deadline(answer, 10_000);
    nbd.heal();
    assertEquals(errorBits, 1n);
    assertEquals(failures.map(({ region }) => region), [0]);
    await expectUsable(io);
  }
});

Deno.test("a resizable buffer shrunk during a write: the device gets the bytes of the call", () =>
  meanwhile(
    true,
    resizable,
    (memory) => (memory.buffer as ArrayBuffer).resize(0),
    ({ errorBits }, memory, now) => {
      assertEquals(errorBits, 0n);
      assertEquals(memory.length, 0);
      expectSame(now, pattern(LENGTH, 2));
    },
  ));

Deno.test("a resizable buffer shrunk during a read: the region fails with EFAULT, no other memory changes", () =>
  meanwhile(
    false,
    resizable,
    (memory) => (memory.buffer as ArrayBuffer).resize(512),
    ({ failures }, memory) => {
      assertEquals(failures, [EFAULT]);
      assertEquals(memory.length, 512);
    },
  ));

for (const write of [true, false]) {
  Deno.test(`a resizable buffer grown during a ${write ? "write" : "read"}: nothing happens to it`, () =>
    meanwhile(
      write,
      resizable,
      (memory) => (memory.buffer as ArrayBuffer).resize(LENGTH * 4),
      (result, memory, now) => {
        assertEquals(result.errorBits, 0n);
        expectSame(now, pattern(LENGTH, write ? 2 : 1));
        expectSame(memory.subarray(0, LENGTH), pattern(LENGTH, write ? 2 : 1));
        assert(memory.subarray(LENGTH).every((byte) => byte === 0));
      },
    ));

  Deno.test(`a growable shared buffer grown during a ${write ? "write" : "read"}: nothing happens to it`, () =>
    meanwhile(
      write,
      () => new Uint8Array(new SharedArrayBuffer(LENGTH, { maxByteLength: LENGTH * 4 })),
      (memory) => (memory.buffer as SharedArrayBuffer).grow(LENGTH * 4),
      (result, memory, now) => {
        assertEquals(result.errorBits, 0n);
        expectSame(now, pattern(LENGTH, write ? 2 : 1));
        expectSame(memory.subarray(0, LENGTH), pattern(LENGTH, write ? 2 : 1));
        assert(memory.subarray(LENGTH).every((byte) => byte === 0));
      },
    ));
}

Deno.test("a growable shared buffer used, grown and used again reads into what it has grown by", async () => {
  await using nbd = await NbdDevice.create({ bytes: 1 << 20 });
  await using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const shared = new SharedArrayBuffer(4096, { maxByteLength: LENGTH });
  const small = fillPattern(new Uint8Array(shared), 1);
  assertEquals((await io.write([{ bdev, sector: 0, count: 8 }], small)).errorBits, 0n);
  shared.grow(LENGTH);
  const grown = fillPattern(new Uint8Array(shared), 2);
  assertEquals((await io.write([{ bdev, sector: 0, count: COUNT }], grown)).errorBits, 0n);
  const back = new Uint8Array(LENGTH);
  assertEquals((await io.read({ bdev, sector: 0, count: COUNT }, back)).errorBits, 0n);
  expectSame(back, pattern(LENGTH, 2));
  nbd.fail();
  const { failures } = await io.read({ bdev, sector: 0, count: COUNT }, new Uint8Array(shared));
  assertEquals(failures.map(({ errno, sector }) => [errno, sector]), [[5, 0]]);
  assert(new Uint8Array(shared).every((byte) => byte === 0));
  nbd.heal();
});
