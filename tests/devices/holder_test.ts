/** An exclusive open that is refused: its error names what holds the device. */

import { assert, assertEquals, assertFalse, assertStringIncludes, assertThrows } from "@std/assert";
import { BlockDevice, SystemError } from "../../mod.ts";
import { run, succeed } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { ext4, fileSystemLack, mounted, partitions, swap } from "../support/mount.ts";
import { DeviceNode } from "../support/node.ts";
import { openFiles } from "../support/process_state.ts";
import { runProgram } from "../support/program.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";

/** Opens a device that is held, which leaves no file descriptor. @returns What the error says. */
function refusal(path: string, options: Parameters<typeof BlockDevice.open>[1] = { write: true }): string {
  const before = openFiles();
  const error = assertThrows(() => BlockDevice.open(path, options), SystemError);
  assertEquals([error.syscall, error.code, openFiles()], ["open", "EBUSY", before]);
  for (const word of [path, "exclusive: false"]) assertStringIncludes(error.message, word);
  assertFalse(error.message.includes("direct I/O"), error.message);
  return error.message;
}

Deno.test("a mounted device is refused for writing, and the error names the mount point", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await succeed("mkfs.ext4", "-q", "-F", loop.path);
  await using mount = await mounted(loop.path, "a mount\\with\nodd\tnames", ["-o", "ro"]);
  const message = refusal(loop.path, { write: true, direct: true });
  assertStringIncludes(message, `${loop.path} is mounted at ${mount.point}`);
  assertEquals(refusal(loop.path, { exclusive: true }), message);
  await using shared = BlockDevice.open(loop.path, { write: true, exclusive: false });
  await using reader = BlockDevice.open(loop.path);
  assert(shared.writable && !reader.writable);
});

Deno.test("a device that is mounted at two places is refused with one and the count of the rest", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using first = await ext4(loop.path);
  await using _second = await mounted(loop.path);
  assertStringIncludes(refusal(loop.path), `is mounted at ${first.point} and at 1 more`);
});

Deno.test("a disk is refused for each of its partitions in use, and the error names all", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using parts = await partitions(loop.path, [2048, 40960], [43008, 40960], [83968, 2048]);
  const [first, second, unused] = parts.paths as [string, string, string];
  await using mount = await ext4(first);
  await using _swap = await swap(second);
  const message = refusal(loop.path);
  assertStringIncludes(message, `${first} is mounted at ${mount.point}; ${second} is used as swap`);
  assertFalse(message.includes(unused), message);
  assertFalse(refusal(second).includes(first), "one partition does not hold another");
  await using free = BlockDevice.open(unused, { write: true });
  assertEquals(free.sectors, 2048);
});

Deno.test("a partition of a disk that is mounted as a whole is refused, and the error names the disk", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using mount = await ext4(loop.path);
  await using parts = await partitions(loop.path, [2048, 2048]);
  assertStringIncludes(refusal(parts.paths[0]!), `${loop.path} is mounted at ${mount.point}`);
});

Deno.test("a device that is used as swap is refused, and the error says so", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using _swap = await swap(loop.path);
  assertStringIncludes(refusal(loop.path), `${loop.path} is used as swap`);
});

testUnless(zramLack(), "a zram device that is used as swap is refused, and the error says so", async () => {
  await using zram = await ZramDevice.create(16 << 20);
  await using _swap = await swap(zram.path);
  assertStringIncludes(refusal(zram.path), `${zram.path} is used as swap`);
});

testUnless(
  await fileSystemLack("btrfs"),
  "each member of a mounted btrfs is refused, and the error names the mount point",
  async () => {
    await using one = await LoopDevice.create({ bytes: 128 << 20 });
    await using other = await LoopDevice.create({ bytes: 128 << 20 });
    await succeed("mkfs.btrfs", "-q", "-f", "-d", "raid1", "-m", "raid1", one.path, other.path);
    try {
      await using mount = await mounted(one.path);
      for (const { path } of [one, other]) {
        assertStringIncludes(refusal(path), `${path} is mounted at ${mount.point}`);
      }
    } finally {
      // The kernel keeps the devices of a btrfs in mind, for its next mount.
      await run(["btrfs", "device", "scan", "--forget", one.path]);
    }
  },
);

Deno.test("a device that only a program holds is refused, and the error says another program", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using _holder = BlockDevice.open(loop.path, { exclusive: true });
  assertStringIncludes(
    refusal(loop.path),
    `could not open ${loop.path}: it is open exclusively in another program`,
  );
});

Deno.test("a link to a held device is refused under its own name", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using mount = await ext4(loop.path);
  const folder = Deno.makeTempDirSync();
  try {
    Deno.symlinkSync(loop.path, `${folder}/disk`);
    assertStringIncludes(refusal(`${folder}/disk`), `${folder}/disk is mounted at ${mount.point}`);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("without --allow-all a refused open leaves the name of the holder out", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using mount = await ext4(loop.path);
  await using node = await DeviceNode.create(loop.path);
  const source = `
    import { BlockDevice } from "./mod.ts";
    try {
      BlockDevice.open(Deno.args[0]!, { exclusive: true });
    } catch (error) {
      console.log(error.name, error.code, error.message);
    }`;
  const told: string[] = [];
  for (
    const permissions of [["--allow-read", "--allow-ffi"], [`--allow-read=${node.path}`, "--allow-ffi"], [
      "-A",
    ]]
  ) {
    const { code, stdout, stderr } = await runProgram({ source, args: [node.path], permissions });
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "SystemError EBUSY");
    told.push(stdout);
  }
  const [all, scoped, allowed] = told as [string, string, string];
  assertEquals(all, scoped);
  assertStringIncludes(all, "used as swap, or open exclusively in another program");
  assertStringIncludes(all, "--allow-all");
  assertFalse(all.includes(mount.point), all);
  assertStringIncludes(allowed, mount.point);
});
