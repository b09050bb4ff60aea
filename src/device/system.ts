/**
 * Finds the block devices that the running system stands on.
 *
 * @module
 */

import { type Mount, mountAbove, type Usage } from "./mounts.ts";
import { attribute, type DeviceNumber, diskOf, folderOf, linkedTo, numberOfFolder } from "./sysfs.ts";

/** Mount points of the system. Mount points below them do not count. The last ones are the medium of a live system. */
const POINTS = new Set([
  "/",
  "/usr",
  "/var",
  "/efi",
  "/nix",
  "/nix/store",
  "/cdrom",
  "/run/live/medium",
  "/run/initramfs/live",
  "/run/archiso/bootmnt",
]);

/** Folders of the system: all mount points in them count. In a container, files in `/etc` are mounted from the system's disk. */
const FOLDERS = ["/boot", "/etc"];

/** The folders that an overlay lies on, in its options. */
const LAYERS = /(?:^|,)(?:lowerdir\+?|datadir\+?|upperdir)=((?:\\.|[^,\\])*)/g;

/**
 * Finds the block devices that the running system stands on. These are the devices of the file systems at its mount points, the devices of
 * the swap areas in use, and all devices below them: the disk of a partition, the slaves of device-mapper and md, the device that holds a
 * loop device's file or a swap file, the devices of an overlay's layers.
 *
 * @param usage The mounts and the swap areas.
 * @returns The numbers of these devices.
 */
export function systemDevices({ mounts, swaps }: Usage): ReadonlySet<DeviceNumber> {
  const found = new Set<DeviceNumber>();
  const seen = new Set<Mount>();

  const addDevice = (number: DeviceNumber): void => {
    if (found.has(number)) return;
    found.add(number);
    const folder = folderOf(number);
    if (folder === null) return;
    for (const below of [diskOf(folder), ...linkedTo(folder, "slaves")]) {
      const its = numberOfFolder(below);
      if (its !== null) addDevice(its);
    }
    const file = attribute(folder, "loop/backing_file");
    if (file !== null) addFile(file);
  };
  const addFile = (path: string): void => {
    const mount = mountAbove(mounts, path);
    if (mount !== null) addMount(mount);
  };
  const addMount = (mount: Mount): void => {
    if (seen.has(mount)) return;
    seen.add(mount);
    mount.devices.forEach(addDevice);
    if (mount.type === "overlay") layersOf(mount.options).forEach(addFile);
  };

  mounts.filter(({ point }) => isOfSystem(point)).forEach(addMount);
  for (const { path, device } of swaps) {
    if (device === null) addFile(path);
    else addDevice(device);
  }
  return found;
}

/** Whether a mount point is one of the system. */
export function isOfSystem(point: string): boolean {
  return POINTS.has(point) || FOLDERS.some((folder) => point === folder || point.startsWith(`${folder}/`));
}

/**
 * The folders that an overlay lies on.
 *
 * @param options The options of the mount. A backslash escapes a comma, a colon and itself.
 */
export function layersOf(options: string): string[] {
  return [...options.matchAll(LAYERS)].flatMap(([, folders = ""]) =>
    (folders.match(/(?:\\.|[^:\\])+/g) ?? []).map((folder) => folder.replace(/\\(.)/g, "$1"))
  );
}
