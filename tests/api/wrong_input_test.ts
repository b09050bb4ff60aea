/** Regions, memory and devices that the caller gets wrong: refused at once, by name, value and bound, and nothing else happens. */

import { assertEquals, assertFalse, assertThrows } from "@std/assert";
import { type BioVec, BlockDevice, type IoRegion, MAX_REGIONS, READ, WRITE } from "../../mod.ts";
import { Bed, list, PAGE, SECTORS, unexpected, wrong } from "../support/wrong_input_bed.ts";

Deno.test("a request for no region, or for 65, is refused", async () => {
  await using bed = await Bed.create();
  const { io, pages } = bed;
  const many = Array.from({ length: MAX_REGIONS + 1 }, () => bed.region(0, 8));
  for (const regions of [[], many]) {
    const words = [`${regions.length} regions`, "1 to 64"];
    bed.refuses(() => io.write(regions, pages), RangeError, ...words);
    bed.refuses(() => io.writeSync(regions, pages), RangeError, ...words);
    bed.refuses(() => io.notify(WRITE, regions, pages, unexpected, 0), RangeError, ...words);
  }
  bed.refuses(() => io.write(wrong("all"), pages), TypeError, "regions", '"all"');
  bed.refuses(() => io.write(wrong({ length: 1, 0: bed.region(0, 8) }), pages), TypeError, "regions");
  bed.refuses(() => io.write(new Array(2), pages), TypeError, "regions[0]", "undefined");
  await bed.expectUntouched();
});

Deno.test("a callback's request can read from one region only", async () => {
  await using bed = await Bed.create();
  const two = [bed.region(0, 8), bed.region(8, 8)];
  bed.refuses(() => bed.io.notify(READ, two, bed.pages, unexpected, null), RangeError, "regions", "2", "1");
  await bed.expectUntouched();
});

Deno.test("a region past the end of its device is refused, even by one sector", async () => {
  await using bed = await Bed.create();
  bed.refusesRegion(bed.region(SECTORS - 7, 8), RangeError, `${SECTORS - 7}`, "8", `${SECTORS} sectors`);
  bed.refusesRegion(bed.region(SECTORS, 1), RangeError, `${SECTORS + 1}`, `${SECTORS} sectors`);
  bed.refusesRegion(bed.region(0, SECTORS + 1), RangeError, `${SECTORS + 1}`);
  bed.refusesRegion(bed.region(2 ** 40, 8), RangeError, `${2 ** 40}`);
  bed.refusesRegion(bed.region(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), RangeError);
  bed.refusesRegion(bed.region(SECTORS - 1, 8, bed.direct), RangeError, bed.loop.path, `${SECTORS}`);
  // The last sector, and nothing at the very end, are still in it.
  assertEquals(bed.io.readSync(bed.region(SECTORS - 8, 8), bed.pages).errorBits, 0n);
  assertEquals(bed.io.writeSync([bed.region(SECTORS, 0)], bed.pages).errorBits, 0n);
  await bed.expectUntouched();
});

Deno.test("a sector or count that is no safe integer from 0 up is refused", async () => {
  await using bed = await Bed.create();
  for (const value of [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53, -(2 ** 60)]) {
    bed.refusesRegion(bed.region(value, 8), RangeError, "regions[", "sector", `${value}`, "0 to");
    bed.refusesRegion(bed.region(0, value), RangeError, "regions[", "count", `${value}`, "0 to");
  }
  for (const value of ["0", 0n, null, undefined, {}, true]) {
    bed.refusesRegion(bed.region(wrong(value), 8), TypeError, "sector", "integer");
    bed.refusesRegion(bed.region(0, wrong(value)), TypeError, "count", "integer");
  }
  await bed.expectUntouched();
});

