/**
 * Finds the holders of a block device that cannot be opened: mounts, and drivers of the kernel on top of it.
 *
 * @module
 */

const ANYTHING =
  "it is mounted, held by device-mapper or md, used as swap, or open exclusively in another program";

/**
 * Describes what holds a block device, from `/proc/self/mountinfo` and sysfs. Both need `--allow-all`.
 *
 * @param path The device's path.
 * @returns A clause for a message: the mount point, the devices on top of it, or the possible holders when none is found.
 */
export function holder(path: string): string {
  try {
    const number = deviceNumber(path);
    const parts = new Map([[number, path], ...partitions(number)]);
    const mount = mountPoint(parts);
    if (mount !== null) return mount;
    for (const [part, name] of parts) {
      const holders = [...Deno.readDirSync(`/sys/dev/block/${part}/holders`)].map(({ name }) => name);
      if (holders.length > 0) {
        return `${holders.join(" and ")} ${holders.length > 1 ? "hold" : "holds"} ${name}`;
      }
    }
  } catch {
    // A file that is missing, or may not be read, names no holder.
  }
  return ANYTHING;
}

// "MAJOR:MINOR", as mountinfo and sysfs have it (gnu_dev_major and gnu_dev_minor of sys/sysmacros.h).
function deviceNumber(path: string): string {
  const { rdev } = Deno.statSync(path);
  const number = rdev ?? 0;
  const major = Math.floor(number / 2 ** 8) % 2 ** 12;
  const minor = number % 2 ** 8 + Math.floor(number / 2 ** 20) * 2 ** 8;
  return `${major}:${minor}`;
}

// The partitions of a disk, by number. A holder of a partition holds the disk too.
function partitions(number: string): [string, string][] {
  const folder = `/sys/dev/block/${number}`;
  const found: [string, string][] = [];
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (
      !isDirectory || ![...Deno.readDirSync(`${folder}/${name}`)].some(({ name }) => name === "partition")
    ) continue;
    found.push([Deno.readTextFileSync(`${folder}/${name}/dev`).trim(), `/dev/${name}`]);
  }
  return found;
}

// A line of mountinfo (proc(5)): ID, parent, MAJOR:MINOR, root, mount point, options, fields up to "-", type, source, options. Btrfs
// has its own number there, so only the source names the device.
function mountPoint(parts: ReadonlyMap<string, string>): string | null {
  for (const line of Deno.readTextFileSync("/proc/self/mountinfo").split("\n")) {
    const [, , number = "", , point = "", ...rest] = line.split(" ");
    const source = unescape(rest[rest.indexOf("-") + 2] ?? "");
    for (const [part, name] of parts) {
      if (part === number || source === name) return `${name} is mounted at ${unescape(point)}`;
    }
  }
  return null;
}

// mountinfo writes space, tab, newline and backslash as octal escapes.
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}
