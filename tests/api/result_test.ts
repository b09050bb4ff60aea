/** Results: the failures of the regions, and the error that orThrow throws. */

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { BlockDevice, IoClient, IoError } from "../../mod.ts";
import { pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";

Deno.test("an answer without failures is ok, and orThrow gives it back", async () => {
  await using scratch = await Scratch.create();
  await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  await using io = new IoClient({ pages: 8 });
  const result = await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, 1));
  assertEquals([result.ok, result.failed(0), result.errorBits], [true, false, 0n]);
  assertStrictEquals(result.orThrow(), result);
});

Deno.test("an answer with failures names the regions, and orThrow throws them as an IoError", async () => {
  await using scratch = await Scratch.create();
  await using good = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using shrunk = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 8 });
  await loop.resize(4096);
  const regions = [good, shrunk].map((bdev) => ({ bdev, sector: 64, count: 8 }));
  const result = io.writeSync(regions, pattern(4096, 1));
  assertEquals([result.ok, result.failed(0), result.failed(1)], [false, false, true]);
  const error = assertThrows(() => result.orThrow(), IoError, "region 1: ENOSPC at sector 64");
  assertEquals([error.errorBits, error.failures], [2n, result.failures]);
});
