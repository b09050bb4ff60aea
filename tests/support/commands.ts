/**
 * Running the system's own programs, and waiting with a bound.
 *
 * @module
 */

const text = new TextDecoder();

/** How a program ended. */
export interface Ended {
  /** Its exit code; 128 plus the signal's number when a signal ended it. */
  readonly code: number;
  /** What it wrote to standard output. */
  readonly stdout: string;
  /** What it wrote to standard error. */
  readonly stderr: string;
}

/**
 * Runs a program and waits for its end.
 *
 * @param command The program and its arguments.
 * @param options `env` adds variables; `cwd` is the folder to run in; `input` goes to its standard input.
 * @returns How it ended; a failure does not throw.
 */
export async function run(
  command: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; input?: Uint8Array } = {},
): Promise<Ended> {
  const { input, ...rest } = options;
  const [program = "", ...args] = command;
  // The programs' messages are matched by tests, so they come untranslated.
  const env = { ...rest.env, LC_ALL: "C" };
  const stdin = input === undefined ? "null" : "piped";
  const child = new Deno.Command(program, { args, ...rest, env, stdin, stdout: "piped", stderr: "piped" })
    .spawn();
  if (input !== undefined) {
    const writer = child.stdin.getWriter();
    // A program that ends before it has read its input has its own way of saying why.
    await writer.write(input).then(() => writer.close()).catch(() => {});
  }
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/**
 * Runs a program that has to succeed.
 *
 * @param command The program and its arguments.
 * @returns Its standard output, trimmed.
 * @throws {Error} When it fails, with what it wrote to standard error.
 */
export async function succeed(...command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit code ${code}: ${stderr.trim()}`);
  return stdout.trim();
}

/**
 * Waits until something holds, asking every few milliseconds.
 *
 * @param holds What has to hold.
 * @param milliseconds How long to wait at most.
 * @returns Whether it came to hold.
 */
export async function until(holds: () => boolean, milliseconds: number): Promise<boolean> {
  const end = performance.now() + milliseconds;
  for (let pause = 1; !holds(); pause = Math.min(pause * 2, 20)) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return true;
}

/**
 * Waits for a promise, but not for ever.
 *
 * @param promise What to wait for.
 * @param milliseconds How long to wait at most.
 * @returns Whether it settled in time.
 */
export async function settlesWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), milliseconds));
  const settled = promise.then(() => true, () => true);
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether a path is there.
 *
 * @param path A path.
 */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Sends a signal to a process that may have ended.
 *
 * @param pid The process.
 * @param signal The signal.
 */
export function signalIfAlive(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended, which is no reason to fail.
  }
}
