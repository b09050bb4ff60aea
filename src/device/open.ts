/**
 * Opens a device by its path.
 *
 * @module
 */

import { libc } from "../../ffi/libc.ts";
import { EBUSY, EROFS } from "../../ffi/errno.ts";
import { checkBoolean, checkObject, describe } from "../check.ts";
import { type DeviceFacts, inspect, SECTOR_SIZE } from "./facts.ts";
import { closeFd, openError, openFd } from "./fd.ts";
import { assertKind, exists, pathName } from "./path.ts";

/** How to open a {@linkcode BlockDevice}. */
export interface OpenOptions {
  /** Whether it will be written. Needs `--allow-write`. Default: `false`, read only. */
  write?: boolean;
  /** Whether I/O goes past the page cache (`O_DIRECT`). Default: `false`. */
  direct?: boolean;
  /**
   * Makes a regular file of this many bytes (a multiple of 512) when there is none, and makes a shorter one that long;
   * a longer one stays as it is. Needs `write`.
   */
  create?: number;
  /**
   * Refuses a block device that is mounted or otherwise held, and keeps it from being mounted or held while it is open (`O_EXCL`). It has
   * no effect on a regular file. Default: as `write`.
   */
  exclusive?: boolean;
}

/**
 * Opens a block device or a regular file.
 *
 * @param path Its path, or a `file:` URL.
 * @param options How to open it.
 * @returns The facts about it, with a file descriptor that the caller closes.
 * @throws As {@linkcode BlockDevice.open}.
 */
export function openDevice(path: string | URL, options: OpenOptions): DeviceFacts {
  checkObject("options", options, "{ write, direct, create, exclusive }");
  const { write = false, direct = false, create, exclusive = write } = options;
  checkBoolean("options.write", write);
  checkBoolean("options.direct", direct);
  checkBoolean("options.exclusive", exclusive);
  if (!write && create !== undefined) throw new TypeError("options.create needs write: true");
  if (create !== undefined && !(Number.isSafeInteger(create) && create > 0 && create % SECTOR_SIZE === 0)) {
    throw new RangeError(
      `options.create is ${describe(create)}; it must be a positive multiple of ${SECTOR_SIZE} bytes`,
    );
  }
  libc(); // throws on an unsupported system, or without --allow-ffi, before a file is made
  const name = pathName(path);
  if (create === undefined || exists(name)) assertKind(name);
  // Deno opens it first, which checks the permissions. Then it is opened with flags that Deno lacks, and must be the same file.
  using file = openByDeno(name, write, create !== undefined);
  const { dev, ino, isFile, size } = file.statSync();
  if (create !== undefined && isFile && size < create) file.truncateSync(create);
  const flags = { write, direct, exclusive: exclusive && !isFile };
  const fd = openFd(name, flags);
  try {
    const { kind, fileSystem, inode, facts } = inspect(fd);
    if (kind === "other" || fileSystem !== dev || inode !== ino) {
      throw new TypeError(`${name} was replaced while it was opened`);
    }
    if (write && facts.readOnly) throw openError(name, flags, EROFS);
    return { ...facts, path: name, fd, writable: write, direct };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

// Deno checks its permissions and opens the file. EBUSY and EROFS get the same advice here as from openFd.
function openByDeno(path: string, write: boolean, create: boolean): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true, write, create });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    const flags = { write, direct: false, exclusive: false };
    if (code === "EBUSY") throw openError(path, flags, EBUSY);
    if (code === "EROFS") throw openError(path, flags, EROFS);
    throw error;
  }
}
