/**
 * Programs that the benchmark runs: each one a process of its own, none left behind.
 *
 * @module
 */

/** What programs say is read by this one: no translations, no colours. */
const PLAIN = { LC_ALL: "C", NO_COLOR: "1" };

/** What a program printed before it ended well. */
export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run a program. */
export interface RunOptions {
  readonly env?: Record<string, string>;
  /** Kills the program. */
  readonly signal: AbortSignal;
  /** Keeps the program on one CPU, by taskset; the same one for all programs. */
  readonly pinned?: boolean;
}

/** Of the CPUs that this process may use, the last: the first one serves most interrupts. */
export function pinnedCpu(status = Deno.readTextFileSync("/proc/self/status")): string {
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return allowed.split(/[,-]/).at(-1)!;
}

/** How to start a Deno program that stands beside this module. */
export function denoArgs(file: string, work: unknown, ...flags: string[]): string[] {
  return ["run", "-A", "--quiet", ...flags, new URL(file, import.meta.url).pathname, argument(work)];
}

/** A program's one argument: text as it is, anything else as JSON. */
export function argument(work: unknown): string {
  return typeof work === "string" ? work : JSON.stringify(work);
}

/**
 * Runs a program to its end.
 *
 * @throws {Error} With what it wrote to stderr, when it does not end with 0; `cause` is its command line.
 */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<Output> {
  const line = options.pinned ? ["taskset", "-c", pinnedCpu(), command, ...args] : [command, ...args];
  const { code, signal, stdout, stderr } = await new Deno.Command(line[0]!, {
    args: line.slice(1),
    env: { ...options.env, ...PLAIN },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: options.signal,
  }).output();
  const text = new TextDecoder();
  const output = { stdout: text.decode(stdout), stderr: text.decode(stderr) };
  if (code !== 0) throw failure(command, args, signal ?? `code ${code}`, output);
  return output;
}

/** Whether a command can be found, or why not. */
export async function missing(command: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    await run(command, ["--version"], { signal });
    return undefined;
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? `${command} is not installed` : undefined;
  }
}

/** The first lines of what the program said tell why; its command line tells how to see the rest. */
function failure(command: string, args: readonly string[], how: string, output: Output): Error {
  const said = (output.stderr.trim() || output.stdout.trim()).split("\n").slice(0, 3).join(" ");
  return new Error(`ended with ${how}: ${said}`, { cause: [command, ...args].join(" ") });
}
