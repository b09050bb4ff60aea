/**
 * Opens and closes files past Deno, which has neither `O_DIRECT` nor a way to tell the file descriptor.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { SystemError } from "../../ffi/errno.ts";
import { O_CLOEXEC, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR } from "../../ffi/uapi.ts";

/** The flags of `open(2)` that a device may want. */
export interface OpenFlags {
  /** `O_RDWR`, not `O_RDONLY`. */
  readonly write: boolean;
  /** `O_DIRECT`. */
  readonly direct: boolean;
  /** `O_EXCL`, which on a block device refuses one that is in use. */
  readonly exclusive: boolean;
}

/**
 * Opens a file. Deno's permissions are not asked: the caller has.
 *
 * @param path Its path.
 * @param flags How.
 * @returns The file descriptor.
 * @throws {SystemError} What `open(2)` says, with advice for what direct and exclusive opens meet.
 */
export function openFd(path: string, { write, direct, exclusive }: OpenFlags): number {
  const flags = O_CLOEXEC | (write ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0) | (exclusive ? O_EXCL : 0);
  const fd = libc().open(new TextEncoder().encode(`${path}\0`), flags);
  if (fd >= 0) return fd;
  const code = errno();
  const hints = [
    direct ? "its file system may not do direct I/O (EINVAL)" : "",
    exclusive ? "it may be mounted or held by another program (EBUSY)" : "",
  ].filter((hint) => hint !== "");
  throw new SystemError("open", code, [`could not open ${path}`, ...hints].join("; "));
}

/**
 * Closes a file descriptor.
 *
 * @param fd The file descriptor.
 */
export function closeFd(fd: number): void {
  libc().close(fd);
}
