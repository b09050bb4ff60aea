/**
 * Serial numbers of disks, in sysfs.
 *
 * @module
 */

import { attribute, unlessMissing } from "./sysfs.ts";

/** Bytes before the number in a SCSI device's page of vital product data. The last two of them are the number's length. */
const VPD_HEADER = 4;

/**
 * The serial number of a disk. virtio, NVMe and MMC have an attribute; SCSI and SATA disks have a page of vital product data; for a USB
 * stick, often the USB device alone has a number.
 *
 * @param disk The folder of a disk, without a link in its path.
 * @returns The number; `null` when the disk reports none.
 */
export function serialOf(disk: string): string | null {
  return attribute(disk, "serial") || attribute(disk, "device/serial") || ofUnitSerialNumber(disk) ||
    ofUsb(disk);
}

function ofUnitSerialNumber(disk: string): string | null {
  const page = unlessMissing(() => Deno.readFileSync(`${disk}/device/vpd_pg80`));
  return page === null ? null : parseUnitSerialNumber(page);
}

/**
 * Reads the page 0x80 of a SCSI device's vital product data (SPC: Unit Serial Number).
 *
 * @param page The page.
 * @returns The number, without the spaces and NULs around it.
 */
export function parseUnitSerialNumber(page: Uint8Array): string {
  const length = ((page[2] ?? 0) << 8) | (page[3] ?? 0);
  return new TextDecoder().decode(page.subarray(VPD_HEADER, VPD_HEADER + length)).replaceAll("\0", "").trim();
}

// A disk's real path leads through the folder of its USB device, which alone has an attribute `idVendor`.
function ofUsb(disk: string): string | null {
  if (!disk.includes("/usb")) return null;
  for (let at = disk.lastIndexOf("/"); at > 0; at = disk.lastIndexOf("/", at - 1)) {
    const folder = disk.slice(0, at);
    if (attribute(folder, "idVendor") !== null) return attribute(folder, "serial") || null;
  }
  return null;
}
