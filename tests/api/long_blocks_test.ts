/** Devices whose logical block is longer than a page, and longer than as many single pages as one SQE can name. */

import { assertEquals } from "@std/assert";
import { closeSync, openSync } from "node:fs";
import { BlockDevice, IoClient, SECTOR_SIZE } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1 << 20;

/** A file as a device that takes only blocks of `block` bytes. */
function device(path: string, block: number, direct: boolean): BlockDevice {
  return new BlockDevice({
    path,
    fd: openSync(path, "w+"),
    sectors: 32 * MIB / SECTOR_SIZE,
    logicalBlockSize: block,
    physicalBlockSize: block,
    memoryAlignment: 512,
    isBlockDevice: false,
    tailBytes: 0,
    mayBlock: false,
    readOnly: false,
    writable: true,
    direct,
    closeFd: closeSync,
  });
}

Deno.test("a block of 8 MiB is copied whole, though every second page of the pool is in use", async () => {
  await using scratch = await Scratch.create({ tmpfs: 64 * MIB });
  const path = scratch.join("file");
  await using bdev = device(path, 8 * MIB, true);
  await using io = new IoClient({ pages: 8192 });
  const pages = Array.from({ length: 8192 }, () => io.pool.alloc(1));
  for (let i = 0; i < pages.length; i += 2) io.pool.free(pages[i]!);
  const data = pattern(8 * MIB, 6);
  const writing = io.write([{ bdev, sector: 0, count: 8 * MIB / SECTOR_SIZE }], data);
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (let i = 1; i < pages.length; i += 2) io.pool.free(pages[i]!);
  assertEquals((await writing).failures, []);
  expectSame(Deno.readFileSync(path), data);
});

Deno.test("a buffered device with blocks of 2 MiB takes a copy through a pool of few pages", async () => {
  await using scratch = await Scratch.create({ tmpfs: 64 * MIB });
  const path = scratch.join("file");
  await using bdev = device(path, 2 * MIB, false);
  await using io = new IoClient({ pages: 4 });
  assertEquals((await io.write([{ bdev, sector: 8, count: 8 }], pattern(4096, 7))).failures, []);
  expectSame(Deno.readFileSync(path).subarray(4096), pattern(4096, 7));
});
