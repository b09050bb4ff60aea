import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { IoUring } from "../../src/engine/io_uring.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { run } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { type BadRange, NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const DEVICE_BYTES = 4 << 20;
/** The region: 3 MiB, so more than one SQE, from sector 64. */
const FIRST = 64;
const COUNT = 6144;
const LENGTH = COUNT * 512;
const SECONDS_20 = 20_000;

/** Ranges that fail, and the first sector of the region that does. */
const CASES: [string, BadRange[], number][] = [
  ["one sector in the middle", [{ offset: 1001 * 512, length: 512 }], 1001],
  ["a part of a sector", [{ offset: 3000 * 512 + 100, length: 1 }], 3000],
  ["a long range", [{ offset: 2500 * 512, length: 1 << 20 }], 2500],
  ["two ranges, in two SQEs", [{ offset: 5000 * 512, length: 512 }, { offset: 777 * 512, length: 512 }], 777],
  ["the first sector", [{ offset: FIRST * 512, length: 512 }], FIRST],
  ["the last sector", [{ offset: (FIRST + COUNT - 1) * 512, length: 512 }], FIRST + COUNT - 1],
];

/** Memory of each sort, with a pattern. */
const MEMORY: Record<string, (io: IoClient) => Uint8Array> = {
  "pool pages": (io) => io.pool.alloc(LENGTH / 4096),
  "an ordinary buffer": () => new Uint8Array(LENGTH),
  "a shared buffer": () => new Uint8Array(new SharedArrayBuffer(LENGTH)),
};

async function withBadDevice(
  poll: boolean,
  test: (io: IoClient, nbd: NbdDevice, bdev: BlockDevice) => Promise<void>,
) {
  await using nbd = await NbdDevice.create({ bytes: DEVICE_BYTES, badRanges: [] });
  using bdev = BlockDevice.open(nbd.path, { write: true, direct: true });
  // Not `using`: a request that never ends would keep the client from closing, and the test from failing.
  const io = new IoClient({ pages: 2048, poll });
  await test(io, nbd, bdev);
  await io.close({ timeout: SECONDS_20 });
}

for (const poll of [true, false]) {
  for (const [kind, make] of Object.entries(MEMORY)) {
    const how = `${kind}${poll ? "" : ", without polling"}`;
    Deno.test(`a write with locate, from ${how}, writes all before the first bad sector and names it`, () =>
      withBadDevice(poll, async (io, nbd, bdev) => {
        const memory = make(io);
        for (const [i, [name, ranges, bad]] of CASES.entries()) {
          nbd.setBadRanges([]);
          const old = pattern(DEVICE_BYTES, 100 + i);
          assertEquals((await io.write([{ bdev, sector: 0, count: DEVICE_BYTES / 512 }], old)).errorBits, 0n);
          nbd.setBadRanges(ranges);
          fillPattern(memory, 200 + i);
          const region = { bdev, sector: FIRST, count: COUNT };
          const { errorBits, failures } = await deadline(
            io.write([region], memory, { locate: true }),
            SECONDS_20,
          );
          assertEquals(errorBits, 1n, name);
          assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: bad }], name);
          nbd.setBadRanges([]);
          const now = new Uint8Array(DEVICE_BYTES);
          assertEquals((await io.read({ bdev, sector: 0, count: DEVICE_BYTES / 512 }, now)).errorBits, 0n);
          const good = (bad - FIRST) * 512;
          expectSame(now.subarray(FIRST * 512, bad * 512), memory.slice(0, good), `${name}: before`);
          expectSame(now.subarray(0, FIRST * 512), old.subarray(0, FIRST * 512), `${name}: outside`);
          const end = FIRST * 512 + LENGTH;
          expectSame(now.subarray(end), old.subarray(end), `${name}: outside`);
          eachSector(memory, (sector, at) => {
            const device = now.subarray(FIRST * 512 + at, FIRST * 512 + at + 512);
            const was = old.subarray(FIRST * 512 + at, FIRST * 512 + at + 512);
            assert(
              same(device, sector) || same(device, was),
              `${name}: sector ${at / 512} is neither old nor new`,
            );
          });
        }
      }));

    Deno.test(`a read over bad sectors, to ${how}, zero-fills the bytes that were not read`, () =>
      withBadDevice(poll, async (io, nbd, bdev) => {
        const medium = pattern(DEVICE_BYTES, 1);
        assertEquals(
          (await io.write([{ bdev, sector: 0, count: DEVICE_BYTES / 512 }], medium)).errorBits,
          0n,
        );
        const memory = make(io);
        for (const [name, ranges, bad] of CASES) {
          // What was in memory before, and what other requests leave in the pool's pages, must not be taken for data.
          fillPattern(memory, 77);
          await dirtyPool(io, bdev);
          nbd.setBadRanges(ranges);
          const { errorBits, failures } = await deadline(
            io.read({ bdev, sector: FIRST, count: COUNT }, memory),
            SECONDS_20,
          );
          nbd.setBadRanges([]);
          assertEquals(errorBits, 1n, name);
          assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: bad }], name);
          const good = (bad - FIRST) * 512;
          expectSame(memory.slice(0, good), medium.subarray(FIRST * 512, bad * 512), `${name}: before`);
          assert(
            memory.subarray(good, good + 512).every((byte) => byte === 0),
            `${name}: the bad sector is zeros`,
          );
          eachSector(memory, (sector, at) => {
            const right = medium.subarray(FIRST * 512 + at, FIRST * 512 + at + 512);
            const zeros = sector.every((byte) => byte === 0);
            assert(zeros || same(sector, right), `${name}: sector ${at / 512} is neither zeros nor right`);
          });
        }
      }));
  }
}

