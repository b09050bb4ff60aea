// Logical blocks longer than a page, and than a run of the pool's pages: ZFS says so of its files.

import { assertEquals } from "@std/assert";
import { closeFd, openFd } from "../../src/device/fd.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { Scratch } from "../support/scratch.ts";

for (const kib of [8, 128, 2048]) {
  Deno.test(`memory that lies in pieces goes to a device of ${kib} KiB blocks in whole blocks`, async () => {
    await using scratch = await Scratch.create();
    const path = scratch.join("file");
    const [bytes, block] = [8 << 20, kib << 10];
    Deno.writeFileSync(path, new Uint8Array(bytes));
    using bdev = new BlockDevice({
      path,
      fd: openFd(path, { write: true, direct: false, exclusive: false }),
      sectors: bytes / 512,
      tailBytes: 0,
      logicalBlockSize: block,
      physicalBlockSize: block,
      memoryAlignment: 4096,
      isBlockDevice: false,
      readOnly: false,
      mayBlock: false,
      writable: true,
      direct: true,
      closeFd,
    });
    const blocks = block / 4096;
    await using io = new IoClient({ pages: 4 * blocks + 84 });
    // Every 21st page is taken: no run is a whole number of blocks.
    const pages = Array.from({ length: io.pool.pages }, () => io.pool.alloc(1));
    for (const [i, page] of pages.entries()) if (i % 21 !== 20) io.pool.free(page);
    const data = pattern(2 * block, 1);
    const region = { bdev, sector: block / 512, count: data.length / 512 };
    assertEquals((await io.write([region], data)).errorBits, 0n);
    expectSame(Deno.readFileSync(path).subarray(block, 3 * block), data);
    const back = new Uint8Array(data.length);
    assertEquals(io.readSync(region, back).errorBits, 0n);
    expectSame(back, data);
  });
}
