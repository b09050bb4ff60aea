/**
 * Lists the block devices of the system, from sysfs.
 *
 * @module
 */

import { SECTOR_SIZE } from "./facts.ts";
import { isSwap, pointsOf, readUsage, type Usage } from "./mounts.ts";
import { serialOf } from "./serial.ts";
import {
  attribute,
  type DeviceNumber,
  diskFolders,
  diskOf,
  folderOf,
  linkedTo,
  mayLook,
  nameOf,
  numberAttribute,
  numberOfFolder,
  partitionsOf,
  pathOf,
} from "./sysfs.ts";
import { systemDevices } from "./system.ts";

/** `TYPE_ROM` of `scsi/scsi_proto.h`, in a SCSI device's `device/type`. */
const TYPE_ROM = 5;

/** A block device of the system, as {@linkcode BlockDevice.list} found it. */
export interface BlockDeviceInfo {
  /** The kernel's name: `"sda"`, `"nvme0n1p2"`, `"dm-0"`. */
  readonly name: string;
  /** The path of its node: `/dev/mapper/NAME` and `/dev/md/NAME` where these exist, else `/dev` and the kernel's name. */
  readonly path: string;
  /** Its number, `"MAJOR:MINOR"`, which no other device has at the same time. */
  readonly number: string;
  /** Its type: `"ram"` is zram or brd, `"dm"` a device of device-mapper, `"rom"` a CD or DVD drive, `"disk"` any other that is no partition. */
  readonly type: "disk" | "partition" | "loop" | "dm" | "md" | "ram" | "rom";
  /** The vendor that the device reports; a SATA disk reports `"ATA"`. `null` when it reports none. A partition's is its disk's. */
  readonly vendor: string | null;
  /** The model that the device reports; `null` when it reports none. A partition's is its disk's. */
  readonly model: string | null;
  /** The serial number that the device reports; `null` when it reports none. A partition's is its disk's. */
  readonly serial: string | null;
  /** Size in sectors of 512 bytes. */
  readonly sectors: number;
  /** Size in bytes; exact below 2^53. */
  readonly size: number;
  /** The sector of the disk, of 512 bytes, where a partition begins; 0 for a device that is no partition. */
  readonly start: number;
  /** The unit of direct I/O in bytes. */
  readonly logicalBlockSize: number;
  /** The unit that the medium writes at once, in bytes. */
  readonly physicalBlockSize: number;
  /** Whether its medium can be taken out. A USB stick often says so, a USB disk often not. */
  readonly removable: boolean;
  /** Whether it is a spinning disk, as far as its driver knows. */
  readonly rotational: boolean;
  /** Whether it refuses writes. */
  readonly readOnly: boolean;
  /** The operations that it can do besides reading and writing. */
  readonly can: {
    /** Whether it discards (`queue/discard_max_bytes` is not 0). */
    readonly discard: boolean;
    /** Whether it makes zeroes without data from memory (`queue/write_zeroes_max_bytes` is not 0). */
    readonly writeZeroes: boolean;
    /** Whether it writes through its volatile cache when a write says so (`queue/fua`). */
    readonly fua: boolean;
  };
  /** The points where it is mounted in this mount namespace. Mounts of its partitions and of its holders are not among them. */
  readonly mounts: readonly string[];
  /** Whether it is used as swap. Swap on its partitions does not count. */
  readonly swap: boolean;
  /** The paths of the devices on top of it, such as those of device-mapper and md. A loop device whose file is its node is not among them. */
  readonly holders: readonly string[];
  /** The backing file of a loop device, as the kernel names it; `null` for all else. */
  readonly backingFile: string | null;
  /** The partitions of a disk, in the order of their numbers. */
  readonly partitions: readonly BlockDeviceInfo[];
  /**
   * Whether the running system stands on it. The system stands on the file systems at `/`, `/usr`, `/var`, `/efi` and `/nix`, on those in
   * `/boot` and `/etc`, on the medium of a live system, and on swap in use. These are traced through partitions, device-mapper, md, members of
   * a btrfs, loop devices, swap files and overlays. File systems that do not name their devices (ZFS, and a container's root whose layers are
   * in another mount namespace) are not traced.
   */
  readonly system: boolean;
}

/**
 * Lists the block devices. Devices of no size are left out: loop devices without a file, drives without a medium, and others that are not
 * set up. Devices that the kernel hides are left out, too, such as the single paths of an NVMe namespace.
 *
 * @returns All devices that are no partition, in natural order of their names.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 * @throws {Deno.errors.NotFound} Without sysfs.
 */
export function listDevices(): BlockDeviceInfo[] {
  return looking("BlockDevice.list()", () => {
    const usage = readUsage();
    const system = systemDevices(usage);
    return diskFolders()
      .flatMap((folder) => infoOf(folder, usage, system) ?? [])
      .sort((a, b) => compareNames(a.name, b.name));
  });
}

