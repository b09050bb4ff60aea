import { denoArgs, run } from "./program.ts";
import type { Sample, Timing } from "./sample.ts";
import type { Loads } from "./workloads/library.ts";

/** One program on a row's work: the library in one of its forms, or a peer. */
export interface Contender {
  /** As the table shows it. */
  readonly name: string;
  /** Why it cannot run here; a plain note takes its place in the table. */
  readonly missing?: string | undefined;
  /** Does the work once, in a process of its own. */
  run(timing: Timing, signal: AbortSignal): Promise<Sample>;
}

/** The library of this checkout. */
const OWN = new URL("../../mod.ts", import.meta.url).href;

/** How a program of workloads/ is run. */
export interface How {
  /** URL of another checkout's mod.ts, to be run instead of this one's. */
  readonly library?: string;
  /** Whether it stays on one CPU, as its peer does. */
  readonly pinned?: boolean;
  /** Options of Deno. */
  readonly flags?: readonly string[];
}

/** The library: a program of workloads/, with its work as the one argument. */
export function library<Work extends Loads>(
  name: string,
  file: string,
  work: Omit<Work, keyof (Timing & Loads)>,
  { library = OWN, pinned = false, flags = [] }: How = {},
): Contender {
  return {
    name,
    async run(timing, signal) {
      const args = denoArgs(`workloads/${file}`, { ...work, library, ...timing }, ...flags);
      return lastLine((await run(Deno.execPath(), args, { signal, pinned })).stdout);
    },
  };
}

/** The sample that a program printed last. */
export function lastLine(stdout: string): Sample {
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}
