/** The list of block devices: what it says of each, and on which of them the running system stands. */

import { assert, assertEquals, assertFalse, assertNotEquals, assertStringIncludes } from "@std/assert";
import { BlockDevice, type BlockDeviceInfo } from "../../mod.ts";
import { compareNames } from "../../src/device/list.ts";
import { runAsNobody } from "../support/as_nobody.ts";
import { run, succeed } from "../support/commands.ts";
import { LoopDevice, loopDevices } from "../support/loop.ts";
import { ext4, fileSystemLack, mounted, partitions, swap } from "../support/mount.ts";
import { runProgram } from "../support/program.ts";
import { testUnless } from "../support/test_unless.ts";
import { ZramDevice, zramLack } from "../support/zram.ts";

/** A device of the list, or one of its partitions. */
function find(path: string): BlockDeviceInfo | undefined {
  return BlockDevice.list().flatMap((disk) => [disk, ...disk.partitions]).find((one) => one.path === path);
}

function get(path: string): BlockDeviceInfo {
  const found = find(path);
  assert(found !== undefined, `${path} is not in the list`);
  return found;
}

function queueOf(path: string, name: string): number {
  return Number(Deno.readTextFileSync(`/sys/block/${path.slice("/dev/".length)}/queue/${name}`));
}

Deno.test("a loop device is listed with the facts of an open one, its file and its abilities", async () => {
  for (const sectorSize of [512, 4096] as const) {
    for (const readOnly of [false, true]) {
      await using loop = await LoopDevice.create({ bytes: 3 << 20, sectorSize, readOnly });
      await using device = BlockDevice.open(loop.path);
      const info = get(loop.path);
      for (
        const name of [
          "path",
          "sectors",
          "size",
          "logicalBlockSize",
          "physicalBlockSize",
          "readOnly",
        ] as const
      ) {
        assertEquals(info[name], device[name], name);
      }
      assertEquals(info, {
        ...info,
        name: loop.path.slice("/dev/".length),
        number: await succeed("stat", "-c", "%Hr:%Lr", loop.path),
        type: "loop",
        vendor: null,
        model: null,
        serial: null,
        start: 0,
        removable: false,
        can: {
          discard: queueOf(loop.path, "discard_max_bytes") > 0,
          writeZeroes: queueOf(loop.path, "write_zeroes_max_bytes") > 0,
          fua: queueOf(loop.path, "fua") === 1,
        },
        mounts: [],
        swap: false,
        holders: [],
        backingFile: loop.backing,
        partitions: [],
        system: false,
      });
    }
  }
});

Deno.test("the list has what lsblk prints of a device and of its partitions", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using parts = await partitions(loop.path, [2048, 40960], [43008, 4096]);
  await using _mount = await ext4(parts.paths[0]!);
  const columns = "PATH,MAJ:MIN,SIZE,LOG-SEC,PHY-SEC,RM,ROTA,RO,TYPE,MOUNTPOINTS";
  const printed = JSON.parse(await succeed("lsblk", "-b", "-J", "-l", "-o", columns, loop.path)).blockdevices;
  const listed = [get(loop.path), ...get(loop.path).partitions].map((info) => ({
    path: info.path,
    "maj:min": info.number,
    size: info.size,
    "log-sec": info.logicalBlockSize,
    "phy-sec": info.physicalBlockSize,
    rm: info.removable,
    rota: info.rotational,
    ro: info.readOnly,
    type: info.type === "partition" ? "part" : info.type,
    mountpoints: info.mounts.length === 0 ? [null] : info.mounts,
  }));
  assertEquals(listed, printed);
});

testUnless(zramLack(), "a zram device is listed once it has a size, with blocks of a page", async () => {
  await using zram = await ZramDevice.create(1 << 20);
  const info = get(zram.path);
  assertEquals([info.type, info.sectors, info.logicalBlockSize, info.can], [
    "ram",
    2048,
    4096,
    { discard: true, writeZeroes: true, fua: false },
  ]);
  Deno.writeTextFileSync(`/sys/block/${info.name}/reset`, "1");
  assertEquals(find(zram.path), undefined);
});

Deno.test("a loop device is left out when its file is detached", async () => {
  let path = "";
  {
    await using loop = await LoopDevice.create({ bytes: 1 << 20 });
    path = loop.path;
    assertEquals(get(path).backingFile, loop.backing);
  }
  // Another process may have the number by now.
  const info = find(path);
  assert(info === undefined || !info.backingFile!.includes(path), path);
  for (const { name, sectors, backingFile, type } of BlockDevice.list()) {
    assert(sectors > 0, name);
    assertEquals(backingFile !== null, type === "loop", name);
  }
});

Deno.test("sizes of more than 2^53 bytes are exact in sectors", async () => {
  await using loop = await LoopDevice.create({ bytes: 2 ** 40 });
  // Deno gives no file such a length; 2^53 + 512 bytes.
  await succeed("truncate", "--size", "9007199254741504", loop.backing);
  await succeed("losetup", "--set-capacity", loop.path);
  assertEquals([get(loop.path).sectors, get(loop.path).size], [2 ** 44 + 1, (2 ** 44 + 1) * 512]);
});

Deno.test("partitions are in the list of their disk, in the order of their numbers", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20, sectorSize: 4096 });
  const table = Array.from({ length: 11 }, (_, i) => [2048 * (i + 1), 8 * (i + 1)] as [number, number]);
  await using parts = await partitions(loop.path, ...table);
  const listed = get(loop.path).partitions;
  assertEquals(listed.map(({ path, start, sectors, type }) => ({ path, start, sectors, type })), [
    ...table.map(([start, sectors], i) => ({
      path: parts.paths[i]!,
      start,
      sectors,
      type: "partition" as const,
    })),
  ]);
  assertEquals(listed.map(({ logicalBlockSize, can }) => [logicalBlockSize, can]), [
    ...table.map(() => [4096, get(loop.path).can]),
  ]);
  assert(BlockDevice.list().every(({ type }) => type !== "partition"));
});

