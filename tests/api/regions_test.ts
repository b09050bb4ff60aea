import { assertEquals, assertThrows } from "@std/assert";
import {
  BlockDevice,
  dmIoClient,
  dmIoGet,
  dmIoPut,
  dmIoSyncVm,
  IoClient,
  type IoMemory,
  type IoRegion,
  MAX_REGIONS,
  READ,
  WRITE,
} from "../../mod.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import {
  dmIoAsyncOf,
  dmIoSyncOf,
  notified,
  readAndCompare,
  SERVICES,
  writeAndCompare,
} from "../support/services.ts";
import { type Origin, ORIGINS, type Shape, shapedMemory, SHAPES } from "../support/shaped_memory.ts";
import { oneOfEach, readOnlyTarget, type Target, type TargetKind, targets } from "../support/targets.ts";

const BYTES = 64 << 10;
const PAGES = 256;

/** Runs with a pool for the dm-io functions. */
async function withPool(work: () => Promise<void>): Promise<void> {
  dmIoGet(PAGES);
  try {
    await work();
  } finally {
    dmIoPut(PAGES);
  }
}

/** A length for region `i`: some of none, all multiples of the devices' blocks. */
function lengthOf(i: number, unit: number): number {
  return (i * 7 % 5) * unit + (unit === 1 ? i % 3 : 0);
}

for (
  const kind of ["direct loop device", "buffered loop device", "direct file", "buffered file"] as TargetKind[]
) {
  Deno.test(`64 regions of different lengths, some empty, on 64 devices get their bytes: ${kind}`, () =>
    withPool(async () => {
      await using made = await targets(kind, MAX_REGIONS, BYTES);
      for (const shape of ["vm", "page list from byte 512", "bvecs of every length"] as Shape[]) {
        for (const origin of ["pool pages", "an ArrayBuffer"] as Origin[]) {
          using shaped = shapedMemory(shape, origin, 8 * 4096, dmIoClient().pool);
          for (const [name, service] of Object.entries(SERVICES)) {
            const where = made.all.map(({ bdev, unit }, i) => ({
              bdev,
              sector: (1 + i % 3) * unit,
              count: lengthOf(i, unit),
            }));
            await writeAndCompare(service, made.all, where, shaped, `${name}, ${shape}, ${origin}`);
          }
        }
      }
    }));
}

Deno.test("one request may mix block sizes, direct and buffered, devices and files", () =>
  withPool(async () => {
    await using made = await oneOfEach(BYTES);
    for (const shape of Object.keys(SHAPES) as Shape[]) {
      for (const origin of Object.keys(ORIGINS) as Origin[]) {
        using shaped = shapedMemory(shape, origin, 16 * 4096, dmIoClient().pool);
        for (const [name, service] of Object.entries(SERVICES)) {
          // Lengths that a device with small blocks may have and another may not.
          const where = made.all.map(({ bdev, unit }, i) => ({
            bdev,
            sector: unit * (1 + i % 2),
            count: unit * (unit === 1 ? 13 + 20 * i : 2 + i),
          }));
          await writeAndCompare(service, made.all, where, shaped, `${name}, ${shape}, ${origin}`);
        }
      }
    }
  }));

Deno.test("a region of no sectors is skipped, alone and among others, at any place", () =>
  withPool(async () => {
    await using made = await targets("direct loop device", 3, BYTES);
    using shaped = shapedMemory("page list", "pool pages", 4096, dmIoClient().pool);
    const end = BYTES / 512;
    for (const counts of [[0], [0, 0, 0], [0, 3, 0], [3, 0, 5], [0, 0, 1]]) {
      for (const [name, service] of Object.entries(SERVICES)) {
        const devices = made.all.slice(0, counts.length);
        const where = counts.map((count, i) => ({
          bdev: devices[i]!.bdev,
          sector: count === 0 && i % 2 === 0 ? end : i,
          count,
        }));
        await writeAndCompare(service, devices, where, shaped, `${name}, ${counts}`);
      }
    }
    for (const [name, service] of Object.entries(SERVICES)) {
      const region = { bdev: made.all[0]!.bdev, sector: end, count: 0 };
      await readAndCompare(service, made.all[0]!, region, shaped, name);
      // Then no memory is needed either.
      for (const rw of [READ, WRITE]) assertEquals(await service([region], rw, new Uint8Array(0)), 0n);
    }
  }));

Deno.test("the first and the last sectors of a device can be written and read", () =>
  withPool(async () => {
    await using made = await oneOfEach(BYTES);
    for (const origin of Object.keys(ORIGINS) as Origin[]) {
      using shaped = shapedMemory("bvecs of every length", origin, BYTES, dmIoClient().pool);
      for (const [name, service] of Object.entries(SERVICES)) {
        for (const target of made.all) {
          const { bdev, unit } = target;
          for (
            const [sector, count] of [[0, unit], [bdev.sectors - unit, unit], [0, bdev.sectors]] as const
          ) {
            const region = { bdev, sector, count };
            await writeAndCompare(
              service,
              [target],
              [region],
              shaped,
              `${name}, ${origin}, ${sector}+${count}`,
            );
            await readAndCompare(service, target, region, shaped, `${name}, ${origin}, ${sector}+${count}`);
          }
        }
      }
    }
  }));

