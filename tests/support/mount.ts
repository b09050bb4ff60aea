/**
 * File systems and swap on block devices, until the end of a scope.
 *
 * @module
 */

import { run, succeed } from "./commands.ts";
import { atExit } from "./last_resort.ts";
import { Scratch } from "./scratch.ts";

/**
 * Asks whether this kernel has a type of file system.
 *
 * @param type The type.
 * @returns Why it does not, in words for a person; null when it does.
 */
export async function fileSystemLack(type: string): Promise<string | null> {
  await run(["modprobe", type]).catch(() => {}); // built in, or no modprobe
  const known = Deno.readTextFileSync("/proc/filesystems").split(/\s+/);
  return known.includes(type) ? null : `this kernel has no ${type}`;
}

/** A mounted device. */
export interface Mounted extends AsyncDisposable {
  /** The mount point. */
  readonly point: string;
}

/**
 * Mounts a device that holds a file system.
 *
 * @param device The device's path.
 * @param name The name of the mount point.
 * @param options What follows `mount`: `["-o", "ro"]`.
 */
export async function mounted(
  device: string,
  name = "mount",
  options: readonly string[] = [],
): Promise<Mounted> {
  await using parts = new AsyncDisposableStack();
  const point = parts.use(await Scratch.create()).join(name);
  Deno.mkdirSync(point);
  await succeed("mount", ...options, device, point);
  parts.defer(atExit(() => new Deno.Command("umount", { args: ["-l", point], stderr: "null" }).outputSync()));
  parts.defer(async () => {
    // Something in it may still be open: out of the tree now, gone when that is closed.
    if ((await run(["umount", point])).code !== 0) await succeed("umount", "-l", point);
  });
  const all = parts.move();
  return { point, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/**
 * Makes a file system of ext4 on a device, and mounts it.
 *
 * @param device The device's path.
 * @param name The name of the mount point.
 */
export async function ext4(device: string, name?: string): Promise<Mounted> {
  await succeed("mkfs.ext4", "-q", "-F", device);
  return await mounted(device, name);
}

/**
 * Makes a device, or a file, a swap area in use.
 *
 * @param path Its path.
 */
export async function swap(path: string): Promise<AsyncDisposable> {
  await succeed("mkswap", path);
  // The least of priorities, so that nothing is written there.
  await succeed("swapon", "--priority", "0", path);
  const takeBack = atExit(() => new Deno.Command("swapoff", { args: [path], stderr: "null" }).outputSync());
  return {
    async [Symbol.asyncDispose]() {
      takeBack();
      await succeed("swapoff", path);
    },
  };
}

/**
 * Partitions of a disk that no table names (addpart(8)): the kernel keeps them until it reads a table.
 *
 * @param disk The disk's path, whose partitions have a `p` before their number.
 * @param partitions Of each, its first sector and its length in sectors.
 */
export async function partitions(
  disk: string,
  ...partitions: readonly [number, number][]
): Promise<AsyncDisposable & { paths: readonly string[] }> {
  await using parts = new AsyncDisposableStack();
  const paths: string[] = [];
  for (const [i, [start, sectors]] of partitions.entries()) {
    await succeed("addpart", disk, `${i + 1}`, `${start}`, `${sectors}`);
    // It may be gone by then, after its disk.
    parts.defer(async () => void await run(["delpart", disk, `${i + 1}`]));
    paths.push(`${disk}p${i + 1}`);
  }
  const all = parts.move();
  return { paths, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
