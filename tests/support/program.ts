/**
 * A Deno program in a process of its own, with a copy of the library and its examples beside it.
 *
 * @module
 */

import { type Ended, run } from "./commands.ts";
import { withEngine } from "./engine.ts";
import { Scratch } from "./scratch.ts";

const ROOT = new URL("../../", import.meta.url);
const LIBRARY = ["mod.ts", "ffi", "src", "examples"];

/** What to run, and how. */
export interface ProgramOptions {
  /** The program's source text. The library is beside it: `import { IoClient } from "./mod.ts"`. */
  readonly source: string;
  /** Whether it is a file of tests, for `deno test`. */
  readonly test?: boolean;
  /** Its arguments. */
  readonly args?: readonly string[];
  /** Deno's permissions (`-A`). */
  readonly permissions?: readonly string[];
  /** Variables to add to its environment. */
  readonly env?: Record<string, string>;
  /** Seconds after which it is killed, with exit code 137 (60). */
  readonly timeout?: number;
}

/**
 * Makes a folder with the library and a program in it.
 *
 * @param source The program.
 */
export async function programFolder(source: string): Promise<Scratch> {
  const folder = await Scratch.create();
  for (const name of LIBRARY) copy(new URL(name, ROOT), folder.join(name));
  const choose = folder.join("src/engine/choose.ts");
  Deno.writeTextFileSync(choose, withEngine(Deno.readTextFileSync(choose)));
  Deno.writeTextFileSync(folder.join("program.ts"), source);
  return folder;
}

/**
 * Runs the program of a {@linkcode programFolder}, in that folder.
 *
 * @param folder The folder.
 * @param options See {@linkcode ProgramOptions}.
 * @param wrapper A command, with its arguments, that runs the command after them.
 * @param deno The deno binary.
 */
export function runIn(
  folder: Scratch,
  options: ProgramOptions,
  wrapper: readonly string[] = [],
  deno = Deno.execPath(),
): Promise<Ended> {
  const { test = false, args = [], permissions = ["-A"], env = {}, timeout = 60 } = options;
  const flags = ["--quiet", "--no-prompt", "--no-config", "--no-lock", ...permissions];
  // Innermost, so that a wrapper which is killed cannot leave the program behind.
  const command = [
    "timeout",
    "--foreground",
    "-s",
    "KILL",
    `${timeout}`,
    deno,
    test ? "test" : "run",
    ...flags,
    "program.ts",
  ];
  return run([...wrapper, ...command, ...args], {
    cwd: folder.path,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...env },
  });
}

/**
 * Runs a program in a process of its own.
 *
 * @param options See {@linkcode ProgramOptions}.
 * @returns How it ended.
 */
export async function runProgram(options: ProgramOptions): Promise<Ended> {
  await using folder = await programFolder(options.source);
  return await runIn(folder, options);
}

function copy(from: URL, to: string): void {
  let isDirectory: boolean;
  try {
    ({ isDirectory } = Deno.statSync(from));
  } catch (error) {
    // A program that needs what is not there says so itself.
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!isDirectory) return Deno.copyFileSync(from, to);
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) copy(new URL(`${from.href}/${name}`), `${to}/${name}`);
}
