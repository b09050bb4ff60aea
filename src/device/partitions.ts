/**
 * Has the kernel read a disk's partition table again.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { EACCES, EBUSY, EINVAL, SystemError } from "../../ffi/errno.ts";
import { BLKRRPART } from "../../ffi/uapi.ts";
import { deviceNumberOf } from "./facts.ts";
import { holdersOf } from "./holder.ts";
import { type BlockDeviceInfo, listPartitions, looking } from "./list.ts";
import { type DeviceNumber, diskOf, folderOf, numberOfNode, pathOf } from "./sysfs.ts";

/** Milliseconds for which another program may have a partition open, as udev has when the partition appears. */
const BUSY_MILLISECONDS = 1000;

/** Milliseconds in which the node of a partition must appear. The kernel makes it at once in a devtmpfs, udev later elsewhere. */
const NODE_MILLISECONDS = 5000;

/** Milliseconds between two looks: the first, and the most. */
const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 32;

/**
 * Has the kernel read a disk's partition table again, and waits for the nodes of its partitions.
 *
 * @param fd The disk's file descriptor, which must stay open until the promise settles.
 * @param path The disk's path, for messages.
 * @returns The partitions; each has its node.
 * @throws {TypeError} For a partition.
 * @throws {SystemError} The error of `BLKRRPART`, with the holder when it is `EBUSY`.
 * @throws {Deno.errors.NotFound} When a partition's node does not appear.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export async function rereadPartitions(fd: number, path: string): Promise<readonly BlockDeviceInfo[]> {
  const number = looking("rereadPartitions()", () => {
    const number = deviceNumberOf(fd);
    assertDisk(number, path);
    return number;
  });
  let busy: SystemError | null = null;
  const read = await untilTrue(BUSY_MILLISECONDS, async () => {
    const code = await reread(fd);
    if (code === 0) return true;
    const holders = code === EBUSY ? holdersOf(number, path) : null;
    busy = refusal(path, code, holders);
    if (code !== EBUSY || holders !== null) throw busy;
    return false;
  });
  if (!read) throw busy!;
  return await nodesOf(number, path);
}

function assertDisk(number: DeviceNumber, path: string): void {
  const folder = folderOf(number);
  if (folder === null) return; // The device is gone, which the ioctl reports.
  const disk = diskOf(folder);
  if (disk === folder) return;
  throw new TypeError(`${path} is a partition; the partition table is on its disk, ${pathOf(disk)}`);
}

// The error number, or 0. `errno` of the first call is on another thread, where it cannot be read, so the call is made again on this
// thread. The second call is quick as a rule: the kernel refuses before it reads the disk, or the disk has just failed.
async function reread(fd: number): Promise<number> {
  if (await libc().ioctlAsync(fd, BigInt(BLKRRPART), null) === 0) return 0;
  return libc().ioctl(fd, BigInt(BLKRRPART), null) === 0 ? 0 : errno();
}

function refusal(path: string, code: number, holders: string | null): SystemError {
  return new SystemError(
    "ioctl(BLKRRPART)",
    code,
    `could not read the partitions of ${path} again: ${advice(code, holders)}`,
  );
}

function advice(code: number, holders: string | null): string {
  switch (code) {
    case EBUSY:
      return holders ??
        "a partition is open in another program or in this one, or another program has the disk exclusively";
    case EACCES:
      return "that takes CAP_SYS_ADMIN, which root has";
    case EINVAL:
      return "its driver reads no partition table; a loop device does after `losetup --partscan`";
    default:
      return "the device failed";
  }
}

async function nodesOf(number: DeviceNumber, path: string): Promise<readonly BlockDeviceInfo[]> {
  let partitions: readonly BlockDeviceInfo[] = [];
  let missing: BlockDeviceInfo | undefined;
  const appeared = await untilTrue(NODE_MILLISECONDS, () => {
    partitions = listPartitions(number);
    missing = partitions.find((one) => numberOfNode(one.path) !== one.number);
    return missing === undefined;
  });
  if (appeared) return partitions;
  throw new Deno.errors.NotFound(
    `${path} has the partition ${missing!.name} now, but no ${
      missing!.path
    } appeared in ${NODE_MILLISECONDS} ms; ` +
      "what makes nodes in this /dev (devtmpfs, udev) does not run here",
  );
}

// Counts its own pauses, not the clock's time, so that a busy event loop does not use the time up.
async function untilTrue(milliseconds: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (let waited = 0, pause = FIRST_PAUSE; !await holds(); pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    if (waited >= milliseconds) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
    waited += pause;
  }
  return true;
}
