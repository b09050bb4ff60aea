/**
 * Mounts and swap areas: `/proc/self/mountinfo` and `/proc/swaps` (proc(5)). Deno opens both with `--allow-all` only.
 *
 * @module
 */

import {
  type DeviceNumber,
  entries,
  folderOf,
  nameOf,
  numberOfFolder,
  numberOfNode,
  unlessMissing,
} from "./sysfs.ts";

/** A line of `/proc/self/mountinfo`. */
export interface MountLine {
  /** The number of its device; `"0:N"` for a file system with a number of its own, such as btrfs, overlay and tmpfs. */
  readonly number: DeviceNumber;
  /** The mount point. */
  readonly point: string;
  /** The type of the file system. */
  readonly type: string;
  /** The source of the mount: the path of a device, for most types that have one. */
  readonly source: string;
  /** The options of the file system, separated by commas. */
  readonly options: string;
}

/** A mount with its devices. */
export interface Mount extends MountLine {
  /** The block devices of its file system: one, or all members of a btrfs, or none where it has no device, such as a tmpfs. */
  readonly devices: readonly DeviceNumber[];
}

/** A line of `/proc/swaps`: a swap area in use. */
export interface SwapLine {
  /** The path of its device, or of its file. */
  readonly path: string;
  /** Whether it is a file. */
  readonly isFile: boolean;
}

/** A swap area in use with its device. */
export interface Swap extends SwapLine {
  /** Its block device; `null` for a file, and for a device whose node is gone. */
  readonly device: DeviceNumber | null;
}

/** The mounts and the swap areas at one time. */
export interface Usage {
  /** The mounts, in the order of the kernel: a later mount hides an earlier one at the same point. */
  readonly mounts: readonly Mount[];
  /** The swap areas. */
  readonly swaps: readonly Swap[];
}

/**
 * Reads the mounts of this mount namespace, and the swap areas in use.
 *
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function readUsage(): Usage {
  const mounts = parseMounts(Deno.readTextFileSync("/proc/self/mountinfo"));
  // A kernel may be built without swap.
  const swaps = parseSwaps(unlessMissing(() => Deno.readTextFileSync("/proc/swaps")) ?? "");
  return {
    mounts: mounts.map((mount) => ({ ...mount, devices: devicesOf(mount) })),
    swaps: swaps.map((swap) => ({ ...swap, device: swap.isFile ? null : numberOfNode(swap.path) })),
  };
}

/**
 * The mount points of a block device.
 *
 * @param number The device's number.
 * @param usage The mounts.
 * @returns Each once, in the order of the kernel.
 */
export function pointsOf(number: DeviceNumber, { mounts }: Usage): string[] {
  const points = mounts.filter(({ devices }) => devices.includes(number)).map(({ point }) => point);
  return [...new Set(points)];
}

/**
 * Whether a block device is used as swap.
 *
 * @param number The device's number.
 * @param usage The swap areas.
 */
export function isSwap(number: DeviceNumber, { swaps }: Usage): boolean {
  return swaps.some(({ device }) => device === number);
}

/**
 * Reads `/proc/self/mountinfo`. A line of it is: ID, parent, MAJOR:MINOR, root, mount point, options, fields up to `-`, type, source,
 * options of the file system.
 *
 * @param text The file's text.
 */
export function parseMounts(text: string): MountLine[] {
  const mounts: MountLine[] = [];
  for (const line of text.split("\n")) {
    const [, , number, , point, ...rest] = line.split(" ");
    const at = rest.indexOf("-");
    if (number === undefined || point === undefined || at < 0) continue;
    const [type = "", source = "", options = ""] = rest.slice(at + 1);
    mounts.push({
      number: number as DeviceNumber,
      point: unescape(point),
      type,
      source: unescape(source),
      options: unescape(options),
    });
  }
  return mounts;
}

/**
 * Reads `/proc/swaps`. A line of it, but the first, is: path, `partition` or `file`, size, used, priority.
 *
 * @param text The file's text.
 */
export function parseSwaps(text: string): SwapLine[] {
  return text.split("\n").slice(1).filter((line) => line !== "").map((line) => {
    const [path = "", type] = line.split(/\s+/);
    return { path: unescape(path), isFile: type === "file" };
  });
}

// The kernel writes space, tab, newline and backslash as octal escapes.
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
}

function devicesOf({ number, type, source }: MountLine): DeviceNumber[] {
  if (!number.startsWith("0:")) return [number];
  // Bcachefs joins its devices by colons.
  const named = source.split(":").filter((path) => path.startsWith("/")).flatMap((path) =>
    numberOfNode(path) ?? []
  );
  return type === "btrfs" ? named.flatMap(btrfsMembers) : named;
}

// All devices of the btrfs that one of them names: /sys/fs/btrfs/UUID/devices/NAME.
function btrfsMembers(number: DeviceNumber): DeviceNumber[] {
  const folder = folderOf(number);
  if (folder === null) return [number];
  const name = nameOf(folder).replaceAll("/", "!");
  for (const uuid of entries("/sys/fs/btrfs")) {
    const devices = `/sys/fs/btrfs/${uuid}/devices`;
    const names = entries(devices);
    if (names.includes(name)) return names.flatMap((name) => numberOfFolder(`${devices}/${name}`) ?? []);
  }
  return [number];
}

/**
 * The mount that a file lies in.
 *
 * @param mounts All mounts.
 * @param path The file's absolute path, without a link in it.
 * @returns The mount of the longest mount point above it; `null` when there is none.
 */
export function mountAbove(mounts: readonly Mount[], path: string): Mount | null {
  let found: Mount | null = null;
  for (const mount of mounts) {
    const folder = mount.point === "/" ? "/" : `${mount.point}/`;
    if (!path.startsWith(folder) && path !== mount.point) continue;
    if (found === null || mount.point.length >= found.point.length) found = mount;
  }
  return found;
}
