import { type Contender, lastLine } from "../contender.ts";
import { run } from "../program.ts";

/** The C programs of this folder, by name. */
export type CProgram = "mirror" | "read";

/** Builds a C program into a folder. @returns The program. @throws {Error} With what cc said. */
export async function build(name: CProgram, folder: string, signal: AbortSignal): Promise<string> {
  const program = `${folder}/${name}`;
  const source = new URL(`${name}.c`, import.meta.url).pathname;
  await run("cc", ["-O2", "-march=native", "-Wall", "-o", program, source, "-luring"], { signal });
  return program;
}

/**
 * mirror.c on the same mirrored writes.
 *
 * @param program Builds it, when it is first run.
 */
export function mirror(
  program: () => Promise<string>,
  work: { readonly devices: readonly string[]; readonly queueDepth: number; readonly bytes: number },
  missing?: string,
): Contender {
  return {
    name: "C with liburing",
    missing,
    async run({ warmUp, seconds }, signal) {
      const numbers = [work.queueDepth, work.bytes, warmUp, seconds].map(String);
      return lastLine((await run(await program(), [...numbers, ...work.devices], { signal })).stdout);
    },
  };
}

/**
 * read.c on the same random reads: what can be reached here at all.
 *
 * @param program Builds it, when it is first run.
 */
export function polledReads(
  name: string,
  program: () => Promise<string>,
  work: { readonly path: string; readonly direct: boolean; readonly queueDepth: number },
  missing?: string,
): Contender {
  return {
    name,
    missing,
    async run({ warmUp, seconds }, signal) {
      const { path, direct, queueDepth } = work;
      const args = [path, direct ? "1" : "0", ...[queueDepth, warmUp, seconds].map(String)];
      return lastLine((await run(await program(), args, { signal })).stdout);
    },
  };
}
