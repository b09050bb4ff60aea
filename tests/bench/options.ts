import { parseArgs } from "node:util";
import { WIDEST_SPREAD } from "./rows.ts";
import type { Timing } from "./sample.ts";

/** What `--help` prints. */
export const HELP = `deno task bench [options]

Measures dmio against fio, C with liburing, Deno, Node and dd, in turn, several pairs of rounds each, as root. It makes its
own devices: loop devices with direct I/O over files in memory, so that the software is the limit.

  --quick         a look in under a minute; without it the run takes up to 10 minutes
  --only NAME     only rows whose name contains NAME; may be repeated
  --list          print the names of the rows
  --against DIR   compare with the library of another checkout instead of the peers: both do the same work in turn,
                  shown as this : other, of rates, user CPU and heap bytes
  --device PATH   measure this device instead; may be repeated, the writing rows need three
  --overwrite     let the writing rows destroy what is on --device
  --pairs N       pairs of rounds: a pair runs each program twice, in mirrored order
  --seconds S     measured seconds of each program in a round
  --json FILE     write all figures to FILE, with kernel, CPU, versions and date
  --svg FILE      draw the figures to FILE
  --help          this text

A ratio is of two programs in the same pair; what is shown is the median of the pairs with the least and the
greatest. Beside a rate stands the CPU time of a request in microseconds, in user space and in the kernel.
Ratios that lie further apart than ${
  WIDEST_SPREAD * 100
}% of their median, and a ratio of one pair alone, are not judged. The last
line says what else the machine did: its load, and the CPU time that its host took (steal).
The exit code is 0 when every program ran, whatever was reached.
`;

/** What the command line asks for. */
export interface Options {
  readonly quick: boolean;
  readonly help: boolean;
  readonly list: boolean;
  readonly overwrite: boolean;
  readonly only: readonly string[];
  readonly devices: readonly string[];
  /** Pairs of rounds. */
  readonly pairs: number;
  readonly timing: Timing;
  /** Seconds after which the run comes to its end, with fewer pairs than planned. */
  readonly budget: number;
  /** Another checkout of the library. */
  readonly against?: string;
  readonly json?: string;
  readonly svg?: string;
}

const QUICK = { pairs: 1, warmUp: 0.2, seconds: 0.2, budget: 50 };
const FULL = { pairs: 4, warmUp: 0.4, seconds: 1, budget: 540 };

/** @throws {TypeError | RangeError} That says what is wrong with the command line. */
export function parse(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean" },
      help: { type: "boolean" },
      list: { type: "boolean" },
      overwrite: { type: "boolean" },
      only: { type: "string", multiple: true },
      device: { type: "string", multiple: true },
      pairs: { type: "string" },
      seconds: { type: "string" },
      against: { type: "string" },
      json: { type: "string" },
      svg: { type: "string" },
    },
  });
  const { quick = false, help = false, list = false, overwrite = false, only = [], device = [] } = values;
  const { against, json, svg } = values;
  const usual = quick ? QUICK : FULL;
  const pairs = positive("--pairs", values.pairs) ?? usual.pairs;
  if (!Number.isInteger(pairs)) throw new RangeError(`--pairs ${pairs}: it takes a whole number`);
  return {
    quick,
    help,
    list,
    overwrite,
    only,
    devices: device,
    pairs,
    // Who says how much to measure has the time.
    budget: values.pairs ?? values.seconds ? Infinity : usual.budget,
    timing: { warmUp: usual.warmUp, seconds: positive("--seconds", values.seconds) ?? usual.seconds },
    ...(against !== undefined && { against }),
    ...(json !== undefined && { json }),
    ...(svg !== undefined && { svg }),
  };
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!(number > 0 && number < Infinity)) throw new RangeError(`${name} ${text}: it takes a number above 0`);
  return number;
}