/** Leaves bytes of another request in every free page of the pool. */
async function dirtyPool(io: IoClient, bdev: BlockDevice): Promise<void> {
  await io.write([{ bdev, sector: FIRST + COUNT, count: 8 }], new Uint8Array(4096));
  const free = io.pool.allocList(io.pool.available);
  for (let node: typeof free | null = free; node !== null; node = node.next) node.page.fill(0xee);
  io.pool.free(free);
}

function eachSector(bytes: Uint8Array, visit: (sector: Uint8Array, at: number) => void): void {
  for (let at = 0; at < bytes.length; at += 512) visit(bytes.subarray(at, at + 512), at);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

Deno.test("a write to a thin device whose backing fills up names the first sector without room", async () => {
  await using small = await Scratch.create({ tmpfs: 2 << 20 });
  await using loop = await LoopDevice.create({ in: small.path, bytes: 8 << 20 });
  using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient();
  const data = pattern(4 << 20, 3);
  const { errorBits, failures } = await io.write([{ bdev, sector: 0, count: 8192 }], data);
  assertEquals(errorBits, 1n);
  assertEquals(failures.map(({ region, code }) => [region, code]), [[0, "ENOSPC"]]);
  const sector = failures[0]!.sector;
  assert(sector > 0 && sector < 8192, `sector ${sector}`);
  expectSame(loop.bytes(0, sector * 512), data.subarray(0, sector * 512), "before the first bad sector");
});

Deno.test("a read of a device that has shrunk gives its remaining sectors, and zeros", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  loop.fill(pattern(1 << 20, 5));
  using bdev = BlockDevice.open(loop.path, { direct: true });
  await using io = new IoClient();
  loop.truncate(300 * 512);
  assertEquals((await run(["losetup", "-c", loop.path])).code, 0);
  for (const memory of [new Uint8Array(1 << 20), io.pool.alloc(256)]) {
    memory.fill(0xee);
    const { errorBits, failures } = await io.read({ bdev, sector: 0, count: 2048 }, memory);
    assertEquals(errorBits, 1n);
    assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: 300 }]);
    expectSame(memory.slice(0, 300 * 512), pattern(1 << 20, 5).subarray(0, 300 * 512));
    expectSame(memory.slice(300 * 512), new Uint8Array((1 << 20) - 300 * 512), "what is gone");
  }
});

/** A ring whose first CQE is EIO and each later one EINVAL, as of a device that dies during the search for its bad block. */
class DyingRing extends IoUring {
  #answers = 0;

  override reap(): number {
    const count = super.reap();
    for (let i = 0; i < count; i++) this.completions.result[i] = this.#answers++ === 0 ? -5 : -22;
    return count;
  }
}

Deno.test("a device that dies during the search for its bad sector reports the first error", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = clientOn(new DyingRing(8));
  const { failures } = await io.write([{ bdev, sector: 80, count: 128 }], pattern(65536, 1), {
    locate: true,
  });
  assertEquals(failures, [{ region: 0, errno: 5, code: "EIO", sector: 80 }]);
});
