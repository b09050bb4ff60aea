/**
 * The rows of `--against`: the library of this checkout and of another one, on the same work.
 *
 * @module
 */
import { resolve, toFileUrl } from "@std/path";
import type { Contender, How } from "../contender.ts";
import type { Group, Row } from "../rows.ts";
import { perSecond, userMicroseconds, value } from "../sample.ts";
import type { TestBed } from "../test_bed.ts";
import { heapOf } from "./costs.ts";
import { read } from "./reading.ts";
import { write, writeByCallback } from "./writing.ts";

const THIS = "this";
const OTHER = "other";
const THREE = 3;

/** The library, from the checkout that `how` names. */
type Make = (name: string, how: How) => Contender;

/**
 * Every group of rows that compares two checkouts.
 *
 * @param directory Where the other checkout is.
 * @throws {RangeError} When it has no mod.ts.
 */
export function versus(bed: TestBed, directory: string): Group[] {
  const path = resolve(directory, "mod.ts");
  try {
    Deno.statSync(path);
  } catch (error) {
    throw new RangeError(
      `--against ${directory}: it takes a checkout with a mod.ts: ${(error as Error).message}`,
    );
  }
  const other = toFileUrl(path).href;
  const group = (rows: Row[], make: () => Promise<Make>): Group => ({
    rows,
    async contenders() {
      const contender = await make();
      return [contender(THIS, {}), contender(OTHER, { library: other })];
    },
  });
  return [
    group(rate("readsync-qd1", "4 KiB random reads, direct, readSync, on one CPU", "reads"), async () => {
      const path = await bed.device();
      return (name, how) => read(name, path, 1, { call: "readSync" }, { ...how, pinned: true });
    }),
    ...[1, 64].map((queueDepth) =>
      group(
        rate(
          `read-qd${queueDepth}`,
          `4 KiB random reads, direct, ${queueDepth} at a time${queueDepth === 1 ? ", on one CPU" : ""}`,
          "reads",
        ),
        async () => {
          const path = await bed.device();
          return (name, how) => read(name, path, queueDepth, {}, { ...how, pinned: queueDepth === 1 });
        },
      )
    ),
    ...[32, 128].map((queueDepth) =>
      group(
        rate(
          `mirror-qd${queueDepth}`,
          `One 4 KiB write to each of 3 devices, ${queueDepth} at a time`,
          "requests",
        ),
        async () => {
          const devices = await bed.writableDevices(THREE);
          return (name, how) => write(name, devices, { queueDepth }, how);
        },
      )
    ),
    group(rate("dm-io-qd32", "The same writes by dmIoAsyncVm, 32 at a time", "requests"), async () => {
      const devices = await bed.writableDevices(THREE);
      return (name, how) => writeByCallback(name, { devices, queueDepth: 32 }, how);
    }),
    group(
      [
        row("heap-read", "JS heap that a read allocates", "bytes", "less", value("read")),
        row("heap-write", "JS heap that a write to 3 devices allocates", "bytes", "less", value("write")),
      ],
      async () => {
        const devices = await bed.writableDevices(THREE);
        return (name, how) => heapOf(name, devices, how);
      },
    ),
  ];
}

/** A rate, and the user CPU time of a request: the library's own share, which other programs hardly move. */
function rate(name: string, title: string, requests: string): Row[] {
  return [
    row(name, title, `${requests}/s`, "more", perSecond),
    row(`${name}-user`, `User CPU of one: ${title}`, "us", "less", userMicroseconds),
  ];
}

function row(name: string, title: string, unit: string, better: Row["better"], figure: Row["figure"]): Row {
  return { name, title, unit, better, figure, comparisons: [{ of: THIS, against: OTHER }] };
}
