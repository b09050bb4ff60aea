import { assertEquals } from "@std/assert";
import { dmIoClient, dmIoGet, dmIoPut, type IoRegion } from "../../mod.ts";
import { readAndCompare, SERVICES, writeAndCompare } from "../support/services.ts";
import { type Origin, ORIGINS, type Shape, shapedMemory, SHAPES } from "../support/shaped_memory.ts";
import { type Target, TARGET_KINDS, type TargetKind, targets } from "../support/targets.ts";

const BYTES = 128 << 10;
const PAGES = 256;
/** Sectors of each region, before they are rounded to the device's blocks. */
const COUNTS = [61, 24, 130];

function regionsOn(devices: readonly Target[], turn: number): IoRegion[] {
  return devices.map(({ bdev, unit }, i) => {
    const count = Math.ceil(COUNTS[(i + turn) % COUNTS.length]! / unit) * unit;
    return { bdev, sector: (1 + (i + turn) % 5) * unit, count };
  });
}

for (const kind of Object.keys(TARGET_KINDS) as TargetKind[]) {
  for (const shape of Object.keys(SHAPES) as Shape[]) {
    Deno.test(`every service moves exactly its bytes between a ${kind} and memory that is ${shape}`, async () => {
      await using made = await targets(kind, 3, BYTES);
      dmIoGet(PAGES);
      try {
        await everyService(made.all, shape);
      } finally {
        dmIoPut(PAGES);
      }
    });
  }
}

async function everyService(devices: readonly Target[], shape: Shape): Promise<void> {
  let turn = 0;
  for (const origin of Object.keys(ORIGINS) as Origin[]) {
    using shaped = shapedMemory(shape, origin, Math.max(...COUNTS) * 512 + 4096, dmIoClient().pool);
    for (const [name, service] of Object.entries(SERVICES)) {
      for (let count = 1; count <= devices.length; count++, turn++) {
        const named = devices.slice(0, count);
        const regions = regionsOn(named, turn);
        await writeAndCompare(service, named, regions, shaped, `${name}, ${origin}, ${count} written`);
      }
      await readAndCompare(
        service,
        devices[0]!,
        regionsOn(devices, turn)[0]!,
        shaped,
        `${name}, ${origin}, read`,
      );
    }
  }
}

/** Whether memory of an origin has to be copied, on a device that needs alignment and on one that does not. */
const COPIED: Record<Origin, { direct: boolean; buffered: boolean }> = {
  "pool pages": { direct: false, buffered: false },
  "pool pages off by 100 bytes": { direct: true, buffered: false },
  "a SharedArrayBuffer": { direct: false, buffered: false },
  "a SharedArrayBuffer off by a byte": { direct: true, buffered: false },
  "an ArrayBuffer": { direct: true, buffered: true },
};

for (const kind of ["direct loop device", "buffered file"] as TargetKind[]) {
  Deno.test(`only memory that the kernel can't be given is copied through the pool: ${kind}`, async () => {
    await using made = await targets(kind, 1, BYTES);
    const { bdev } = made.all[0]!;
    dmIoGet(PAGES);
    try {
      const io = dmIoClient();
      for (const origin of Object.keys(ORIGINS) as Origin[]) {
        using shaped = shapedMemory("vm", origin, 4096, io.pool);
        const before = io.stats();
        assertEquals(io.writeSync([{ bdev, sector: 0, count: 8 }], shaped.memory).errorBits, 0n);
        const after = io.stats();
        const copied = COPIED[origin][bdev.direct ? "direct" : "buffered"];
        assertEquals(after.bounces - before.bounces, copied ? 1 : 0, origin);
        // What lies in the pool, by itself or by the copy, is a fixed buffer.
        const fixed = io.features.fixedBuffers && (copied || ORIGINS[origin].from === "pool");
        assertEquals(after.fixedSqes - before.fixedSqes, fixed ? 1 : 0, origin);
      }
    } finally {
      dmIoPut(PAGES);
    }
  });
}
