/** The limits of devices on discards and on writes of zeroes, as sysfs has them. */

import { assertEquals, assertGreater } from "@std/assert";
import { BlockDevice } from "../../mod.ts";
import { limitsOf } from "../../src/device/limits.ts";
import { LoopDevice } from "../support/loop.ts";
import { partitions } from "../support/mount.ts";
import { DeviceNode } from "../support/node.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";

const UNKNOWN = { discardMaxBytes: null, writeZeroesMaxBytes: null };

function queueOf(path: string, name: string): number {
  return Number(Deno.readTextFileSync(`/sys/block/${path.slice("/dev/".length)}/queue/${name}`));
}

function assertQueue(device: BlockDevice): void {
  // It is 0 where discards were turned off.
  const unit = queueOf(device.path, "discard_granularity") || 1;
  const most = queueOf(device.path, "discard_max_bytes");
  assertEquals(limitsOf(device), {
    discardMaxBytes: Math.floor(most / unit) * unit,
    writeZeroesMaxBytes: queueOf(device.path, "write_zeroes_max_bytes"),
  });
}

Deno.test("a loop device's limits are those of its queue, discards in whole units", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using device = BlockDevice.open(loop.path);
  assertQueue(device);
});

testUnless(zramLack(), "a zram device's limits, above 2^32 bytes, are those of its queue", async () => {
  await using zram = await ZramDevice.create(1 << 20);
  await using device = BlockDevice.open(zram.path);
  assertQueue(device);
  assertGreater(limitsOf(device).discardMaxBytes ?? 0, 2 ** 32);
});

testUnless(zramLack(), "a discard that is off is a limit of 0", async () => {
  await using zram = await ZramDevice.create(1 << 20);
  // The kernel does not turn it on again. A zram device is removed at the end, a loop device would stay so.
  Deno.writeTextFileSync(`/sys/block/${zram.path.slice("/dev/".length)}/queue/discard_max_bytes`, "0");
  await using device = BlockDevice.open(zram.path);
  assertEquals(limitsOf(device).discardMaxBytes, 0);
});

Deno.test("a partition's limits are its disk's", async () => {
  await using loop = await LoopDevice.create({ bytes: 8 << 20 });
  await using parts = await partitions(loop.path, [2048, 2048]);
  await using disk = BlockDevice.open(loop.path);
  await using part = BlockDevice.open(parts.paths[0]!);
  assertEquals(limitsOf(part), limitsOf(disk));
});

Deno.test("a regular file has no known limits", async () => {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: 4096 });
  assertEquals(limitsOf(device), UNKNOWN);
});

Deno.test("without --allow-all the limits are unknown, and nothing throws", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using node = await DeviceNode.create(loop.path);
  const { code, stdout, stderr } = await runProgram({
    source: `
      import { BlockDevice } from "./mod.ts";
      import { limitsOf } from "./src/device/limits.ts";
      using device = BlockDevice.open(Deno.args[0]!);
      console.log(JSON.stringify(limitsOf(device)));`,
    args: [node.path],
    permissions: ["--allow-read", "--allow-ffi"],
  });
  assertEquals([code, stderr, JSON.parse(stdout)], [0, "", UNKNOWN]);
});
