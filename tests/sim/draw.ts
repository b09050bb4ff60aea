/**
 * A request, drawn from the seed.
 *
 * @module
 */

import type { Disk } from "./disk.ts";
import type { Device } from "./library.ts";
import { lend, type PoolPages } from "./loan.ts";
import { Request, type Target } from "./model.ts";
import { Random } from "../../src/testing/random.ts";
import { LARGE } from "./shape.ts";
import type { World } from "./world.ts";

/** The first number of the streams that say whether a request searches for bad blocks. */
const LOCATE = 1e6;

/** A device that may be named. */
export interface Usable {
  readonly disk: Disk;
  readonly device: Device;
}

/** A request whose regions touch nothing that another writes; undefined when there is no place for one. */
export function drawRequest(
  world: World,
  tally: { requests: number },
  usable: readonly Usable[],
  pages: PoolPages,
  chance: Random,
): { request: Request; regions: Target[] } | undefined {
  const write = chance.chance(0.55);
  const regions = drawRegions(usable.filter(({ disk }) => !write || disk.writable), write, chance);
  if (regions.length === 0) return undefined;
  const bytes = Math.max(...regions.map((region) => region.count)) * 512;
  const loan = lend(bytes, pages, chance);
  const id = tally.requests++;
  // A stream of chance of its own, so that what a seed draws besides stays what it was.
  const locate = Random.of(world.seed, LOCATE + id).chance(0.5);
  const request = new Request(world, id, write, regions, loan, locate);
  const name = write ? "write " : "read  ";
  const places = () =>
    regions.map(({ disk, sector, count }) => `${disk.name} ${sector - disk.base}+${count}`);
  world.log(() => `${name} ${request.id}: ${loan.kind}, ${places().join(", ")}`);
  return { request, regions };
}

function drawRegions(usable: readonly Usable[], write: boolean, chance: Random): Target[] {
  const regions: Target[] = [];
  if (usable.length === 0) return regions;
  const wanted = !write ? 1 : chance.chance(0.1) ? chance.between(1, 64) : chance.between(1, 8);
  const most = write && wanted > 8 ? 8 : chance.chance(0.2) ? 8192 : 64;
  for (let i = 0; i < wanted; i++) {
    const { disk, device } = chance.pick(usable);
    const unit = disk.logicalBlockSize / 512;
    const limit = Math.min(most, disk.sectors) / unit;
    const whole = disk.sectors === LARGE && wanted <= 8 && chance.chance(0.3);
    const count = chance.chance(0.03)
      ? 0
      : (whole ? chance.below(LARGE / unit) : chance.skewed(1, limit)) * unit;
    if (count > disk.sectors) continue;
    const sector = disk.base + chance.below((disk.sectors - count) / unit + 1) * unit;
    if (!clashes(disk, write, sector, count, regions)) regions.push({ disk, bdev: device, sector, count });
  }
  return regions;
}

/** Whether a region overlaps a write, or is a write that overlaps anything: then nobody could say what must be there. */
function clashes(disk: Disk, write: boolean, sector: number, count: number, own: readonly Target[]): boolean {
  const from = (sector - disk.base) * 512;
  const to = from + count * 512;
  for (const claim of disk.claims) {
    if ((write || claim.write) && claim.from < to && from < claim.to) return true;
  }
  return own.some((region) =>
    region.disk === disk && region.sector < sector + count && sector < region.sector + region.count
  );
}
