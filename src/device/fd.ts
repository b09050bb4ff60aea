/**
 * Opens and closes files past Deno, which has no `O_DIRECT` and does not give out the file descriptor.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { EBUSY, EINVAL, EMFILE, ENFILE, EROFS, SystemError } from "../../ffi/errno.ts";
import { O_CLOEXEC, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR } from "../../ffi/uapi.ts";
import { holder } from "./holder.ts";

/** The flags of `open(2)` that a device may need. */
export interface OpenFlags {
  /** `O_RDWR`, not `O_RDONLY`. */
  readonly write: boolean;
  /** `O_DIRECT`. */
  readonly direct: boolean;
  /** `O_EXCL`, which refuses a block device that is in use. */
  readonly exclusive: boolean;
}

/**
 * Opens a file. The caller must have checked Deno's permissions.
 *
 * @param path Its path.
 * @param flags The flags of the open.
 * @returns The file descriptor.
 * @throws {SystemError} The error of `open(2)`, with advice.
 */
export function openFd(path: string, flags: OpenFlags): number {
  const { write, direct, exclusive } = flags;
  const bits = O_CLOEXEC | (write ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0) | (exclusive ? O_EXCL : 0);
  const fd = libc().open(new TextEncoder().encode(`${path}\0`), bits);
  if (fd >= 0) return fd;
  throw openError(path, flags, errno());
}

/**
 * The error of an open that was refused.
 *
 * @param path The file's path.
 * @param flags The flags of the open.
 * @param code The error number that `open(2)` gave.
 * @returns The error, with the advice that belongs to its number.
 */
export function openError(path: string, flags: OpenFlags, code: number): SystemError {
  const what = advice(path, flags, code);
  return new SystemError("open", code, `could not open ${path}${what === "" ? "" : `: ${what}`}`);
}

function advice(path: string, { direct, exclusive }: OpenFlags, code: number): string {
  switch (code) {
    case EBUSY:
      return holder(path) + (exclusive ? "; exclusive: false opens it all the same" : "");
    case EROFS:
      return "it refuses writes, or its file system is mounted read-only; open it without write: true";
    case EINVAL:
      return direct ? "its file system does no direct I/O; open it without direct: true" : "";
    case EMFILE:
    case ENFILE:
      return "no file descriptor is left; see `ulimit -n`";
    default:
      return "";
  }
}

/**
 * Closes a file descriptor.
 *
 * @param fd The file descriptor.
 */
export function closeFd(fd: number): void {
  libc().close(fd);
}
