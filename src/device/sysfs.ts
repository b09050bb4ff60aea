/**
 * Block devices in sysfs (`Documentation/ABI/stable/sysfs-block`). Deno opens what lies in `/sys` with `--allow-all` only.
 *
 * @module
 */

/** A block device's number, `"MAJOR:MINOR"`, as sysfs and `/proc/self/mountinfo` have it. */
export type DeviceNumber = `${number}:${number}`;

/**
 * The folder of a block device.
 *
 * @param number The device's number.
 * @returns The folder's real path, without a link in it.
 * @throws {Deno.errors.NotFound} When the kernel has no such device (any more), or there is no sysfs.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function folderOf(number: DeviceNumber): string {
  return Deno.realPathSync(`/sys/dev/block/${number}`);
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

/**
 * Reads what may be missing: an attribute that this kernel or driver lacks, a device that is removed meanwhile, a file that is closed
 * to this user.
 *
 * @param read Reads it.
 * @returns What `read` returned; `null` when it is missing.
 * @throws {Deno.errors.NotCapable} Without the permission, which is the caller's to have.
 */
export function unlessMissing<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return null;
  }
}
