import { assertEquals } from "@std/assert";
import { compareNames } from "../../../src/device/list.ts";

Deno.test("names of devices are sorted by their numbers and by the letters that count disks", () => {
  const sorted = [
    "dm-0",
    "dm-2",
    "dm-10",
    "loop0",
    "loop0p1",
    "loop9",
    "loop10",
    "md0",
    "md127",
    "mmcblk0",
    "mmcblk0p1",
    "mmcblk0boot0",
    "nvme0n1",
    "nvme0n1p2",
    "nvme0n1p10",
    "nvme0n2",
    "nvme10n1",
    "sda",
    "sda2",
    "sda10",
    "sdb",
    "sdz",
    "sdaa",
    "sdaa1",
    "sr0",
    "vda",
    "vdaa",
    "zram0",
  ];
  const shuffled = sorted.map((name, i) => [(i * 17) % sorted.length, name] as const).sort(([a], [b]) =>
    a - b
  );
  assertEquals(shuffled.map(([, name]) => name).sort(compareNames), sorted);
  for (const name of sorted) assertEquals(compareNames(name, name), 0);
});
