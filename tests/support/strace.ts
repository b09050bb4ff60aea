/**
 * Running a program whose system calls fail, are late, or are counted.
 *
 * @module
 */

import type { Ended } from "./commands.ts";
import { programFolder, type ProgramOptions, runIn } from "./program.ts";

/** What to run under strace, and how. */
export interface StraceOptions extends ProgramOptions {
  /** The system calls to trace, as for `-e trace=`; those of `inject` have to be among them. */
  readonly trace: readonly string[];
  /** What to do to them, as for `-e inject=`: `io_uring_enter:error=EINTR:when=3+5`. One for each system call. */
  readonly inject?: readonly string[];
}

/** How the program ended, and what strace saw. */
export interface Traced extends Ended {
  /** One line for each system call: `1234 io_uring_enter(5, 1, ...) = -1 EINTR (Interrupted system call) (INJECTED)`. */
  readonly calls: readonly string[];
}

/**
 * Runs a program under `strace -f`.
 *
 * @param options See {@linkcode StraceOptions}.
 * @returns How the program ended, and the system calls traced.
 */
export async function runTraced(options: StraceOptions): Promise<Traced> {
  const { trace, inject = [] } = options;
  await using folder = await programFolder(options.source);
  const log = folder.join("strace.log");
  // Only with the filter does the program run at full speed between the calls that are traced.
  const strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-o", log];
  strace.push("-e", `trace=${trace.join(",")}`, ...inject.flatMap((rule) => ["-e", `inject=${rule}`]), "--");
  const ended = await runIn(folder, options, strace);
  let text = "";
  try {
    text = Deno.readTextFileSync(log);
  } catch (error) {
    throw new Error(`strace: ${ended.stderr.trim()}`, { cause: error });
  }
  return { ...ended, calls: text.split("\n").filter((line) => line !== "") };
}
