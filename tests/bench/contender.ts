import { denoArgs, run } from "./program.ts";
import type { Sample, Timing } from "./sample.ts";

/** One program on a row's work: the library in one of its forms, or a peer. */
export interface Contender {
  /** As the table shows it. */
  readonly name: string;
  /** Why it cannot run here; a plain note takes its place in the table. */
  readonly missing?: string | undefined;
  /** Does the work once, in a process of its own. */
  run(timing: Timing, signal: AbortSignal): Promise<Sample>;
}

/** The library: a program of workloads/, with its work as the one argument. */
export function library<Work extends object>(
  name: string,
  file: string,
  work: Omit<Work, keyof Timing>,
): Contender {
  return {
    name,
    async run(timing, signal) {
      const args = denoArgs(`workloads/${file}`, { ...work, ...timing });
      return lastLine((await run(Deno.execPath(), args, { signal })).stdout);
    },
  };
}

/** The sample that a program printed last. */
export function lastLine(stdout: string): Sample {
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}
