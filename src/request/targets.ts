/**
 * Arguments that become regions: the devices of a flush, and the block and regions of a `writeSame`.
 *
 * @module
 */

import { describe } from "../check.ts";
import { BlockDevice, SECTOR_SIZE } from "../device/device.ts";
import { Repeated } from "../memory/memory.ts";
import { write } from "../op/write.ts";
import { writeZeroes } from "../op/write_zeroes.ts";
import type { Operation } from "../schedule/io.ts";
import type { CheckedOptions } from "./options.ts";
import type { IoRegion } from "./region.ts";

/** The longest block of a `writeSame`: no logical block is longer (ZFS). */
const MOST_BLOCK = 16 << 20;
/** Copies of the block are joined up to about this many bytes, so that an SQE names few iovecs. */
const PATTERN = 1 << 20;

/**
 * The regions of a flush.
 *
 * @param targets Devices, or regions.
 * @returns Regions: for a device, a region of 0 sectors.
 * @throws {TypeError} When `targets` is no array.
 */
export function flushed(targets: readonly (BlockDevice | IoRegion)[]): readonly IoRegion[] {
  if (!Array.isArray(targets)) {
    throw new TypeError(`targets is ${describe(targets)}; it must be an array of devices or regions`);
  }
  return targets.map((target) =>
    target instanceof BlockDevice ? { bdev: target, sector: 0, count: 0 } : target
  );
}

/** The request of a `writeSame`: a write of the repeated block, or a write of zeroes, which has no memory. */
export interface Same {
  readonly op: Operation;
  readonly regions: readonly IoRegion[];
  readonly memory: Repeated | null;
  readonly options: CheckedOptions | undefined;
}

/**
 * Makes the request of a `writeSame`.
 *
 * @param regions The regions.
 * @param block The block.
 * @param options Options of a write.
 * @returns A write of the block, repeated; or a write of zeroes.
 * @throws {TypeError} When the block is no `Uint8Array`.
 * @throws {RangeError} For a block that is no whole number of sectors, and a region that is no whole number of blocks.
 */
export function sameOf(
  regions: readonly IoRegion[],
  block: Uint8Array,
  options: CheckedOptions | undefined,
): Same {
  if (!(block instanceof Uint8Array)) {
    throw new TypeError(`block is ${describe(block)}; it must be a Uint8Array`);
  }
  const { length } = block;
  if (length === 0 || length % SECTOR_SIZE !== 0 || length > MOST_BLOCK) {
    throw new RangeError(
      `block has ${length} bytes; it must be a multiple of ${SECTOR_SIZE}, from ${SECTOR_SIZE} to ${MOST_BLOCK}`,
    );
  }
  const copies = wholeBlocks(regions, length / SECTOR_SIZE);
  const durable = options !== undefined && (options.fua === true || options.preflush === true);
  if (!durable && block.every((byte) => byte === 0)) {
    return { op: writeZeroes, regions: copies, memory: null, options };
  }
  const bytes = new Uint8Array(length * Math.max(Math.floor(PATTERN / length), 1));
  for (let at = 0; at < bytes.length; at += length) bytes.set(block, at);
  return { op: write, regions: copies, memory: new Repeated(bytes), options };
}

// Copies the regions, so that each property is read once. A value that is no region is refused later, by `checkRegions`.
function wholeBlocks(regions: readonly IoRegion[], sectors: number): readonly IoRegion[] {
  if (!Array.isArray(regions)) return regions;
  return regions.map((region, i) => {
    if (typeof region !== "object" || region === null || Array.isArray(region)) return region;
    const { bdev, sector, count } = region;
    if (Number.isSafeInteger(count) && count % sectors !== 0) {
      throw new RangeError(
        `regions[${i}].count is ${count}; it must be a multiple of ${sectors} sectors, the block`,
      );
    }
    return { bdev, sector, count };
  });
}
