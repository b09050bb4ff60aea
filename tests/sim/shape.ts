/**
 * What a seed makes: the weather, the engine and the disks of one run.
 *
 * @module
 */

import { Disk, type Weather } from "./disk.ts";
import type { EngineShape } from "./engine.ts";
import { DEVICE, MEDIUM } from "./errno.ts";
import { Random } from "../../src/testing/random.ts";

/** Sectors of a disk so large that a region of it takes more than one SQE. */
export const LARGE = 8192;

/** What disks hold at first is a part of this. */
const CONTENTS = new Uint8Array(2 * LARGE * 512);
new Random(0).fill(CONTENTS);

/** Each fault is off in half of the runs, so that no fault hides another. */
function sometimes(chance: Random, most: number): number {
  return chance.chance(0.5) ? 0 : chance.next() / 4294967296 * most;
}

/** How often things go wrong. */
export function drawWeather(chance: Random): Weather {
  return {
    transient: sometimes(chance, 0.3),
    short: sometimes(chance, 0.5),
    glitch: sometimes(chance, 0.1),
    partialSubmit: sometimes(chance, 0.7),
    refusedSubmit: sometimes(chance, 0.5),
    spurious: sometimes(chance, 0.3),
    latency: chance.pick([20, 200, 2000, 20_000]),
  };
}

/** What the kernel offers. */
export function drawEngine(chance: Random): EngineShape {
  const capacity = chance.pick([1, 2, 3, 4, 8, 16, 32, 128]);
  const present = () => chance.chance(0.85);
  return {
    capacity,
    submissionEntries: chance.chance(0.5) ? capacity : chance.between(1, capacity),
    vectors: chance.pick([1024, 1025, 2048, 4096]),
    batch: chance.pick([1, 2, 16, 256]),
    tableEntries: chance.pick([1, 3, 16, 1024]),
    features: {
      engine: "io_uring",
      singleIssuer: true,
      deferTaskrun: true,
      coopTaskrun: true,
      fixedBuffers: present(),
      fixedFiles: present(),
      plainOpcodes: present(),
      extArg: present(),
    },
  };
}

/** The disks: some sound, some with bad blocks, some that hang, fail for a while, or have shrunk. */
export function drawDisks(chance: Random): Disk[] {
  const count = chance.between(1, 8);
  return Array.from({ length: count }, (_, i) => drawDisk(`disk${i}`, chance));
}

function drawDisk(name: string, chance: Random): Disk {
  const direct = chance.chance(0.7);
  const block = chance.pick([512, 512, 4096]);
  const sectors = chance.chance(0.02) ? LARGE : chance.pick([64, 256, 1024]);
  // Byte offsets beyond 2^32 and beyond 2^53 are as right as small ones.
  const base = chance.pick([0, 0, 0, 8 * 1048575, 2 ** 44 - 32, 2 ** 52]);
  const isBlockDevice = direct && chance.chance(0.7);
  const discards = chance.pick(["command", "command", "ioctl", "not"] as const);
  const first = chance.below(CONTENTS.length - sectors * 512) & ~3;
  const contents = CONTENTS.subarray(first, first + sectors * 512);
  const disk = new Disk(name, base, sectors, {
    logicalBlockSize: block,
    memoryAlignment: direct ? chance.pick([4, 512, block]) : 1,
    direct,
    writable: chance.chance(0.95),
    isBlockDevice,
    cache: chance.chance(0.8) ? "volatile" : "none",
    discards,
    zeroes: chance.pick(["range", "range", "ioctl", "not"] as const),
    holes: chance.chance(0.7),
    discardMaxBytes: !isBlockDevice
      ? null
      : discards === "not" && chance.chance(0.5)
      ? 0
      : chance.pick([null, 3 * block, 16 * block]),
  }, contents);
  const blocks = contents.length / block;
  const large = sectors === LARGE;
  const { store } = disk;
  if (large || chance.chance(0.3)) {
    for (let i = large ? 12 : chance.between(1, 4); i > 0; i--) {
      const from = chance.below(blocks) * block;
      const range = { from, to: from + block };
      if (chance.chance(0.8)) {
        store.bad.add({ ...range, errno: chance.pick(MEDIUM), writes: true, reads: false });
      }
      if (chance.chance(0.8)) {
        store.bad.add({ ...range, errno: chance.pick(MEDIUM), writes: false, reads: true });
      }
    }
  }
  if (chance.chance(0.1)) store.end = chance.below(blocks) * block;
  if (chance.chance(0.15)) disk.hangs.push(span(chance));
  if (chance.chance(0.2)) disk.outages.push({ ...span(chance), errno: chance.pick(DEVICE) });
  return disk;
}

/** When the power goes, in microseconds, and of which disks: some of them, or all at once. In three of ten runs it stays. */
export function drawCuts(disks: readonly Disk[], chance: Random): { at: number; disks: readonly Disk[] }[] {
  const cuts = chance.chance(0.3) ? 0 : chance.between(1, 4);
  return Array.from({ length: cuts }, () => ({
    at: chance.below(60_000),
    disks: chance.chance(0.5) ? disks : [chance.pick(disks)],
  }));
}

function span(chance: Random): { from: number; to: number } {
  const from = chance.below(50_000);
  return { from, to: from + chance.below(100_000) };
}
