/**
 * The limits of a block device's request queue on discards and on writes of zeroes.
 *
 * @module
 */

import { type DeviceFacts, deviceNumberOf } from "./facts.ts";
import { diskOf, folderOf, mayLook, numberAttribute } from "./sysfs.ts";

/** The limits of a device. Each is in bytes; 0 when the device cannot do the operation; `null` when sysfs does not say. */
export interface DeviceLimits {
  /**
   * The most bytes of one discard (`queue/discard_max_bytes`). It is a multiple of `queue/discard_granularity`, the device's unit of
   * discards, so that a split at this limit cuts no unit in two.
   */
  readonly discardMaxBytes: number | null;
  /** The most bytes of one write of zeroes (`queue/write_zeroes_max_bytes`). */
  readonly writeZeroesMaxBytes: number | null;
}

const UNKNOWN: DeviceLimits = { discardMaxBytes: null, writeZeroesMaxBytes: null };

/**
 * The limits of a device, from sysfs. Those of a partition are its disk's.
 *
 * @param device The device.
 * @returns The limits; all `null` for a regular file, without sysfs, and without the permission `--allow-all`.
 */
export function limitsOf({ fd, isBlockDevice }: Pick<DeviceFacts, "fd" | "isBlockDevice">): DeviceLimits {
  if (!isBlockDevice) return UNKNOWN;
  try {
    const folder = mayLook() ? folderOf(deviceNumberOf(fd)) : null;
    if (folder === null) return UNKNOWN;
    const disk = diskOf(folder);
    const most = numberAttribute(disk, "queue/discard_max_bytes");
    const unit = numberAttribute(disk, "queue/discard_granularity") ?? 0;
    return {
      discardMaxBytes: most !== null && unit > 0 && most > unit ? most - most % unit : most,
      writeZeroesMaxBytes: numberAttribute(disk, "queue/write_zeroes_max_bytes"),
    };
  } catch {
    // No permission, or the device is gone.
    return UNKNOWN;
  }
}
