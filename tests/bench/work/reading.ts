/**
 * The rows that read: direct, one and many at a time, and from the page cache.
 *
 * @module
 */
import { type Contender, type How, library } from "../contender.ts";
import { fsFile, missingNode, node, nodeFsInDeno } from "../peers/files.ts";
import { polledReads } from "../peers/c.ts";
import { fio, type FioWork } from "../peers/fio.ts";
import type { Group } from "../rows.ts";
import { corePercent, cpuPerMillion, perSecond } from "../sample.ts";
import { type TestBed, Unavailable } from "../test_bed.ts";
import type { RandomRead } from "../workloads/random_read.ts";

const BLOCK = 4096;

/** The library on random reads. */
export function read(
  name: string,
  path: string,
  queueDepth: number,
  options: Partial<RandomRead> = {},
  how: How = {},
): Contender {
  const work = { path, queueDepth, direct: true, poll: true, call: "read" as const, ...options };
  return library<RandomRead>(name, "random_read.ts", work, how);
}

function readFio(path: string, queueDepth: number, missing?: string, pinned = false): Contender[] {
  const work: FioWork = { devices: [path], rw: "randread", bytes: BLOCK, queueDepth, pinned };
  return [fio("fio, batched", "batched", work, missing), fio("fio, default flags", "default", work, missing)];
}

/** What a program that does nothing else reaches. */
const LIMIT = "C with liburing, polling";

async function limit(bed: TestBed, path: string, queueDepth: number, direct: boolean): Promise<Contender> {
  return polledReads(LIMIT, () => bed.program("read"), { path, direct, queueDepth }, await bed.missing("cc"));
}

/**
 * One read at a time, blocking and not. Each program stays on the same CPU: where one call at a time is made,
 * the scheduler's choice to move the caller or not weighs more than what the caller does.
 */
export function readOne(bed: TestBed): Group {
  return {
    rows: [{
      name: "read-qd1",
      title: "4 KiB random reads, direct, one at a time, on one CPU",
      unit: "reads/s",
      better: "more",
      figure: perSecond,
      comparisons: [
        { of: "dmio readSync", against: "fio, batched", target: { atLeast: 1.0 } },
        { of: "dmio read", against: "fio, batched", target: { atLeast: 0.6 } },
        { of: "dmio readSync", against: "fio, default flags" },
      ],
    }],
    async contenders() {
      const without = await bed.missing("taskset");
      if (without !== undefined) throw new Unavailable(without);
      const path = await bed.device();
      const how = { pinned: true };
      return [
        read("dmio readSync", path, 1, { call: "readSync" }, how),
        read("dmio read", path, 1, {}, how),
        ...readFio(path, 1, await bed.missing("fio"), how.pinned),
      ];
    },
  };
}

/** Many reads at a time: their rate and, at 64, what CPU they cost. */
export function readMany(bed: TestBed, queueDepth: number, atLeast: number): Group {
  const fast = {
    name: `read-qd${queueDepth}`,
    title: `4 KiB random reads, direct, ${queueDepth} at a time`,
    unit: "reads/s",
    better: "more",
    figure: perSecond,
    comparisons: [
      { of: "dmio read", against: "fio, batched", target: { atLeast } },
      { of: "dmio read", against: "fio, default flags" },
      { of: "dmio read, poll: false", against: "fio, batched" },
      { of: LIMIT, against: "fio, batched" },
    ],
  } as const;
  const cheap = {
    name: `cpu-qd${queueDepth}`,
    title: `CPU (user and system) for a million of these reads, ${queueDepth} at a time`,
    unit: "s",
    better: "less",
    figure: cpuPerMillion,
    comparisons: [
      { of: "dmio read", against: "fio, batched", target: { atMost: 2.0 } },
      { of: "dmio read, poll: false", against: "fio, batched", target: { atMost: 1.5 } },
    ],
  } as const;
  const most = queueDepth === 64;
  return {
    rows: most ? [fast, cheap] : [{ ...fast, comparisons: fast.comparisons.slice(0, 2) }],
    async contenders() {
      const path = await bed.device();
      return [
        read("dmio read", path, queueDepth),
        ...(most ? [read("dmio read, poll: false", path, queueDepth, { poll: false })] : []),
        ...readFio(path, queueDepth, await bed.missing("fio")),
        ...(most ? [await limit(bed, path, queueDepth, true)] : []),
      ];
    },
  };
}

/** A file that the page cache holds. */
export function pageCache(bed: TestBed): Group {
  const of = "dmio read";
  return {
    rows: [{
      name: "page-cache",
      title: "4 KiB random reads of a file from the page cache, 64 at a time",
      unit: "reads/s",
      better: "more",
      figure: perSecond,
      comparisons: [
        { of, against: "node:fs in Deno", target: { atLeast: 40 } },
        { of, against: "Deno.FsFile", target: { atLeast: 10 } },
        { of, against: "Node, UV_USE_IO_URING=1", target: { atLeast: 1.5 } },
        { of, against: "Node" },
        { of: LIMIT, against: "node:fs in Deno" },
        { of: LIMIT, against: "Deno.FsFile" },
        { of: LIMIT, against: "Node, UV_USE_IO_URING=1" },
      ],
    }],
    async contenders() {
      const work = { path: await bed.cachedFile(), queueDepth: 64 };
      const noNode = await missingNode(AbortSignal.timeout(5000));
      return [
        read("dmio read", work.path, work.queueDepth, { direct: false }),
        nodeFsInDeno(work),
        fsFile(work),
        node(work, false, noNode),
        node(work, true, noNode),
        await limit(bed, work.path, work.queueDepth, false),
      ];
    },
  };
}

/** Without io_uring: what the library does then, against what a program of Deno's own would, 64 at a time. */
export function withoutIoUring(bed: TestBed, direct: boolean): Group {
  const of = "dmio read, by threads";
  return {
    rows: [{
      name: direct ? "threads-direct" : "threads-page-cache",
      title: `4 KiB random reads without io_uring, ${
        direct ? "direct" : "of a file from the page cache"
      }, 64 at a time`,
      unit: "reads/s",
      better: "more",
      figure: perSecond,
      comparisons: [
        { of, against: "node:fs in Deno", target: { atLeast: 1.0 } },
        { of, against: "dmio read" },
      ],
    }],
    async contenders() {
      const path = direct ? await bed.device() : await bed.cachedFile();
      const work = { path, queueDepth: 64, direct };
      return [
        read(of, path, work.queueDepth, { direct, engine: "threads" }),
        read("dmio read", path, work.queueDepth, { direct }),
        nodeFsInDeno(work),
      ];
    },
  };
}

/** A device that makes the program wait. */
export function slowDevice(bed: TestBed): Group {
  return {
    rows: [{
      name: "slow-device",
      title: "CPU that waits for a device of 2 ms, one read at a time",
      unit: "% of a core",
      better: "less",
      figure: corePercent,
      comparisons: [{
        of: "dmio read",
        against: "fio, default flags",
        by: "difference",
        target: { atMost: 5 },
      }],
    }],
    async contenders() {
      const path = await bed.slowDevice();
      return [read("dmio read", path, 1), readFio(path, 1, await bed.missing("fio"))[1]!];
    },
  };
}
