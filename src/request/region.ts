/**
 * Regions: a run of sectors on a device, and the checks that a caller's regions must pass.
 *
 * @module
 */

import { describe, integerMessage } from "../check.ts";
import { BlockDevice, SECTOR_SIZE } from "../device/device.ts";
import { MAX_REGIONS, type Operation } from "../schedule/io.ts";

/** A run of sectors on a device (`struct dm_io_region`). */
export interface IoRegion {
  /** The device. */
  bdev: BlockDevice;
  /** The first sector, of 512 bytes. */
  sector: number;
  /** How many sectors. A region of 0 sectors is skipped. */
  count: number;
}

/** Receives checked regions. */
export interface RegionSink {
  /** Adds a region. */
  addRegion(bdev: BlockDevice, sector: number, count: number): void;
}

/**
 * Checks regions before any I/O.
 *
 * @param where The regions. Each property is read once, so that what was checked is what is used.
 * @param op The operation.
 * @param request Receives each checked region.
 * @returns Bytes of the longest region.
 * @throws {TypeError} For what is no region, a closed device, or one that was not opened for writing.
 * @throws {RangeError} For no region or more than 64, a sector or count that is no sector number, past the device's end, or off
 * the logical blocks of a direct device.
 */
export function checkRegions(
  where: readonly IoRegion[],
  op: Operation,
  request: RegionSink,
): number {
  if (!Array.isArray(where)) throw new TypeError(`regions is ${describe(where)}; it must be an array`);
  const { length } = where;
  if (length < 1 || length > MAX_REGIONS) {
    throw new RangeError(`regions holds ${length} regions; a request takes 1 to ${MAX_REGIONS}`);
  }
  if (length > op.mostRegions) {
    throw new RangeError(
      `regions holds ${length} regions; a ${op.name} takes ${op.mostRegions}, as its memory can hold only one`,
    );
  }
  let longest = 0;
  for (let i = 0; i < length; i++) {
    const region = where[i]!;
    if (typeof region !== "object" || region === null || Array.isArray(region)) {
      throw new TypeError(`regions[${i}] is ${describe(region)}; it must be { bdev, sector, count }`);
    }
    const { bdev, sector, count } = region;
    checkRegion(bdev, sector, count, i, op);
    request.addRegion(bdev, sector, count);
    if (count > longest) longest = count;
  }
  return longest * SECTOR_SIZE;
}

function checkRegion(bdev: BlockDevice, sector: number, count: number, i: number, op: Operation): void {
  if (!(bdev instanceof BlockDevice)) {
    throw new TypeError(`regions[${i}].bdev is ${describe(bdev)}; it must be a BlockDevice`);
  }
  if (bdev.closed) throw new TypeError(`regions[${i}].bdev is ${bdev.path}, which is closed`);
  if (op.writes && !bdev.writable) {
    throw new TypeError(
      `regions[${i}].bdev is ${bdev.path}, which is open for reading only; open it with write: true`,
    );
  }
  checkSectors(sector, i, "sector", bdev.sectors);
  checkSectors(count, i, "count", bdev.sectors);
  if (sector + count > bdev.sectors) {
    throw new RangeError(
      `regions[${i}]: sector ${sector} and count ${count} end at ${
        sector + count
      }; ${bdev.path} has ${bdev.sectors} sectors` +
        unitHint(sector, count, bdev.sectors),
    );
  }
  const block = bdev.logicalBlockSize / SECTOR_SIZE;
  const whole = bdev.direct || op.clears && bdev.isBlockDevice;
  if (whole && block > 1 && (sector % block !== 0 || count % block !== 0)) {
    const why = op.clears ? `as a ${op.name} needs whole blocks` : "which is open for direct I/O";
    throw new RangeError(
      `regions[${i}]: sector ${sector} or count ${count} is no multiple of ${block} sectors, the logical block of ` +
        `${bdev.path}, ${why}`,
    );
  }
}

// A hint for numbers past the device's end that would lie on the device in bytes: the caller probably meant bytes.
function unitHint(sector: number, count: number, sectors: number): string {
  const [sectorOfBytes, countOfBytes] = [sector / SECTOR_SIZE, count / SECTOR_SIZE];
  const fits = (first: number, many: number) =>
    Number.isInteger(first) && Number.isInteger(many) && first + many <= sectors;
  const unit = `; sectors are of ${SECTOR_SIZE} bytes: `;
  if (fits(sector, countOfBytes)) return `${unit}${count} bytes are count ${countOfBytes}`;
  if (fits(sectorOfBytes, count)) return `${unit}byte ${sector} is in sector ${sectorOfBytes}`;
  if (!fits(sectorOfBytes, countOfBytes)) return "";
  return `${unit}${count} bytes from byte ${sector} on are sector ${sectorOfBytes}, count ${countOfBytes}`;
}

function checkSectors(value: number, i: number, name: string, bound: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  const message = integerMessage(`regions[${i}].${name}`, value, 0, bound);
  throw typeof value === "number" ? new RangeError(message) : new TypeError(message);
}
