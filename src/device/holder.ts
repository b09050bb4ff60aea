/**
 * Finds the holders of a block device that cannot be opened: mounts, swap, and drivers of the kernel on top of it.
 *
 * @module
 */

import { isSwap, pointsOf, readUsage, type Usage } from "./mounts.ts";
import {
  type DeviceNumber,
  diskOf,
  folderOf,
  linkedTo,
  mayLook,
  numberOfFolder,
  numberOfNode,
  partitionsOf,
  pathOf,
} from "./sysfs.ts";

/** The clause of the message when the program may not look for the holder. */
const ANYTHING =
  "it is mounted, held by device-mapper or md, used as swap, or open exclusively in another program " +
  "(with --allow-all, this error names which)";

/** The clause of the message when the kernel names no holder. */
const NOTHING_ELSE =
  "it is open exclusively in another program, or already in this one, or mounted in another mount namespace";

/** The most devices on top of each other that one message names. */
const MOST_LEVELS = 8;

/**
 * Describes what holds a block device against an exclusive open, from `/proc/self/mountinfo`, `/proc/swaps` and sysfs.
 *
 * @param path The device's path.
 * @returns A clause for a message. It names each holder where the program may look (`--allow-all`), and else the possible ones.
 */
export function holder(path: string): string {
  if (!mayLook()) return ANYTHING;
  try {
    const number = numberOfNode(path);
    return (number === null ? null : holdersOf(number, path)) ?? NOTHING_ELSE;
  } catch {
    return ANYTHING;
  }
}

/**
 * The holders of a block device, and of those devices that are held with it: the partitions of a disk, the disk of a partition.
 *
 * @param number The device's number.
 * @param path The path that the caller knows the device by.
 * @returns A clause that names each of them; `null` when the kernel names none.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function holdersOf(number: DeviceNumber, path: string): string | null {
  const folder = folderOf(number);
  if (folder === null) return null;
  const usage = readUsage();
  const disk = diskOf(folder);
  const others = disk === folder ? partitionsOf(folder) : [disk];
  const clauses = [folder, ...others].flatMap((one) => {
    const use = useOf(one, usage);
    return use === null ? [] : `${one === folder ? path : pathOf(one)} ${use}`;
  });
  return clauses.length === 0 ? null : clauses.join("; ");
}

// "is mounted at /a", "is used as swap", "is held by /dev/md0, which is mounted at /a".
function useOf(folder: string, usage: Usage, levels = MOST_LEVELS): string | null {
  const number = numberOfFolder(folder);
  if (number === null || levels === 0) return null;
  const [point, ...more] = pointsOf(number, usage);
  if (point !== undefined) {
    return `is mounted at ${point}` + (more.length === 0 ? "" : ` and at ${more.length} more`);
  }
  if (isSwap(number, usage)) return "is used as swap";
  const holders = linkedTo(folder, "holders").map((one) => {
    const use = useOf(one, usage, levels - 1);
    return use === null ? pathOf(one) : `${pathOf(one)}, which ${use}`;
  });
  return holders.length === 0 ? null : `is held by ${holders.join(", and by ")}`;
}