Deno.test("a value that is no device is refused, and the error names it", async () => {
  await using bed = await Bed.create();
  for (const value of [null, undefined, 3, "/dev/null", {}, bed.path]) {
    bed.refusesRegion({ bdev: wrong(value), sector: 0, count: 8 }, TypeError, ".bdev", "BlockDevice");
  }
  // It has all that a device has, except that it is none.
  const { path, fd, sectors, logicalBlockSize, memoryAlignment } = bed.file;
  const alike = { path, fd, sectors, logicalBlockSize, memoryAlignment, writable: true, direct: false };
  bed.refusesRegion({ bdev: wrong(alike), sector: 0, count: 8 }, TypeError, ".bdev", "BlockDevice");
  for (const value of [null, undefined, 1, "region"]) {
    bed.refusesRegion(wrong(value), TypeError, "regions[", "{ bdev, sector, count }");
  }
  await bed.expectUntouched();
});

Deno.test("a region past the end that would fit in bytes is refused, and the error names the unit", async () => {
  await using bed = await Bed.create();
  const { sectors } = bed.file;
  const bytes = sectors * 512;
  const hints: [number, number, string][] = [
    [0, bytes, `${bytes} bytes are count ${sectors}`],
    [sectors - 8, 4096, "4096 bytes are count 8"],
    [bytes - 4096, 8, `byte ${bytes - 4096} is in sector ${sectors - 8}`],
    [bytes - 4096, 4096, `4096 bytes from byte ${bytes - 4096} on are sector ${sectors - 8}, count 8`],
  ];
  for (const [sector, count, hint] of hints) {
    bed.refusesRegion(bed.region(sector, count), RangeError, "sectors are of 512 bytes", hint);
  }
  // What would not fit as bytes either is no matter of the unit.
  for (const [sector, count] of [[0, sectors + 1], [sectors - 1, 2], [1, bytes], [bytes, 512]] as const) {
    const error = assertThrows(() => bed.io.write([bed.region(sector, count)], bed.pages), RangeError);
    assertFalse(error.message.includes("512 bytes"), error.message);
  }
  await bed.expectUntouched();
});

Deno.test("an array in place of one region is refused, and the error says so", async () => {
  await using bed = await Bed.create();
  const list = wrong<IoRegion>([bed.region(0, 8)]);
  const words = ["region is an Array; read takes one region"];
  bed.refuses(() => bed.io.read(list, bed.pages), TypeError, ...words);
  bed.refuses(() => bed.io.readSync(list, bed.pages), TypeError, ...words);
  bed.refuses(
    () => bed.io.write([list], bed.pages),
    TypeError,
    "regions[0] is Array",
    "{ bdev, sector, count }",
  );
  await bed.expectUntouched();
});

Deno.test("a region off the logical blocks is refused on a direct device, and taken on a buffered one", async () => {
  await using bed = await Bed.create();
  for (const [sector, count] of [[1, 8], [0, 7], [4, 4], [8, 1]] as const) {
    const words = [`${sector}`, `${count}`, "8 sectors", bed.loop.path];
    bed.refusesRegion(bed.region(sector, count, bed.direct), RangeError, ...words);
    assertEquals(bed.io.readSync(bed.region(sector, count), bed.pages).errorBits, 0n);
  }
  await bed.expectUntouched();
});

Deno.test("memory shorter than the longest region is refused, of every kind", async () => {
  await using bed = await Bed.create();
  const { pages } = bed;
  const page = pages.subarray(0, PAGE);
  const bvecs: BioVec[] = [{ page, offset: 512, len: 1024 }, { page, offset: 0, len: 2559 }];
  bed.refusesMemory(pages.subarray(0, 4095), 8, RangeError, "4095", "4096");
  bed.refusesMemory(pages, 33, RangeError, "16384", "16896");
  bed.refusesMemory(new Uint8Array(4095), 8, RangeError, "4095", "4096");
  bed.refusesMemory(new Uint8Array(0), 1, RangeError, "holds 0", "512");
  bed.refusesMemory({ pageList: list(page), offset: 512 }, 8, RangeError, "3584", "4096");
  bed.refusesMemory({ pageList: list(page, page) }, 17, RangeError, "8192", "8704");
  bed.refusesMemory({ bvecs }, 7, RangeError, "3583", "3584");
  bed.refusesMemory({ bvecs: [] }, 1, RangeError, "holds 0", "512");
  // Of several regions the longest counts.
  const regions = [bed.region(0, 1), bed.region(8, 9)];
  bed.refuses(() => bed.io.write(regions, page), RangeError, "4096", "4608");
  await bed.expectUntouched();
});