Deno.test("several regions of one device in one request all get the bytes", () =>
  withPool(async () => {
    await using made = await targets("direct loop device", 1, BYTES);
    const [target] = made.all;
    const { bdev } = target!;
    using shaped = shapedMemory("vm", "pool pages", 4096, dmIoClient().pool);
    for (const service of Object.values(SERVICES)) {
      const before = pattern(BYTES, 11);
      target!.fill(before);
      shaped.fill(12);
      const where: IoRegion[] = Array.from(
        { length: 14 },
        (_, i) => ({ bdev, sector: 1 + i * 9, count: 1 + i % 8 }),
      );
      assertEquals(await service(where, WRITE, shaped.memory), 0n);
      const after = target!.contents();
      for (const { sector, count } of where) {
        expectSame(after.subarray(sector * 512, (sector + count) * 512), shaped.gather(count * 512));
      }
      const ranges = where.map(({ sector, count }) => ({ offset: sector * 512, length: count * 512 }));
      expectOnlyChanged(before, after, ranges);
    }
  }));

Deno.test("a write to a buffered loop device reaches its backing file at a flush", () =>
  withPool(async () => {
    await using loop = await LoopDevice.create({ bytes: BYTES });
    loop.fill(pattern(BYTES, 21));
    await loop.flush();
    const bdev = BlockDevice.open(loop.path, { write: true });
    const data = pattern(5 * 512, 22);
    assertEquals(dmIoSyncOf([{ bdev, sector: 3, count: 5 }], WRITE, data, null), 0);
    await bdev.close();
    await loop.flush();
    expectSame(loop.bytes(3 * 512, 5 * 512), data);
    expectOnlyChanged(pattern(BYTES, 21), loop.bytes(), [{ offset: 3 * 512, length: 5 * 512 }]);
  }));

Deno.test("a read of more than one region reads nothing and fails, by every function", () =>
  withPool(async () => {
    await using made = await targets("buffered file", 3, BYTES);
    for (const target of made.all) target.fill(pattern(BYTES, 31));
    const where = made.all.map(({ bdev }) => ({ bdev, sector: 0, count: 8 }));
    for (const shape of ["vm", "page list", "bvecs of 512 bytes"] as Shape[]) {
      using shaped = shapedMemory(shape, "pool pages", 4096, dmIoClient().pool);
      shaped.fill(32);
      const before = shaped.whole.slice();
      for (const count of [2, 3]) {
        const named = where.slice(0, count);
        const errorBits = new BigUint64Array([0n]);
        assertEquals(dmIoSyncOf(named, READ, shaped.memory, errorBits), -5);
        assertEquals(errorBits[0], 1n);
        assertEquals(dmIoSyncOf(named, READ, shaped.memory, null), -5);
        assertEquals(await notified(named, READ, shaped.memory), { returned: -5, bits: 1n });
        expectSame(shaped.whole, before, `${shape}, ${count} regions`);
      }
    }
  }));

Deno.test("only the first numRegions regions are used", () =>
  withPool(async () => {
    await using made = await targets("buffered file", 2, BYTES);
    const data = pattern(512, 41);
    const where = made.all.map(({ bdev }) => ({ bdev, sector: 2, count: 1 }));
    const [a, b] = made.all as [Target, Target];
    const [beforeA, beforeB] = [a.contents(), b.contents()];
    assertEquals(dmIoSyncVm(1, where, WRITE, data, null), 0);
    a.expectWritten(beforeA, where[0]!, data, "the first");
    expectSame(b.contents(), beforeB, "the second");
    // A read of one region is none of many, however long the array is.
    const back = new Uint8Array(512);
    assertEquals(dmIoSyncVm(1, where, READ, back, null), 0);
    expectSame(back, data);
    assertThrows(() => dmIoSyncVm(3, where, WRITE, data, null), RangeError, "numRegions is 3");
    assertThrows(() => dmIoSyncVm(0, where, WRITE, data, null), RangeError, "numRegions is 0");
  }));

Deno.test("bit 63 is set for region 63 alone", async () => {
  await using made = await targets("buffered file", MAX_REGIONS - 1, 4096);
  await using last = await readOnlyTarget(4096);
  const where = [...made.all.map(({ bdev }) => bdev), last.bdev].map((bdev) => ({
    bdev,
    sector: 1,
    count: 2,
  }));
  await withPool(async () => {
    const memory: IoMemory = pattern(1024, 51);
    const errorBits = new BigUint64Array(1);
    assertEquals(dmIoSyncOf(where, WRITE, memory, errorBits), -5);
    assertEquals(errorBits[0], 1n << 63n);
    assertEquals(await notified(where, WRITE, memory), { returned: 0, bits: 1n << 63n });
    await using io = new IoClient({ pages: 4 });
    const { errorBits: bits, failures } = await io.write(where, memory);
    assertEquals(bits, 1n << 63n);
    assertEquals(failures, [{ region: 63, errno: 1, code: "EPERM", sector: 1 }]);
    for (const [i, target] of made.all.entries()) {
      expectSame(target.contents(512, 1024), pattern(1024, 51), `device ${i}`);
    }
  });
});

Deno.test("fn is called after the function has returned, also when no region has sectors", () =>
  withPool(async () => {
    await using made = await targets("buffered file", 1, BYTES);
    const region = { bdev: made.all[0]!.bdev, sector: 0, count: 0 };
    const order: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    dmIoAsyncOf([region], WRITE, new Uint8Array(0), (bits) => {
      order.push(`fn ${bits}`);
      resolve();
    }, null);
    order.push("returned");
    // A blocking call that comes between leaves it for the event loop.
    dmIoSyncOf([{ ...region, count: 1 }], WRITE, new Uint8Array(512), null);
    order.push("blocked");
    await promise;
    assertEquals(order, ["returned", "blocked", "fn 0"]);
  }));
