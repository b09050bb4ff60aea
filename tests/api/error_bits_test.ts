import { assertEquals } from "@std/assert";
import { BlockDevice, dmIoClient, dmIoGet, dmIoPut, type IoRegion, READ, WRITE } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { SERVICES } from "../support/services.ts";
import { type Origin, type Shape, shapedMemory } from "../support/shaped_memory.ts";
import { readOnlyTarget, targets } from "../support/targets.ts";

const BYTES = 1 << 20;
const PAGES = 64;
const SECTOR = 3;
const COUNT = 21;
const EIO = { errno: 5, code: "EIO" };

const MEMORIES: readonly (readonly [Shape, Origin])[] = [
  ["vm", "pool pages"],
  ["vm", "an ArrayBuffer"],
  ["page list from byte 512", "pool pages"],
  ["page list from byte 1300", "a SharedArrayBuffer"],
  ["bvecs of every length", "pool pages"],
  ["bvecs of 512 bytes", "an ArrayBuffer"],
];

Deno.test("a write sets exactly the bits of the devices that fail, and the others hold the data", async () => {
  await using parts = new AsyncDisposableStack();
  const healthy = parts.use(await targets("direct loop device", 2, BYTES)).all;
  const failing = parts.use(await NbdDevice.create({ bytes: BYTES }));
  const full = parts.use(await NbdDevice.create({ bytes: BYTES, full: true }));
  const readOnly = parts.use(await readOnlyTarget(BYTES)).bdev;
  const open = (path: string) => parts.use(BlockDevice.open(path, { write: true, direct: true }));
  const devices = [healthy[0]!.bdev, open(failing.path), open(full.path), healthy[1]!.bdev, readOnly];
  const where: IoRegion[] = devices.map((bdev, i) => ({ bdev, sector: SECTOR, count: COUNT - i }));
  parts.defer(() => dmIoPut(PAGES));
  dmIoGet(PAGES);
  failing.fail();
  let seed = 1;
  for (const [shape, origin] of MEMORIES) {
    using shaped = shapedMemory(shape, origin, COUNT * 512, dmIoClient().pool);
    for (const [name, service] of Object.entries(SERVICES)) {
      const what = `${name}, ${shape}, ${origin}`;
      const before = pattern(BYTES, seed++);
      for (const target of healthy) target.fill(before);
      shaped.fill(seed++);
      assertEquals(await service(where, WRITE, shaped.memory), 0b10110n, what);
      // Alone, each of them is bit 0.
      for (const i of [1, 2, 4]) assertEquals(await service([where[i]!], WRITE, shaped.memory), 1n, what);
      const data = shaped.gather(COUNT * 512);
      healthy[0]!.expectWritten(before, where[0]!, data, what);
      healthy[1]!.expectWritten(before, where[3]!, data, what);
    }
  }
  const { failures } = dmIoClient().writeSync(where, new Uint8Array(COUNT * 512));
  assertEquals(failures, [
    { region: 1, ...EIO, sector: SECTOR },
    { region: 2, errno: 28, code: "ENOSPC", sector: SECTOR },
    { region: 4, errno: 1, code: "EPERM", sector: SECTOR },
  ]);
  failing.heal();
  assertEquals(dmIoClient().writeSync(where.slice(0, 2), pattern(COUNT * 512, 5)).errorBits, 0n);
});

Deno.test("a failed read sets bit 0 and leaves zeros in exactly its bytes of memory", async () => {
  await using failing = await NbdDevice.create({ bytes: BYTES });
  using bdev = BlockDevice.open(failing.path, { write: true, direct: true });
  const region = { bdev, sector: SECTOR, count: COUNT };
  dmIoGet(PAGES);
  try {
    assertEquals(dmIoClient().writeSync([region], pattern(COUNT * 512, 7)).errorBits, 0n);
    for (const [shape, origin] of MEMORIES) {
      using shaped = shapedMemory(shape, origin, COUNT * 512, dmIoClient().pool);
      for (const [name, service] of Object.entries(SERVICES)) {
        for (const fails of [true, false]) {
          if (fails) failing.fail();
          else failing.heal();
          shaped.fill(9);
          const bytes = fails ? new Uint8Array(COUNT * 512) : pattern(COUNT * 512, 7);
          const expected = shaped.expected(bytes);
          assertEquals(await service([region], READ, shaped.memory), fails ? 1n : 0n);
          expectSame(shaped.whole, expected, `${name}, ${shape}, ${origin}, fails: ${fails}`);
        }
      }
    }
  } finally {
    dmIoPut(PAGES);
  }
});

Deno.test("a device that shrank fails from its new end on, by every service", async () => {
  await using loop = await LoopDevice.create({ bytes: BYTES });
  loop.fill(pattern(BYTES, 11));
  using bdev = BlockDevice.open(loop.path, { write: true, direct: true });
  loop.truncate(BYTES / 2);
  const region = { bdev, sector: BYTES / 2 / 512 - 16, count: 64 };
  const there = pattern(BYTES, 11).subarray(BYTES / 2 - 16 * 512, BYTES / 2);
  dmIoGet(PAGES);
  try {
    for (const [shape, origin] of MEMORIES) {
      using shaped = shapedMemory(shape, origin, 64 * 512, dmIoClient().pool);
      for (const [name, service] of Object.entries(SERVICES)) {
        shaped.fill(13);
        const bytes = new Uint8Array(64 * 512);
        bytes.set(there);
        const expected = shaped.expected(bytes);
        assertEquals(await service([region], READ, shaped.memory), 1n, name);
        expectSame(shaped.whole, expected, `${name}, ${shape}, ${origin}`);
      }
    }
    const { failures } = dmIoClient().readSync(region, new Uint8Array(64 * 512));
    assertEquals(failures, [{ region: 0, ...EIO, sector: BYTES / 2 / 512 }]);
  } finally {
    dmIoPut(PAGES);
  }
});