Deno.test("a value that is no memory, no page or no bvec is refused", async () => {
  await using bed = await Bed.create();
  const page = bed.pages.subarray(0, PAGE);
  for (const value of [null, undefined, 4096, "data", [], {}, new Uint16Array(4096), new ArrayBuffer(4096)]) {
    bed.refusesMemory(value, 8, TypeError, "memory", "Uint8Array");
  }
  for (const bytes of [0, 1, PAGE - 1, PAGE + 1, 2 * PAGE]) {
    bed.refusesMemory({ pageList: list(new Uint8Array(bytes)) }, 1, RangeError, `${bytes}`, `${PAGE}`);
    bed.refusesMemory(
      { bvecs: [{ page: new Uint8Array(bytes), offset: 0, len: 1 }] },
      1,
      RangeError,
      `${bytes}`,
    );
  }
  bed.refusesMemory({ pageList: list(page, null) }, 9, TypeError, "page 1");
  bed.refusesMemory({ pageList: list(page, new Uint32Array(1024)) }, 9, TypeError, "page 1");
  bed.refusesMemory({ pageList: 5 }, 1, TypeError, "pageList", "5");
  for (const offset of [-1, PAGE, 0.5, NaN, 2 ** 53, "0"]) {
    const memory = { pageList: list(page, page), offset };
    bed.refusesMemory(memory, 1, RangeError, "offset", `${PAGE - 1}`);
  }
  bed.refusesMemory({ bvecs: page }, 1, TypeError, "bvecs");
  bed.refusesMemory({ bvecs: [null] }, 1, TypeError, "bvecs[0]");
  bed.refusesMemory({ bvecs: [{ page: "p", offset: 0, len: 512 }] }, 1, TypeError, "bvecs[0].page");
  for (
    const [offset, len] of [[-1, 512], [0, 0], [0, PAGE + 1], [PAGE, 1], [1, PAGE], [0.5, 512], [0, NaN]]
  ) {
    bed.refusesMemory({ bvecs: [{ page, offset, len }] }, 1, RangeError, "bvecs[0]", `${offset}`, `${len}`);
  }
  await bed.expectUntouched();
});

Deno.test("detached memory is refused", async () => {
  await using bed = await Bed.create();
  const data = new Uint8Array(4096);
  data.buffer.transfer();
  bed.refusesMemory(data, 8, RangeError, "holds 0");
  await bed.expectUntouched();
});

Deno.test("pages that were given back to the pool are refused", async () => {
  await using bed = await Bed.create();
  const { pool } = bed.io;
  const freed = pool.alloc(2);
  pool.free(freed.subarray(PAGE));
  bed.refusesMemory(freed, 16, TypeError, "freed");
  assertEquals(bed.io.readSync(bed.region(0, 8), freed).errorBits, 0n, "its first page is still allocated");
  bed.refusesMemory({ pageList: list(freed.subarray(PAGE)) }, 1, TypeError, "freed");
  pool.free(freed.subarray(0, PAGE));
  await bed.expectUntouched();
});

Deno.test("a closed device, and one that is not open for writing, are refused", async () => {
  await using bed = await Bed.create();
  const closed = BlockDevice.open(bed.path, { write: true });
  await closed.close();
  bed.refusesRegion(bed.region(0, 8, closed), TypeError, bed.path, "closed");
  const words = [bed.path, "write: true"];
  bed.refuses(() => bed.io.write([bed.region(0, 8, bed.reader)], bed.pages), TypeError, ...words);
  bed.refuses(
    () => bed.io.writeSync([bed.region(0, 8), bed.region(0, 8, bed.reader)], bed.pages),
    TypeError,
    ...words,
  );
  assertEquals(bed.io.readSync(bed.region(0, 8, bed.reader), bed.pages).errorBits, 0n);
  await bed.expectUntouched();
});
