/**
 * The rows that write to three devices.
 *
 * @module
 */
import { type Contender, type How, library } from "../contender.ts";
import { dd } from "../peers/dd.ts";
import { fio, type FioWork } from "../peers/fio.ts";
import { mirror } from "../peers/c.ts";
import type { Group } from "../rows.ts";
import { perSecond, type Sample, type Timing } from "../sample.ts";
import type { TestBed } from "../test_bed.ts";
import type { DmIoWrite } from "../workloads/dm_io_write.ts";
import type { Loads } from "../workloads/library.ts";
import type { MirroredWrite } from "../workloads/mirrored_write.ts";

const BLOCK = 4096;
const MIB = 1 << 20;
const THREE = 3;

/** The library on writes to several devices. */
export function write(
  name: string,
  devices: readonly string[],
  options: Partial<MirroredWrite>,
  how: How = {},
): Contender {
  const work = {
    devices,
    queueDepth: 32,
    regions: devices.length,
    bytes: BLOCK,
    order: "random" as const,
    memory: "pool" as const,
    ...options,
  };
  return library<MirroredWrite>(name, "mirrored_write.ts", work, how);
}

/** The library by the kernel's own function. */
export function writeByCallback(
  name: string,
  work: Omit<DmIoWrite, keyof (Timing & Loads)>,
  how: How = {},
): Contender {
  return library<DmIoWrite>(name, "dm_io_write.ts", work, how);
}

/** Small writes to a random place of each device. */
export function mirroredWrites(bed: TestBed, queueDepth: number): Group {
  const against = "C with liburing";
  return {
    rows: [{
      name: `mirror-qd${queueDepth}`,
      title: `One 4 KiB write to each of 3 devices a request, ${queueDepth} requests at a time`,
      unit: "requests/s",
      better: "more",
      figure: perSecond,
      comparisons: [
        { of: "dmio write", against, target: { atLeast: 1.0 } },
        { of: "dmio dmIoAsyncVm", against, target: { atLeast: 0.9 } },
        { of: "dmio write, memory that is copied", against },
      ],
    }],
    async contenders() {
      const devices = await bed.writableDevices(THREE);
      return [
        write("dmio write", devices, { queueDepth }),
        writeByCallback("dmio dmIoAsyncVm", { devices, queueDepth }),
        write("dmio write, memory that is copied", devices, { queueDepth, memory: "ordinary" }),
        mirror(() => bed.program("mirror"), { devices, queueDepth, bytes: BLOCK }, await bed.missing("cc")),
      ];
    },
  };
}

/** Large writes, one after the other. */
export function sequentialWrites(bed: TestBed): Group {
  /** Requests at a time; fio gets as many regions. */
  const queueDepth = 4;
  const of = "dmio write";
  return {
    rows: [{
      name: "sequential",
      title: "Sequential writes of 1 MiB to 3 devices",
      unit: "MiB/s",
      better: "more",
      figure: (sample) => perSecond(sample) * THREE,
      comparisons: [
        { of, against: "3 dd oflag=direct at once", target: { atLeast: 1.2 } },
        { of, against: "fio, batched", target: { atLeast: 1.0 } },
      ],
    }],
    async contenders() {
      const devices = await bed.writableDevices(THREE);
      const single: FioWork = { devices, rw: "write", bytes: MIB, queueDepth: queueDepth * THREE };
      const peer = fio("fio, batched", "batched", single, await bed.missing("fio"));
      return [
        write("dmio write", devices, { queueDepth, bytes: MIB, order: "sequential" }),
        dd(devices, MIB, Math.floor(await bed.smallest(devices) / MIB), await bed.missing("dd")),
        {
          ...peer,
          // fio counts each device's write for itself.
          run: async (...how) => {
            const sample = await peer.run(...how);
            return { ...sample, operations: sample.operations / THREE };
          },
        },
      ];
    },
  };
}

/** Whether a region costs more when a request has many. */
export function regionsPerRequest(bed: TestBed): Group {
  const name = (regions: number) => `${regions} regions a request`;
  /** As many regions in flight, whatever the request holds. */
  const inFlight = 192;
  return {
    rows: [{
      name: "regions",
      title: `Time of one 4 KiB region of a write, ${inFlight} regions in flight`,
      unit: "us",
      better: "less",
      figure: (sample) => 1e6 / perSecond(sample) / sample.values!.regions!,
      comparisons: [8, 32, 64].map((n) => ({ of: name(n), against: name(3), target: { atMost: 1.1 } })),
    }],
    async contenders() {
      const devices = await bed.writableDevices(THREE);
      return [3, 8, 32, 64].map((regions) => {
        const contender = write(name(regions), devices, { regions, queueDepth: inFlight / regions });
        return {
          ...contender,
          run: async (...how): Promise<Sample> => ({ ...await contender.run(...how), values: { regions } }),
        };
      });
    },
  };
}
