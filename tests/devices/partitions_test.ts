/** The partition table of a disk, read again by the kernel. */

import { assert, assertEquals, assertFalse, assertRejects, assertStringIncludes } from "@std/assert";
import { BlockDevice, IoClient, SystemError } from "../../mod.ts";
import { ramDevice } from "../../src/testing/ram_device.ts";
import { runAsNobody } from "../support/as_nobody.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { exists, run, settlesWithin, succeed } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { ext4, partitions, swap } from "../support/mount.ts";
import { DeviceNode } from "../support/node.ts";
import { type Extent, gpt, mbr } from "../support/partition_table.ts";
import { openFiles } from "../support/process_state.ts";
import { programFolder, runIn, runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { testUnless } from "../support/test_unless.ts";

const BYTES = 64 << 20;
const SECTORS = BYTES / 512;
const PATIENCE = 5000;

function disk(): Promise<LoopDevice> {
  return LoopDevice.create({ bytes: BYTES, partitions: true });
}

/** Asks whether this kernel reads partition tables of PCs. @returns Why it does not; null when it does. */
async function tableLack(): Promise<string | null> {
  await using loop = await disk();
  loop.fill(mbr([[2048, 2048]]));
  await run(["blockdev", "--rereadpt", loop.path]);
  return exists(`/sys/class/block/${loop.path.slice("/dev/".length)}p1`)
    ? null
    : "this kernel reads no partition tables (CONFIG_MSDOS_PARTITION)";
}

const lack = await tableLack();

async function refusal(device: BlockDevice): Promise<SystemError> {
  const before = [openFiles(), device.inFlight];
  const error = await assertRejects(() => device.rereadPartitions(), SystemError);
  assertEquals([openFiles(), device.inFlight], before);
  assertEquals(error.syscall, "ioctl(BLKRRPART)");
  assertStringIncludes(error.message, device.path);
  return error;
}

for (const [name, table] of [["an MBR", mbr], ["a GPT", (parts: Extent[]) => gpt(SECTORS, parts)]] as const) {
  testUnless(lack, `the partitions of ${name} that was just written are there with their nodes`, async () => {
    await using loop = await disk();
    await using io = new IoClient({ pages: 64 });
    await using device = BlockDevice.open(loop.path, { write: true, direct: true });
    assertEquals(await device.rereadPartitions(), []);
    for (const extents of [[[2048, 4096]], [[4096, 8192], [16384, 2048]], []] as Extent[][]) {
      const bytes = table(extents);
      (await io.write([{ bdev: device, sector: 0, count: bytes.length / 512 }], bytes)).orThrow();
      const parts = await device.rereadPartitions();
      const found = parts.map((
        { path, start, sectors, type, mounts },
      ) => [path, start, sectors, type, mounts]);
      const expected = extents.map(([start, sectors], i) => [
        `${loop.path}p${i + 1}`,
        start,
        sectors,
        "partition",
        [],
      ]);
      assertEquals(found, expected);
      assertEquals(BlockDevice.list().find(({ path }) => path === loop.path)?.partitions, parts);
      for (const [i, { path, start, sectors }] of parts.entries()) {
        // The disk is held, and with it its partitions.
        await using part = BlockDevice.open(path, { write: true, direct: true, exclusive: false });
        assertEquals(part.sectors, sectors);
        (await io.write([{ bdev: part, sector: 8, count: 8 }], pattern(4096, i))).orThrow();
        expectSame(loop.bytes((start + 8) * 512, 4096), pattern(4096, i));
      }
    }
  });
}

testUnless(
  lack,
  "a partition whose node does not appear is an error that names it, after a wait",
  async () => {
    await using loop = await disk();
    loop.fill(mbr([[2048, 4096]]));
    // A /dev of its own, as in a container: a new node does not appear in it.
    await using folder = await programFolder(`
    import { BlockDevice } from "./mod.ts";
    await using disk = BlockDevice.open(Deno.args[0]!);
    if (Deno.args[1] === "late") {
      const { code } = await new Deno.Command("sh", { args: ["-c", "(sleep 1; mknod " + Deno.args[2]! + ") & :"] }).output();
      if (code !== 0) throw new Error("no shell");
    }
    try {
      console.log((await disk.rereadPartitions()).map(({ path }) => path).join());
    } catch (error) {
      console.log(error.name, error.message);
    }`);
    const number = await succeed("stat", "-c", "%Hr %Lr", loop.path);
    const own = [
      "mkdir dev",
      "mount -t tmpfs own dev",
      "mkdir dev/shm",
      "mount --rbind /dev/shm dev/shm", // where the program lies
      "mknod dev/null c 1 3",
      "mknod dev/urandom c 1 9",
      `mknod ${loop.path.slice(1)} b ${number}`,
      "mount --rbind dev /dev",
      'exec "$@"',
    ].join(" && ");
    const wrapper = ["unshare", "--mount", "sh", "-c", own, "sh"];
    const never = await runIn(folder, { source: "", args: [loop.path] }, wrapper);
    assertEquals([never.code, never.stderr], [0, ""]);
    for (const word of ["NotFound", `${loop.path}p1`, "devtmpfs"]) assertStringIncludes(never.stdout, word);
    const part = await succeed("stat", "-c", "%Hr %Lr", `${loop.path}p1`);
    const args = [loop.path, "late", `${loop.path}p1 b ${part}`];
    Deno.removeSync(folder.join("dev"));
    const late = await runIn(folder, { source: "", args }, wrapper);
    assertEquals([late.code, late.stdout.trim(), late.stderr], [0, `${loop.path}p1`, ""]);
  },
);

Deno.test("partitions that the table does not name are gone after it is read again", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 2048], [4096, 2048]);
  for (const exclusive of [false, true]) {
    await using device = BlockDevice.open(loop.path, { exclusive });
    assertEquals((await device.rereadPartitions()).length, 0);
    assertFalse(parts.paths.some(exists));
  }
});

