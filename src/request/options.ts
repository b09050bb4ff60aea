/**
 * Options of requests, and their checks.
 *
 * @module
 */

import { checkBoolean, describe } from "../check.ts";
import type { Operation } from "../schedule/io.ts";
import { checkPriority } from "./ioprio.ts";

/** When to stop waiting for an answer. */
export interface DeadlineOptions {
  /**
   * Milliseconds after which a region that is not done gets its bit, with `ETIMEDOUT`: above 0, at most 2^31 - 1. Completions are taken in
   * first, so that I/O which the device has done does not fail. When the program kept the event loop from running, the timeout is extended
   * once by that time.
   */
  timeout?: number;
  /** When the signal aborts, a region that is not done gets its bit, with `ECANCELED`. */
  signal?: AbortSignal;
}

/** How a read or a write is carried out, and when to stop waiting for its answer. */
export interface IoOptions extends DeadlineOptions {
  /**
   * Whether a transfer that failed is searched for its first bad block, by halves. Default: `true` for a read, `false` for a write. A write
   * that is not searched is tried once more, alone, and then reported at the first sector of the transfer: a dying device gets no more work
   * than that. A write with `fua` is never searched. Where the kernel flushes after such a write (`RWF_DSYNC`), it is not tried again
   * either, as a second flush would succeed whatever the first one lost.
   */
  locate?: boolean;
  /**
   * The I/O priority, from {@linkcode IOPRIO_PRIO_VALUE}. Default: 0, the priority of the process. A device without a scheduler that knows
   * priorities ignores it.
   */
  ioprio?: number;
}

/** How a write is carried out, and when to stop waiting for its answer. */
export interface WriteOptions extends IoOptions {
  /**
   * Whether each region's device is flushed before that region's data is written (`REQ_PREFLUSH`): all writes that were answered before are
   * on the medium before any of the data is. When the flush fails, the region's bit is set and its data is not written. The device of a
   * region of 0 sectors is flushed, too. Default: `false`.
   */
  preflush?: boolean;
  /**
   * Whether the data is on the medium when the write is answered (`REQ_FUA`). With `RWF_DSYNC`, the kernel writes through the device's cache
   * where the device can (FUA), and flushes the device after the write elsewhere. A device that is open through the page cache is flushed
   * after the write, and its writes share these flushes. When such a write fails, a flush may have failed, so it is not known which of the
   * writes before it are on the medium. Default: `false`.
   */
  fua?: boolean;
}

/** How zeroes are written, and when to stop waiting for the answer. */
export interface ZeroOptions extends DeadlineOptions {
  /** Whether the device may give the space back, so that a later write may find none. Default: `false`. */
  unmap?: boolean;
  /**
   * Whether zeroes are written as data where the device cannot make them. Default: `true`. With `false`, the bit of such a device's region
   * is set, with `EOPNOTSUPP`.
   */
  fallback?: boolean;
}

/** Any option. */
export type AnyOptions = WriteOptions & ZeroOptions;

/** Options that were checked. */
export interface CheckedOptions {
  readonly locate: boolean | undefined;
  readonly ioprio: number | undefined;
  readonly preflush: boolean | undefined;
  readonly fua: boolean | undefined;
  readonly unmap: boolean | undefined;
  readonly fallback: boolean | undefined;
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The longest timer there is, in milliseconds. */
export const MAX_TIMEOUT: number = 2 ** 31 - 1;

const abortedOf = Object.getOwnPropertyDescriptor(AbortSignal.prototype, "aborted")!.get!;

/**
 * Checks the options of a request, reading each property once.
 *
 * @param options The options.
 * @param op The operation.
 * @returns What was checked.
 * @throws {TypeError} When the signal is no `AbortSignal`, a switch is no boolean, or an option does not go with the operation.
 * @throws {RangeError} When the timeout or the priority is out of its range.
 * @throws {SystemError} `EPERM` when the process may not use the priority.
 */
export function checkOptions(options: AnyOptions, op: Operation): CheckedOptions {
  if (typeof options !== "object" || options === null) {
    const names = [...op.options, "timeout", "signal"].join(", ");
    throw new TypeError(`options is ${describe(options)}; it must be { ${names} }`);
  }
  const { locate, ioprio, preflush, fua, unmap, fallback, timeout, signal } = options;
  const checked = { locate, ioprio, preflush, fua, unmap, fallback, timeout, signal };
  checkSwitches({ locate, preflush, fua, unmap, fallback }, op);
  if (ioprio !== undefined) {
    checkTaken("ioprio", op);
    checkPriority(ioprio);
  }
  if (timeout !== undefined && !(typeof timeout === "number" && timeout > 0 && timeout <= MAX_TIMEOUT)) {
    throw new RangeError(
      `options.timeout is ${describe(timeout)}; it must be above 0 and at most ${MAX_TIMEOUT} ms`,
    );
  }
  if (signal !== undefined) checkSignal(signal);
  return checked;
}

function checkSwitches(switches: Readonly<Record<string, boolean | undefined>>, op: Operation): void {
  for (const name in switches) {
    const value = switches[name];
    if (value === undefined) continue;
    checkTaken(name, op);
    checkBoolean(`options.${name}`, value);
  }
}

function checkTaken(name: string, { name: operation, options }: Operation): void {
  if (!options.includes(name)) throw new TypeError(`options.${name} does not go with a ${operation}`);
}

function checkSignal(signal: AbortSignal): void {
  const wrong = new TypeError(`options.signal is ${describe(signal)}; it must be an AbortSignal`);
  if (!(signal instanceof AbortSignal)) throw wrong;
  try {
    abortedOf.call(signal);
  } catch { // an object with the prototype of an AbortSignal, or a Proxy
    throw wrong;
  }
}

/** Whether the signal of checked options is aborted by now. */
export function isAborted({ signal }: CheckedOptions): boolean {
  return signal !== undefined && abortedOf.call(signal);
}
