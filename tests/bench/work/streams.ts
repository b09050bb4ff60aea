/**
 * The rows of streams, against the direct calls and one copy a chunk.
 *
 * @module
 */
import { type Contender, type How, library } from "../contender.ts";
import type { Group } from "../rows.ts";
import { perSecond } from "../sample.ts";
import type { TestBed } from "../test_bed.ts";
import type { Stream, Way } from "../workloads/stream.ts";

const MIB = 1 << 20;
const THREE = 3;

function stream(way: Way, devices: readonly string[], bytes: number, how: How = {}): Contender {
  return library<Stream>(`dmio ${way}`, "stream.ts", { devices, bytes, way }, how);
}

/** A device as a stream: into the reader's memory, which is used again, and into new memory for each chunk. */
export function readableStream(bed: TestBed): Group {
  return {
    rows: [{
      name: "readable",
      title: "A device read as a stream in chunks of 1 MiB",
      unit: "MiB/s",
      better: "more",
      figure: perSecond,
      comparisons: [
        { of: "dmio readable, BYOB", against: "dmio read and set()", target: { atLeast: 0.8 } },
        { of: "dmio readable, default reader", against: "dmio read and slice()", target: { atLeast: 0.8 } },
      ],
    }],
    async contenders() {
      const devices = [await bed.device()];
      const ways: Way[] = [
        "readable, BYOB",
        "read and set()",
        "readable, default reader",
        "read and slice()",
      ];
      return ways.map((way) => stream(way, devices, MIB));
    },
  };
}

/** Three devices written by one stream. */
export function writableStream(bed: TestBed): Group {
  return {
    rows: [{
      name: "writable",
      title: "3 devices written by one stream in chunks of 1 MiB",
      unit: "MiB/s",
      better: "more",
      figure: (sample) => perSecond(sample) * THREE,
      comparisons: [{ of: "dmio writable", against: "dmio set() and write", target: { atLeast: 0.8 } }],
    }],
    async contenders() {
      const devices = await bed.writableDevices(THREE);
      return (["writable", "set() and write"] as const).map((way) => stream(way, devices, MIB));
    },
  };
}
