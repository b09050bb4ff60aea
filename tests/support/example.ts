/**
 * Programs of examples/, run as a reader runs them.
 *
 * @module
 */

import { BlockDevice } from "../../mod.ts";
import { run, until } from "./commands.ts";
import { ENGINE } from "./engine.ts";

const EXAMPLES = new URL("../../examples/", import.meta.url);
const FREE_MILLISECONDS = 10_000;

/** How a program ended, and what it had answered before. */
export interface Killed {
  /** The lines that it had printed. */
  readonly lines: readonly string[];
  /** The signal that ended it. */
  readonly signal: Deno.Signal | null;
}

/** The command that runs an example. */
function command(name: string, args: readonly string[]): string[] {
  const path = new URL(name, EXAMPLES).pathname;
  const preload = ENGINE === "threads" ? [`--preload=${new URL("engine.ts", import.meta.url).pathname}`] : [];
  return [Deno.execPath(), "run", "-A", "--quiet", ...preload, path, ...args];
}

/** Runs an example to its end. */
export function runExample(
  name: string,
  args: readonly string[],
  input: string | Uint8Array = "",
): Promise<{ code: number; stdout: string; stderr: string }> {
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  return run(command(name, args), { input: bytes, env: { NO_COLOR: "1" } });
}

/**
 * Starts an example, or another program by its path, and kills it by SIGKILL once it has printed so many lines.
 *
 * @param input Its standard input, which may have no end.
 * @param lines After how many lines. Those that it prints before the signal comes are given, too.
 * @param milliseconds How long after them.
 */
export async function killExample(
  name: string,
  args: readonly string[],
  input: Iterable<Uint8Array>,
  lines: number,
  milliseconds = 0,
): Promise<Killed> {
  const [program, ...rest] = command(name, args);
  const child = new Deno.Command(program!, { args: rest, stdin: "piped", stdout: "piped" }).spawn();
  const fed = ReadableStream.from(input).pipeTo(child.stdin).catch(() => {}); // the pipe ends with the program
  let text = "";
  let killed = false;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (killed || text.split("\n").length <= lines) continue;
    killed = true;
    setTimeout(() => child.kill("SIGKILL"), milliseconds);
  }
  const { signal } = await child.status;
  await fed;
  // The last line may be cut off.
  return { lines: text.split("\n").slice(0, -1), signal };
}

/** Waits until a device can be opened: the kernel ends the ring of a killed program in the background, and with it the hold on its devices. */
export async function untilFree(path: string): Promise<void> {
  const isFree = () => {
    try {
      void BlockDevice.open(path, { exclusive: true }).close();
      return true;
    } catch {
      return false;
    }
  };
  if (!await until(isFree, FREE_MILLISECONDS)) throw new Error(`${path} is still held`);
}
