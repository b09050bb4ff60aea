/** Memory after a burst: what it needed is given back when it is over. */

import { assertEquals, assertLess } from "@std/assert";
import { runProgram } from "../support/program.ts";

const MIB = 1 << 20;

const PROGRAM = `
  import { BlockDevice, IoClient } from "./mod.ts";
  const io = new IoClient();
  const bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
  const data = io.pool.alloc(1);
  const burst = async () => {
    const regions = Array.from({ length: 64 }, (_, i) => ({ bdev, sector: 8 * i, count: 8 }));
    const results = await Promise.all(Array.from({ length: 10_000 }, () => io.write(regions, data)));
    return results.every(({ ok }) => ok);
  };
  const settled = async () => {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      gc();
    }
    return Deno.memoryUsage().heapUsed;
  };
  for (let i = 0; i < 100; i++) await io.write([{ bdev, sector: 0, count: 8 }], data);
  const before = await settled();
  const ok = await burst();
  const after = await settled();
  // A spare request must not keep the device: nothing but the collector knows.
  let other = BlockDevice.open("other.img", { write: true, create: 1 << 20 });
  const weak = new WeakRef(other);
  await Promise.all(Array.from({ length: 200 }, () => io.write([{ bdev: other, sector: 0, count: 8 }], data)));
  await other.close();
  other = undefined;
  await settled();
  console.log(JSON.stringify({ ok, grown: after - before, kept: weak.deref() !== undefined }));
  await io.close();
  await bdev.close();
`;

Deno.test("10,000 requests of 64 regions at once leave at most 8 MiB of heap, and hold no device", async () => {
  const permissions = ["-A", "--no-check", "--v8-flags=--expose-gc"];
  const { code, stdout, stderr } = await runProgram({ source: PROGRAM, permissions });
  assertEquals(code, 0, stderr);
  const { ok, grown, kept } = JSON.parse(stdout);
  assertEquals([ok, kept], [true, false]);
  assertLess(grown, 8 * MIB);
});
