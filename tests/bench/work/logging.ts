/**
 * The rows of the write-ahead log in examples/.
 *
 * @module
 */
import { type Contender, lastLine, library } from "../contender.ts";
import type { NodeFsLog } from "../peers/log_node_fs.ts";
import { denoArgs, run } from "../program.ts";
import type { Group } from "../rows.ts";
import { perSecond, type Timing } from "../sample.ts";
import type { TestBed } from "../test_bed.ts";
import type { Loads } from "../workloads/library.ts";
import type { LogAppend } from "../workloads/log_append.ts";

/** Bytes of a record. */
const BYTES = 128;
const BLOCKING = "node:fs, blocking calls";

function nodeFs(name: string, work: Omit<NodeFsLog, keyof Timing>): Contender {
  return {
    name,
    async run(timing, signal) {
      const args = denoArgs("peers/log_node_fs.ts", { ...work, ...timing });
      return lastLine((await run(Deno.execPath(), args, { signal })).stdout);
    },
  };
}

/** Durable appends, with group commit, on one device. */
export function logAppends(bed: TestBed, appenders: number, atLeast: number): Group {
  const [of, against] = ["dmio", "node:fs"];
  return {
    rows: [{
      name: `log-${appenders}`,
      title: `Durable appends of ${BYTES} bytes to a log, ${appenders} appender${appenders > 1 ? "s" : ""}`,
      unit: "records/s",
      better: "more",
      figure: perSecond,
      comparisons: [{ of, against, target: { atLeast } }, { of, against: BLOCKING }],
    }],
    async contenders() {
      const [path] = await bed.writableDevices(1);
      const work = { path: path!, appenders, bytes: BYTES };
      return [
        library<LogAppend & Loads>(of, "log_append.ts", work),
        nodeFs(against, { ...work, blocking: false }),
        nodeFs(BLOCKING, { ...work, blocking: true }),
      ];
    },
  };
}
