/**
 * Block devices in sysfs (`Documentation/ABI/stable/sysfs-block`) and their nodes in `/dev`. Deno opens what lies in either with
 * `--allow-all` only.
 *
 * @module
 */

/** A block device's number, `"MAJOR:MINOR"`, as sysfs and `/proc/self/mountinfo` have it. */
export type DeviceNumber = `${number}:${number}`;

/**
 * The number of a block device by its node.
 *
 * @param path The path of a node, or of a link to one.
 * @returns The number; `null` when there is no block device of that path.
 * @throws {Deno.errors.NotCapable} Without the permission.
 */
export function numberOfNode(path: string): DeviceNumber | null {
  const stat = unlessMissing(() => Deno.statSync(path));
  if (stat === null || stat.rdev === null || !stat.isBlockDevice) return null;
  return numberOf(stat.rdev);
}

/**
 * The number in a `dev_t` of the C library (`gnu_dev_major` and `gnu_dev_minor` of `sys/sysmacros.h`).
 *
 * @param dev A `dev_t`, such as `rdev` of `Deno.FileInfo`. Linux uses its lowest 32 bits: 12 of them are the major number.
 */
function numberOf(dev: number): DeviceNumber {
  const major = Math.floor(dev / 2 ** 8) % 2 ** 12;
  const minor = dev % 2 ** 8 + Math.floor(dev / 2 ** 20) * 2 ** 8;
  return `${major}:${minor}`;
}

/**
 * The folder of a block device.
 *
 * @param number The device's number.
 * @returns The folder's real path, without a link in it; `null` when the kernel has no such device (any more), or there is no sysfs.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function folderOf(number: DeviceNumber): string | null {
  return unlessMissing(() => Deno.realPathSync(`/sys/dev/block/${number}`));
}

/**
 * The folders of all block devices but partitions.
 *
 * @returns The folders' real paths, without a link in them, in no particular order.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 * @throws {Deno.errors.NotFound} Without sysfs.
 */
export function diskFolders(): string[] {
  return [...Deno.readDirSync("/sys/block")].flatMap(({ name }) =>
    unlessMissing(() => Deno.realPathSync(`/sys/block/${name}`)) ?? []
  );
}

/**
 * The folder of the whole disk. A partition shares the request queue of its disk, and has no folder `queue` of its own.
 *
 * @param folder The folder of a disk or of a partition.
 * @returns The folder of the disk: the partition's parent, or the folder itself.
 */
export function diskOf(folder: string): string {
  return attribute(folder, "partition") === null ? folder : folder.slice(0, folder.lastIndexOf("/"));
}

/**
 * The folders of a disk's partitions.
 *
 * @param disk The folder of a disk.
 * @returns Their folders in the order of the partitions' numbers; none for a partition.
 */
export function partitionsOf(disk: string): string[] {
  const found: [number, string][] = [];
  for (const name of entries(disk)) {
    const number = numberAttribute(disk, `${name}/partition`);
    if (number !== null) found.push([number, `${disk}/${name}`]);
  }
  return found.sort(([a], [b]) => a - b).map(([, folder]) => folder);
}

/**
 * The folders of the devices that a device is linked to.
 *
 * @param folder A device's folder.
 * @param side `"holders"`: the devices on top of it, such as those of device-mapper and md. `"slaves"`: those that it stands on.
 * @returns Their folders' real paths.
 */
export function linkedTo(folder: string, side: "holders" | "slaves"): string[] {
  return entries(`${folder}/${side}`).flatMap((name) =>
    unlessMissing(() => Deno.realPathSync(`${folder}/${side}/${name}`)) ?? []
  );
}

/** The number of the device that a folder is of; `null` when the device is gone. */
export function numberOfFolder(folder: string): DeviceNumber | null {
  return attribute(folder, "dev") as DeviceNumber | null;
}

/** The kernel's name of the device that a folder is of. Sysfs writes `!` for a `/` in it. */
export function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf("/") + 1).replaceAll("!", "/");
}

/**
 * The path of a device's node, by the name that people use.
 *
 * @param folder A device's folder.
 * @returns `/dev/mapper/NAME` and `/dev/md/NAME` where these are nodes of the device; else `/dev` and the kernel's name, whether or not
 * there is such a node.
 */
export function pathOf(folder: string): string {
  const kernels = `/dev/${nameOf(folder)}`;
  const number = numberOfFolder(folder);
  const mapped = attribute(folder, "dm/name");
  if (mapped !== null && numberOfNode(`/dev/mapper/${mapped}`) === number) return `/dev/mapper/${mapped}`;
  if (attribute(diskOf(folder), "md/level") === null) return kernels;
  // /dev/md/0 tells no more than /dev/md0.
  const named = entries("/dev/md").filter((name) => !/^\d/.test(name)).map((name) => `/dev/md/${name}`);
  return named.find((path) => numberOfNode(path) === number) ?? kernels;
}

/**
 * Reads an attribute.
 *
 * @param folder A device's folder.
 * @param name The attribute's path in that folder.
 * @returns Its text without the white space around it; `null` when the device has no such attribute, or is gone.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function attribute(folder: string, name: string): string | null {
  return unlessMissing(() => Deno.readTextFileSync(`${folder}/${name}`).trim());
}

/**
 * Reads an attribute that is a number.
 *
 * @param folder A device's folder.
 * @param name The attribute's path in that folder.
 * @returns Its value; `null` when the device has no such attribute, or is gone.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function numberAttribute(folder: string, name: string): number | null {
  const text = attribute(folder, name);
  return text === null || text === "" || !Number.isFinite(Number(text)) ? null : Number(text);
}

/** The names in a folder; none when it is missing. */
export function entries(folder: string): string[] {
  return unlessMissing(() => [...Deno.readDirSync(folder)].map(({ name }) => name)) ?? [];
}

/**
 * Reads a file or link that may be missing: an attribute that this kernel or driver lacks, a device that was removed, a file that this user
 * may not read.
 *
 * @param read Reads it.
 * @returns What `read` returned; `null` when it threw, other than for a missing permission of Deno.
 * @throws {Deno.errors.NotCapable} Without the permission.
 */
export function unlessMissing<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return null;
  }
}

/**
 * Whether the program may try to read `/sys` and `/proc` without a prompt to its user. Deno wants `--allow-all` for them, which cannot be
 * queried: without it, the read itself throws {@linkcode Deno.errors.NotCapable}.
 */
export function mayLook(): boolean {
  return Deno.permissions.querySync({ name: "read", path: "/sys" }).state === "granted";
}
