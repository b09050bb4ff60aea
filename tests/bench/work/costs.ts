/**
 * The rows about what the library costs besides time: heap, start, and the event loop it shares.
 *
 * @module
 */
import { type Contender, type How, library } from "../contender.ts";
import { responsiveness } from "../peers/echo_client.ts";
import { emptyDeno, firstRead } from "../peers/startup.ts";
import { bounded, type Group } from "../rows.ts";
import { value } from "../sample.ts";
import type { TestBed } from "../test_bed.ts";
import type { Heap } from "../workloads/heap.ts";

/** A young generation (MiB) for all that the program allocates between two collections of its own. */
const HEAP_FLAGS = "--v8-flags=--expose-gc,--min-semi-space-size=512,--max-semi-space-size=512";

/** The library on requests whose heap is measured. */
export function heapOf(name: string, devices: readonly string[], how: How = {}): Contender {
  return library<Heap>(name, "heap.ts", { devices }, { ...how, flags: [HEAP_FLAGS] });
}

/** Bytes that a request leaves to the garbage collector. */
export function heap(bed: TestBed): Group {
  const of = "dmio";
  const one = { unit: "bytes", of, atMost: 300 } as const;
  return {
    rows: [
      bounded({ ...one, name: "heap-read", title: "JS heap that a read allocates", value: "read" }),
      bounded({
        ...one,
        name: "heap-write",
        title: "JS heap that a write to 3 devices allocates",
        value: "write",
      }),
    ],
    async contenders() {
      return [heapOf(of, await bed.writableDevices(3))];
    },
  };
}

/** From nothing to the first read. */
export function startup(bed: TestBed): Group {
  return {
    rows: [{
      name: "first-read",
      title: "From the start of Deno over import of mod.ts to the first read",
      unit: "ms",
      better: "less",
      figure: value("milliseconds"),
      comparisons: [{
        of: "import, open, first read",
        against: "deno eval ''",
        by: "difference",
        target: { atMost: 25 },
      }],
    }],
    async contenders() {
      return [firstRead(await bed.device()), emptyDeno()];
    },
  };
}

/** Timers and sockets beside many reads. */
export function live(bed: TestBed): Group {
  const of = "64 reads at a time";
  const one = { unit: "ms", of } as const;
  return {
    rows: [
      bounded({
        ...one,
        name: "interval",
        title: "Lateness of a 10 ms interval beside random reads, p99",
        value: "intervalP99",
        atMost: 3,
      }),
      bounded({
        ...one,
        name: "echo",
        title: "Answer of an HTTP echo server in the same process, p99",
        value: "echoP99",
        atMost: 5,
      }),
    ],
    async contenders() {
      const path = await bed.device();
      return [responsiveness(of, path, 64), responsiveness("no reads", path, 0)];
    },
  };
}
