/**
 * Syncs a device: its dirty pages of the page cache are written to the medium.
 *
 * @module
 */

import { DataSync } from "../../ffi/aio.ts";
import { EINVAL, SystemError } from "../../ffi/errno.ts";

/** Milliseconds between two looks at a sync under way: the first, and the most. */
const FIRST_PAUSE = 1;
const LONGEST_PAUSE = 32;

/**
 * Syncs a file (`fdatasync(2)`). The event loop runs meanwhile, also when the medium hangs.
 *
 * @param fd Its file descriptor, which must stay open until the promise settles.
 * @param path Its path, for the message.
 * @returns Resolves when all that was written by this file descriptor is on the medium.
 * @throws {SystemError} The error of `fdatasync`. The kernel reports it once for an open file: a second sync succeeds.
 */
export async function syncFd(fd: number, path: string): Promise<void> {
  using sync = new DataSync(fd);
  for (let pause = FIRST_PAUSE; sync.answer === null; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  const code = sync.answer;
  // A pipe or a character device, which has no page cache.
  if (code === 0 || code === EINVAL || code === null) return;
  throw new SystemError(
    "fdatasync",
    code,
    `what was written to ${path} through the page cache may not all be on its medium, though the writes succeeded; write it again, and ` +
      "open the device with direct: true to learn of each failure from its own write",
  );
}