Deno.test("a table is not read again while a partition is mounted, and the error names both", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 40960], [43008, 2048]);
  await using device = BlockDevice.open(loop.path);
  {
    await using mount = await ext4(parts.paths[0]!);
    const error = await refusal(device);
    assertEquals(error.code, "EBUSY");
    assertStringIncludes(error.message, `${parts.paths[0]} is mounted at ${mount.point}`);
    assert(parts.paths.every(exists));
  }
  assertEquals(await device.rereadPartitions(), []);
});

Deno.test("a table is not read again while a partition is swap, and the error says so", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 40960]);
  await using device = BlockDevice.open(loop.path);
  await using _swap = await swap(parts.paths[0]!);
  assertStringIncludes((await refusal(device)).message, `${parts.paths[0]} is used as swap`);
});

Deno.test("a partition that is open for a moment is waited for, one that stays open is an error", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 40960]);
  await using device = BlockDevice.open(loop.path);
  const reader = BlockDevice.open(parts.paths[0]!);
  const error = await refusal(device);
  assertEquals(error.code, "EBUSY");
  assertStringIncludes(error.message, "open in another program");
  const answer = device.rereadPartitions();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await reader.close();
  assertEquals(await answer, []);
});

Deno.test("a loop device without --partscan has no table to read, and the error says how to get one", async () => {
  await using loop = await LoopDevice.create({ bytes: BYTES });
  await using device = BlockDevice.open(loop.path);
  const error = await refusal(device);
  assertEquals(error.code, "EINVAL");
  assertStringIncludes(error.message, "--partscan");
});

Deno.test("a file, a device in RAM, a partition and a closed device are refused", async () => {
  await using scratch = await Scratch.create();
  await using file = BlockDevice.open(scratch.join("file"), { write: true, create: 4096 });
  await assertRejects(() => file.rereadPartitions(), TypeError, "no block device");
  using ram = ramDevice(1 << 20);
  await assertRejects(() => ram.rereadPartitions(), TypeError, "no block device of the system");
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 2048]);
  await using part = BlockDevice.open(parts.paths[0]!);
  const error = await assertRejects(() => part.rereadPartitions(), TypeError, "is a partition");
  assertStringIncludes(error.message, `its disk, ${loop.path}`);
  const closed = BlockDevice.open(loop.path);
  await closed.close();
  await assertRejects(() => closed.rereadPartitions(), TypeError, "closed");
});

Deno.test("close waits until the table was read", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 2048]);
  const device = BlockDevice.open(loop.path);
  const answer = device.rereadPartitions();
  assertEquals(device.inFlight, 1);
  const closing = device.close();
  assertEquals(await answer, []);
  assert(await settlesWithin(closing, PATIENCE));
  assertFalse(exists(parts.paths[0]!));
});

Deno.test("a user without rights is refused, and the error names the capability", async () => {
  await using loop = await disk();
  await using node = await DeviceNode.create(loop.path);
  Deno.chmodSync(node.path, 0o666);
  Deno.chmodSync(node.path.slice(0, node.path.lastIndexOf("/")), 0o755);
  const { code, stdout, stderr } = await runAsNobody({
    source: `
      import { BlockDevice } from "./mod.ts";
      await using disk = BlockDevice.open(Deno.args[0]!);
      await disk.rereadPartitions().catch((error) => console.log(error.code, error.message));`,
    args: [node.path],
  });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "EACCES");
  assertStringIncludes(stdout, "CAP_SYS_ADMIN");
});

Deno.test("without --allow-all a table is not read again, and the error says what it needs", async () => {
  await using loop = await disk();
  await using parts = await partitions(loop.path, [2048, 2048]);
  await using node = await DeviceNode.create(loop.path);
  const { code, stdout, stderr } = await runProgram({
    source: `
      import { BlockDevice } from "./mod.ts";
      await using disk = BlockDevice.open(Deno.args[0]!);
      await disk.rereadPartitions().catch((error) => console.log(error.name, error.message));`,
    args: [node.path],
    permissions: ["--allow-read", "--allow-ffi"],
  });
  assertEquals([code, stderr], [0, ""]);
  for (const word of ["NotCapable", "rereadPartitions()", "--allow-all"]) assertStringIncludes(stdout, word);
  assert(exists(parts.paths[0]!));
});
