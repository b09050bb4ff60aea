/**
 * A request, drawn from the seed.
 *
 * @module
 */

import { Random } from "../../src/testing/random.ts";
import type { Disk, Kind } from "./disk.ts";
import type { Ledger } from "./ledger.ts";
import type { Device, How } from "./library.ts";
import { lend, noMemory, type PoolPages } from "./loan.ts";
import { Request, type Target } from "./model.ts";
import { LARGE } from "./shape.ts";
import type { World } from "./world.ts";

/** The first number of the streams that say how a request is carried out. */
const HOW = 1e6;

/** A device that may be named. */
export interface Usable {
  readonly disk: Disk;
  readonly ledger: Ledger;
  readonly device: Device;
}

/**
 * A request whose regions touch nothing that another writes; undefined when there is no place for one.
 *
 * @param more Whether the library has operations without data, and options.
 */
export function drawRequest(
  world: World,
  tally: { requests: number },
  usable: readonly Usable[],
  pages: PoolPages,
  more: boolean,
  chance: Random,
): { request: Request; regions: Target[] } | undefined {
  const kind = drawKind(more, chance);
  const able = usable.filter(({ disk }) => kind === "read" || kind === "flush" || disk.facts.writable);
  const regions = drawRegions(able, kind, chance);
  if (regions.length === 0) return undefined;
  const bytes = Math.max(...regions.map((region) => region.count)) * 512;
  const loan = kind === "read" || kind === "write" ? lend(bytes, pages, chance) : noMemory(chance);
  const id = tally.requests++;
  const how = drawHow(kind, more, Random.of(world.seed, HOW + id));
  const request = new Request(world, id, kind, regions, loan, how);
  const places = () =>
    regions.map(({ disk, sector, count }) => `${disk.name} ${sector - disk.base}+${count}`);
  const options = () => Object.entries(how).filter(([, on]) => on).map(([name]) => ` ${name}`).join("");
  world.log(() => `${kind.padEnd(7)} ${request.id}: ${loan.kind}${options()}, ${places().join(", ")}`);
  return { request, regions };
}

function drawKind(more: boolean, chance: Random): Kind {
  if (more && chance.chance(0.2)) return chance.pick(["flush", "flush", "zeroes", "discard"]);
  return chance.chance(0.55) ? "write" : "read";
}

function drawHow(kind: Kind, more: boolean, chance: Random): How {
  const locate = chance.chance(0.5);
  if (kind === "zeroes") return { unmap: chance.chance(0.3), fallback: chance.chance(0.8) };
  if (kind !== "read" && kind !== "write") return {};
  if (kind === "read" || !more) return { locate };
  return { locate, fua: chance.chance(0.25), preflush: chance.chance(0.15) };
}

function drawRegions(usable: readonly Usable[], kind: Kind, chance: Random): Target[] {
  const regions: Target[] = [];
  if (usable.length === 0) return regions;
  const wanted = kind === "read" ? 1 : chance.chance(0.1) ? chance.between(1, 64) : chance.between(1, 8);
  const most = kind !== "read" && wanted > 8 ? 8 : chance.chance(0.2) ? 8192 : 64;
  for (let i = 0; i < wanted; i++) {
    const { disk, device, ledger } = chance.pick(usable);
    const unit = disk.facts.logicalBlockSize / 512;
    const limit = Math.min(most, disk.sectors) / unit;
    const whole = disk.sectors === LARGE && wanted <= 8 && chance.chance(0.3);
    const count = chance.chance(0.03)
      ? 0
      : (whole ? chance.below(LARGE / unit) : chance.skewed(1, limit)) * unit;
    if (count > disk.sectors) continue;
    const sector = disk.base + chance.below((disk.sectors - count) / unit + 1) * unit;
    if (kind === "flush" || !clashes(disk, kind !== "read", sector, count, regions)) {
      regions.push({ disk, ledger, bdev: device, sector, count });
    }
  }
  return regions;
}

/** Whether a region overlaps a write, or is a write that overlaps anything: then nobody could say what must be there. */
function clashes(disk: Disk, write: boolean, sector: number, count: number, own: readonly Target[]): boolean {
  const from = (sector - disk.base) * 512;
  const to = from + count * 512;
  for (const claim of disk.claims) {
    if ((write || claim.kind !== "read") && claim.from < to && from < claim.to) return true;
  }
  return own.some((region) =>
    region.disk === disk && region.sector < sector + count && sector < region.sector + region.count
  );
}
