import { type Contender, lastLine } from "../contender.ts";
import { argument, denoArgs, missing, run } from "../program.ts";

/** Random reads of one file. */
export interface FileWork {
  readonly path: string;
  readonly queueDepth: number;
  /** Whether past the page cache. */
  readonly direct?: boolean;
}

function reader(name: string, command: string, args: (work: object) => string[], work: FileWork): Contender {
  return {
    name,
    async run(timing, signal) {
      return lastLine((await run(command, args({ ...work, ...timing }), { signal })).stdout);
    },
  };
}

/** `node:fs` in Deno. */
export function nodeFsInDeno(work: FileWork): Contender {
  return reader("node:fs in Deno", Deno.execPath(), (w) => denoArgs("peers/read_loop.mjs", w), work);
}

/** `Deno.FsFile`. */
export function fsFile(work: FileWork): Contender {
  return reader("Deno.FsFile", Deno.execPath(), (w) => denoArgs("peers/fs_file.ts", w), work);
}

/** Why Node cannot run. Where it is not installed, Deno puts a `node` of its own on its children's path. */
export async function missingNode(signal: AbortSignal): Promise<string | undefined> {
  const without = await missing("node", signal);
  if (without !== undefined) return without;
  const { stdout } = await run("node", ["-p", "process.versions.deno"], { signal });
  return stdout.trim() === "undefined" ? undefined : "node is not installed";
}

/** Node's `fs`; libuv takes io_uring only when it is told to. */
export function node(work: FileWork, ioUring: boolean, missing?: string): Contender {
  const program = new URL("read_loop.mjs", import.meta.url).pathname;
  return {
    name: ioUring ? "Node, UV_USE_IO_URING=1" : "Node",
    missing,
    async run(timing, signal) {
      const env = { UV_USE_IO_URING: ioUring ? "1" : "0" };
      const args = [program, argument({ ...work, ...timing })];
      return lastLine((await run("node", args, { env, signal })).stdout);
    },
  };
}
