/**
 * Paths of devices, given as text or as a URL.
 *
 * @module
 */

import { describe } from "../check.ts";

/**
 * Reads a path as Deno's own functions do.
 *
 * @param path A path, or a `file:` URL: its percent escapes are decoded, and a percent sign that begins none stands for itself.
 * @returns The path.
 * @throws {TypeError} When it is neither, when the URL names a host, and when the path holds a NUL.
 * @throws {URIError} For a URL whose escapes are no UTF-8.
 */
export function pathName(path: string | URL): string {
  const name = path instanceof URL ? urlPath(path) : path;
  if (typeof name === "string" && name !== "" && !name.includes("\0")) return name;
  throw new TypeError(`path is ${describe(path)}; it must be a path, or a file: URL, of a device or a file`);
}

function urlPath({ protocol, hostname, pathname, href }: URL): string {
  if (protocol !== "file:") throw new TypeError(`path is ${href}; a device is opened by a file: URL only`);
  if (hostname !== "") {
    throw new TypeError(
      `path is ${href}, which names the host ${hostname}; write file:/// for a file of this machine`,
    );
  }
  return decodeURIComponent(pathname.replace(/%(?![0-9A-Fa-f]{2})/g, "%25"));
}

/**
 * Whether a path exists. A dangling link does.
 *
 * @param path The path.
 */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Refuses anything but a device before it is opened: opening a pipe or a terminal can block or have effects.
 *
 * @param path Its path.
 * @throws {TypeError} When it is neither a block device nor a regular file.
 */
export function assertKind(path: string): void {
  const { isFile, isBlockDevice } = Deno.statSync(path);
  if (!isFile && !isBlockDevice) throw new TypeError(`${path} is neither a block device nor a regular file`);
}
