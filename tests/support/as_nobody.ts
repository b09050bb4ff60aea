/**
 * Running a program as a user who may do nothing.
 *
 * @module
 */

import { type Ended, succeed } from "./commands.ts";
import { programFolder, type ProgramOptions, runIn } from "./program.ts";
import type { Scratch } from "./scratch.ts";

/** User ids that no account has and no service is given. */
const FIRST_UID = 3_000_000;
const UIDS = 1_000_000;

/** What to run as nobody, and how. */
export interface AsNobodyOptions extends ProgramOptions {
  /** Bytes of memory that may be locked, `RLIMIT_MEMLOCK` (that of this process). */
  readonly memlock?: number;
  /** Other limits: what `prlimit(1)` takes, such as `--nofile=64:64`. */
  readonly limits?: readonly string[];
}

/**
 * Runs a program as a user without rights or capabilities, in a folder that is the user's own. The user id is
 * another one each time: the kernel counts the memory that a user's rings lock over all processes of that user.
 *
 * @param options See {@linkcode AsNobodyOptions}.
 * @returns How it ended.
 */
export async function runAsNobody(options: AsNobodyOptions): Promise<Ended> {
  const { memlock, limits = [] } = options;
  await using folder = await programFolder(options.source);
  const deno = reachableDeno(folder);
  const uid = `${FIRST_UID + Math.floor(Math.random() * UIDS)}`;
  await succeed("chown", "-R", `${uid}:${uid}`, folder.path);
  const limit = memlock === undefined ? [] : [`--memlock=${memlock}:${memlock}`];
  const wrapper = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--no-new-privs", "--"];
  // Raising a limit takes root, so the limits come first.
  if (limit.length + limits.length > 0) wrapper.unshift("prlimit", ...limit, ...limits, "--");
  const env = { HOME: folder.path, DENO_DIR: folder.join("deno"), ...options.env };
  return await runIn(folder, { ...options, env }, wrapper, deno);
}

/** The deno binary, or a copy of it when it lies in a folder that is closed to others. */
function reachableDeno(folder: Scratch): string {
  const path = Deno.realPathSync(Deno.execPath());
  for (let at = path; at !== ""; at = at.slice(0, at.lastIndexOf("/"))) {
    if (((Deno.statSync(at).mode ?? 0) & 0o001) !== 0) continue;
    const copy = folder.join("deno-binary");
    Deno.copyFileSync(path, copy);
    Deno.chmodSync(copy, 0o755);
    return copy;
  }
  return path;
}
