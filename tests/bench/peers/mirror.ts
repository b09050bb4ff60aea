import { type Contender, lastLine } from "../contender.ts";
import { run } from "../program.ts";

/** Builds mirror.c into a folder. @returns The program. @throws {Error} With what cc said. */
export async function buildMirror(folder: string, signal: AbortSignal): Promise<string> {
  const program = `${folder}/mirror`;
  const source = new URL("mirror.c", import.meta.url).pathname;
  await run("cc", ["-O2", "-march=native", "-Wall", "-o", program, source, "-luring"], { signal });
  return program;
}

/**
 * The C program on the same mirrored writes.
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