Deno.test("mounts are those of the device itself, each once, under their own names", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using parts = await partitions(loop.path, [2048, 40960]);
  await using mount = await ext4(parts.paths[0]!, "a mount\\with\nodd\tnames");
  await using other = await mounted(parts.paths[0]!);
  const { mounts, system, partitions: [part] } = get(loop.path);
  assertEquals([mounts, part?.mounts], [[], [mount.point, other.point]]);
  assertEquals([system, part?.system], [false, false]);
});

testUnless(
  await fileSystemLack("btrfs"),
  "each member of a mounted btrfs is listed with its mount point",
  async () => {
    await using one = await LoopDevice.create({ bytes: 128 << 20 });
    await using other = await LoopDevice.create({ bytes: 128 << 20 });
    await succeed("mkfs.btrfs", "-q", "-f", "-d", "single", "-m", "raid1", one.path, other.path);
    try {
      await using mount = await mounted(other.path);
      assertEquals([get(one.path).mounts, get(other.path).mounts], [[mount.point], [mount.point]]);
    } finally {
      // The kernel keeps the devices of a btrfs in mind, for its next mount.
      await run(["btrfs", "device", "scan", "--forget", one.path]);
    }
  },
);

Deno.test("the device of the root file system is one that the running system stands on", () => {
  for (const disk of BlockDevice.list()) {
    for (const one of [disk, ...disk.partitions]) {
      if (one.mounts.includes("/")) assert(one.system && disk.system, one.path);
    }
  }
});

Deno.test("swap on a partition makes the system stand on it and its disk, not on the next one", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using parts = await partitions(loop.path, [2048, 40960], [43008, 4096]);
  const flags = () =>
    [get(loop.path), ...get(loop.path).partitions].map(({ swap, system }) => [swap, system]);
  {
    await using _swap = await swap(parts.paths[0]!);
    assertEquals(flags(), [[false, true], [true, true], [false, false]]);
  }
  assertEquals(flags(), [[false, false], [false, false], [false, false]]);
});

Deno.test("swap in a file makes the system stand on the file's device", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using mount = await ext4(loop.path);
  await succeed("fallocate", "--length", "16MiB", `${mount.point}/swap`);
  Deno.chmodSync(`${mount.point}/swap`, 0o600);
  await using _swap = await swap(`${mount.point}/swap`);
  const { swap: itself, system } = get(loop.path);
  assertEquals([itself, system], [false, true]);
});

Deno.test("swap on a loop device makes the system stand on the device of its file", async () => {
  await using lower = await LoopDevice.create({ bytes: 64 << 20 });
  await using mount = await ext4(lower.path);
  await using upper = await LoopDevice.create({ bytes: 16 << 20, in: mount.point });
  assertFalse(get(lower.path).system);
  await using _swap = await swap(upper.path);
  assertEquals([get(upper.path).system, get(lower.path).system], [true, true]);
});

Deno.test("the list is in the natural order of names", async () => {
  await using _loops = await loopDevices(12, { bytes: 1 << 20 });
  const names = BlockDevice.list().map(({ name }) => name);
  assertEquals(names, names.toSorted(compareNames));
  // Twelve loop devices have numbers of one digit and of two, which text does not sort by value.
  assertNotEquals(names, names.toSorted());
});

Deno.test("the list is whole while other devices come and go", async () => {
  await using loop = await LoopDevice.create({ bytes: 16 << 20 });
  await using _parts = await partitions(loop.path, [2048, 2048]);
  let ended = false;
  const churn = (async () => {
    for (let i = 0; i < 6; i++) {
      await using _others = await loopDevices(4, { bytes: 1 << 20 });
    }
  })().finally(() => ended = true);
  while (!ended) {
    assertEquals(get(loop.path).partitions.length, 1);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await churn;
});

Deno.test("without --allow-all the list is refused, and the error says what it needs", async () => {
  const source = `
    import { BlockDevice } from "./mod.ts";
    try {
      console.log(BlockDevice.list().length);
    } catch (error) {
      console.log(error instanceof Deno.errors.NotCapable, error.message);
    }`;
  for (
    const permissions of [[], ["--allow-read"], ["--allow-read=/sys,/proc,/dev"], [
      "--allow-read",
      "--allow-ffi",
    ]]
  ) {
    const { code, stdout, stderr } = await runProgram({ source, permissions });
    assertEquals([code, stderr], [0, ""], `${permissions}`);
    for (const word of ["true BlockDevice.list()", "/sys", "/proc", "/dev", "--allow-all"]) {
      assertStringIncludes(stdout, word);
    }
  }
});

Deno.test("a user without rights lists what root does", async () => {
  await using loop = await LoopDevice.create({ bytes: 64 << 20 });
  await using parts = await partitions(loop.path, [2048, 40960]);
  await using mount = await ext4(parts.paths[0]!);
  const { code, stdout, stderr } = await runAsNobody({
    source: `
      import { BlockDevice } from "./mod.ts";
      console.log(JSON.stringify(BlockDevice.list().find(({ path }) => path === Deno.args[0])));`,
    args: [loop.path],
  });
  assertEquals([code, stderr], [0, ""]);
  assertEquals(JSON.parse(stdout), JSON.parse(JSON.stringify(get(loop.path))));
  assertStringIncludes(stdout, mount.point);
});