/**
 * Reads a disk's partitions.
 *
 * @param number The disk's number.
 * @returns The partitions, in the order of their numbers; none when the disk is gone.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`.
 */
export function listPartitions(number: DeviceNumber): readonly BlockDeviceInfo[] {
  const folder = folderOf(number);
  if (folder === null) return [];
  const usage = readUsage();
  return infoOf(folder, usage, systemDevices(usage))?.partitions ?? [];
}

/**
 * Reads files of `/sys`, `/proc` and `/dev`.
 *
 * @param what The public call that reads them, for the error.
 * @param look Reads them.
 * @returns What `look` returned.
 * @throws {Deno.errors.NotCapable} Without `--allow-all`; there is no prompt for it.
 */
export function looking<T>(what: string, look: () => T): T {
  try {
    if (mayLook()) return look();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  throw new Deno.errors.NotCapable(
    `${what} reads /sys, /proc and /dev, which Deno opens with all permissions only; run again with --allow-all`,
  );
}

// Null for a device that is left out, and for a device that was removed after the folders were listed.
function infoOf(folder: string, usage: Usage, system: ReadonlySet<DeviceNumber>): BlockDeviceInfo | null {
  const number = numberOfFolder(folder);
  const sectors = numberAttribute(folder, "size") ?? 0;
  if (number === null || sectors === 0 || attribute(folder, "hidden") === "1") return null;
  const disk = diskOf(folder);
  const isAbove0 = (name: string) => (numberAttribute(disk, name) ?? 0) > 0;
  const logicalBlockSize = numberAttribute(disk, "queue/logical_block_size") ?? SECTOR_SIZE;
  return {
    name: nameOf(folder),
    path: pathOf(folder),
    number,
    type: typeOf(folder, disk),
    ...identityOf(disk),
    sectors,
    size: sectors * SECTOR_SIZE,
    start: numberAttribute(folder, "start") ?? 0,
    logicalBlockSize,
    physicalBlockSize: numberAttribute(disk, "queue/physical_block_size") ?? logicalBlockSize,
    removable: isAbove0("removable"),
    rotational: isAbove0("queue/rotational"),
    readOnly: attribute(folder, "ro") === "1",
    can: {
      discard: isAbove0("queue/discard_max_bytes"),
      writeZeroes: isAbove0("queue/write_zeroes_max_bytes"),
      fua: isAbove0("queue/fua"),
    },
    mounts: pointsOf(number, usage),
    swap: isSwap(number, usage),
    holders: linkedTo(folder, "holders").map(pathOf).sort(compareNames),
    backingFile: attribute(folder, "loop/backing_file"),
    partitions: partitionsOf(folder).flatMap((part) => infoOf(part, usage, system) ?? []),
    system: system.has(number),
  };
}

function typeOf(folder: string, disk: string): BlockDeviceInfo["type"] {
  if (folder !== disk) return "partition";
  if (attribute(folder, "loop/backing_file") !== null) return "loop";
  if (attribute(folder, "dm/name") !== null) return "dm";
  if (attribute(folder, "md/level") !== null) return "md";
  if (/^z?ram\d/.test(nameOf(folder))) return "ram";
  return numberAttribute(folder, "device/type") === TYPE_ROM ? "rom" : "disk";
}

function identityOf(disk: string): Pick<BlockDeviceInfo, "vendor" | "model" | "serial"> {
  const vendor = attribute(disk, "device/vendor");
  return {
    // A virtio device has a number as its vendor: "0x1af4".
    vendor: vendor === null || vendor === "" || vendor.startsWith("0x") ? null : vendor,
    // MMC cards have a name in place of a model.
    model: attribute(disk, "device/model") || attribute(disk, "device/name") || null,
    serial: serialOf(disk),
  };
}

/**
 * Compares names of block devices in natural order: numbers by their value (`sda2` before `sda10`), and the letters that count disks
 * by their number too (`sdz` before `sdaa`).
 *
 * @param a A name.
 * @param b Another.
 * @returns Below 0 when `a` comes first, above 0 when `b` does.
 */
export function compareNames(a: string, b: string): number {
  const [partsA, partsB] = [partsOf(a), partsOf(b)];
  for (let i = 0; i < Math.max(partsA.length, partsB.length); i++) {
    const [one = "", other = ""] = [partsA[i], partsB[i]];
    if (one === other) continue;
    // A longer run of digits or letters is a higher number.
    return (i > 0 && one.length - other.length) || (one < other ? -1 : 1);
  }
  return 0;
}

/** Drivers that count their disks in letters. */
const LETTERED = /^(sd|hd|vd|xvd|dasd)([a-z]+)/;

// Splits a name into the driver, the letters that count disks, the numbers and the text between them. The kernel pads no number with zeros.
function partsOf(name: string): string[] {
  const [lettered = "", driver = "", letters = ""] = LETTERED.exec(name) ?? [];
  const rest = name.slice(lettered.length).match(/\d+|\D+/g) ?? [];
  return lettered === "" ? rest : [driver, letters, ...rest];
}
