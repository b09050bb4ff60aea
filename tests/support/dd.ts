/**
 * Direct I/O by `dd`, so that the devices can be tried without the library.
 *
 * @module
 */

import { run } from "./commands.ts";

/**
 * Reads with `O_DIRECT`.
 *
 * @param path A device or file.
 * @param offset In bytes.
 * @param length In bytes.
 * @param to A file that exists and gets the bytes.
 * @returns The error's text, or "" when every byte came.
 */
export async function directRead(
  path: string,
  offset: number,
  length: number,
  to = "/dev/null",
): Promise<string> {
  const flags = ["iflag=direct,skip_bytes", `skip=${offset}`, `bs=${length}`, "count=1"];
  return failure(await run(["dd", `if=${path}`, `of=${to}`, ...flags]), length);
}

/**
 * Writes with `O_DIRECT`.
 *
 * @param path A device or file that exists.
 * @param offset In bytes.
 * @param data The bytes.
 * @returns The error's text, or "" when every byte went.
 */
export async function directWrite(path: string, offset: number, data: Uint8Array): Promise<string> {
  const flags = [
    "iflag=fullblock",
    "oflag=direct,seek_bytes",
    `seek=${offset}`,
    `bs=${data.length}`,
    "count=1",
  ];
  return failure(
    await run(["dd", `of=${path}`, ...flags, "conv=notrunc,nocreat"], { input: data }),
    data.length,
  );
}

function failure({ code, stderr }: { code: number; stderr: string }, length: number): string {
  if (code !== 0) return /: ([^:\n]+)\n/.exec(stderr)?.[1] ?? stderr;
  return stderr.includes(`\n${length} byte`) ? "" : `short: ${stderr}`;
}
