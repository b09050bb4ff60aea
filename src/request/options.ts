/**
 * Options of requests, and their checks.
 *
 * @module
 */

import { describe } from "../check.ts";
import type { Operation } from "../schedule/io.ts";
import { checkPriority } from "./ioprio.ts";

/** When to stop waiting for an answer. */
export interface DeadlineOptions {
  /**
   * Milliseconds after which a region that is not done gets its bit, with `ETIMEDOUT`. The ring is looked at first, so that I/O which
   * the device has done does not fail. When the program kept the event loop from running, the timeout is extended once by that time.
   */
  timeout?: number;
  /** At its abort, a region that is not done gets its bit, with `ECANCELED`. */
  signal?: AbortSignal;
}

/** How a read or a write is carried out, and when to stop waiting for its answer. */
export interface IoOptions extends DeadlineOptions {
  /**
   * Whether a transfer that failed is searched for its first bad block, by halves. Default: `true` for a read; `false` for a write,
   * which is tried once more, alone, and then reported at its first sector: a dying device gets no more work than that.
   * A write with `fua` is not searched, nor tried again where a second try could hide what the first one lost.
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
   * Whether each region's device is flushed before that region's data (`REQ_PREFLUSH`): what was answered before is on the medium before any
   * of the data is. When the flush fails, the region's bit is set and its data is not written. A region of 0 sectors is flushed, too.
   */
  preflush?: boolean;
  /**
   * Whether the data is on the medium when the write is answered (`REQ_FUA`), as by `RWF_DSYNC`: by a write through the device's cache where
   * the device has that, and by a flush after the write elsewhere. Through the page cache, writes to one device share their flushes.
   * When such a write fails, a flush of the device may have failed, so it is not known which of the writes before are on the medium.
   */
  fua?: boolean;
}

/** How zeroes are written, and when to stop waiting for the answer. */
export interface ZeroOptions extends DeadlineOptions {
  /** Whether the device may give the space back, so that a later write may find none. Default: `false`. */
  unmap?: boolean;
  /**
   * Whether zeroes are written as data where the device cannot make them. Default: `true`. With `false`, such a device is its region's bit,
   * with `EOPNOTSUPP`.
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
 * @throws {TypeError} When the signal is none, a switch is no boolean, or an option does not go with the operation.
 * @throws {RangeError} When the timeout is no time, or the priority is none.
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
    if (typeof value !== "boolean") {
      throw new TypeError(`options.${name} is ${describe(value)}; it must be a boolean`);
    }
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
