/**
 * What a device leaves behind.
 *
 * @module
 */

import { assertMatch } from "@std/assert";
import { exists, succeed } from "./commands.ts";

/**
 * The scratch folder that a device stands on.
 *
 * @param device A loop device, or a file in such a folder.
 */
export function folderBehind(device: string): string {
  const loop = /^\/dev\/(loop\d+)$/.exec(device)?.[1];
  const file = loop === undefined ? device : Deno.readTextFileSync(`/sys/block/${loop}/loop/backing_file`);
  return /^\/.*\/dmio-[^/]+/.exec(file)?.[0] ?? "";
}

/**
 * Every loop device, mount, process and file that has something to do with a scratch folder.
 *
 * @param folder The folder's path.
 * @returns A line for each; none when nothing is left.
 */
export async function traces(folder: string): Promise<string[]> {
  assertMatch(folder, /\/dmio-/);
  const lines = [await succeed("losetup", "-a"), Deno.readTextFileSync("/proc/self/mounts")].join("\n").split(
    "\n",
  );
  for (const { name } of Deno.readDirSync("/proc")) {
    try {
      if (/^\d+$/.test(name)) lines.push(Deno.readTextFileSync(`/proc/${name}/cmdline`));
    } catch {
      // The process has ended meanwhile.
    }
  }
  return lines.filter((line) => line.includes(folder)).concat(exists(folder) ? [folder] : []);
}
