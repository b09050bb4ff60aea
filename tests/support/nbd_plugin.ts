/**
 * The plugin of an nbdkit server: what keeps the bytes, and what fails at a word.
 *
 * @module
 */

import type { Scratch } from "./scratch.ts";

/** The errors that an NBD server can give. */
export type NbdError = "EIO" | "ENOMEM" | "ENOSPC" | "EINVAL" | "EPERM" | "ESHUTDOWN";

/** A range of bytes that cannot be read or written. */
export interface BadRange {
  /** Its first byte. */
  readonly offset: number;
  /** How many bytes. */
  readonly length: number;
  /** What a request that touches it gets (EIO). */
  readonly error?: NbdError;
}

/** What becomes of a flush: it succeeds, waits until that changes, or gets EIO, each time or the next time only. */
export type Flushes = "pass" | "hold" | "fail" | "fail-once";

/** What a plugin is to do. */
export interface PluginOptions {
  /** Ranges that fail; an empty list for none yet. */
  readonly badRanges?: readonly BadRange[];
  /** Whether flushes can be held and failed. */
  readonly flushes?: boolean;
  /** Whether every write gets ENOSPC, and reads give zeros. */
  readonly full?: boolean;
}

/** Sets which ranges fail. A request in between sees the old list or the new one, never a part of it. */
export function writeBadRanges(scratch: Scratch, ranges: readonly BadRange[]): void {
  const lines = ranges.map(({ offset, length, error = "EIO" }) => `${offset} ${offset + length} ${error}\n`);
  replace(scratch, "bad", lines.join(""));
}

/** Sets what becomes of flushes, those that wait included. */
export function writeFlushes(scratch: Scratch, how: Flushes): void {
  replace(scratch, "flushes", `${how}\n`);
}

/**
 * The arguments that name the plugin. One whose ranges or flushes can fail keeps its bytes in the file `disk`, and runs a shell for each
 * request.
 *
 * @param scratch The server's folder.
 * @param bytes The size of the device.
 * @param options What it is to do.
 */
export function plugin(scratch: Scratch, bytes: number, options: PluginOptions): string[] {
  if (options.badRanges === undefined && options.flushes !== true) {
    return [options.full === true ? "full" : "memory", `${bytes}`];
  }
  const disk = scratch.join("disk");
  Deno.writeFileSync(disk, new Uint8Array(0));
  Deno.truncateSync(disk, bytes);
  // Of the arguments nbdkit gives, $3 is the count of bytes and $4 the offset.
  const refuse = `while read -r from to error; do
    if [ "$4" -lt "$to" ] && [ $(($4 + $3)) -gt "$from" ]; then echo "$error" >&2; exit 1; fi
  done < ${scratch.join("bad")}`;
  const flushes = scratch.join("flushes");
  const flush = `while read -r how < ${flushes}; do case $how in
    hold) sleep 0.01 ;;
    fail-once) echo pass > ${flushes}; echo EIO >&2; exit 1 ;;
    fail) echo EIO >&2; exit 1 ;;
    *) exit 0 ;;
  esac; done`;
  const dd = "exec dd status=none bs=64K";
  return [
    "eval",
    "thread_model=echo parallel",
    `get_size=echo ${bytes}`,
    `pread=${refuse}; ${dd} if=${disk} iflag=skip_bytes,count_bytes skip="$4" count="$3"`,
    `pwrite=${refuse}; ${dd} of=${disk} iflag=fullblock oflag=seek_bytes seek="$4" conv=notrunc`,
    ...(options.flushes === true ? [`flush=${flush}`] : []),
  ];
}

function replace(scratch: Scratch, name: string, text: string): void {
  Deno.writeTextFileSync(scratch.join(`${name}.new`), text);
  Deno.renameSync(scratch.join(`${name}.new`), scratch.join(name));
}
