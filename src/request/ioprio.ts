/**
 * I/O priorities (`linux/ioprio.h`): a class in the upper three bits, a level within it in the lower ones.
 *
 * @module
 */

import { EPERM, SystemError } from "../../ffi/errno.ts";
import { hasCapability } from "../../ffi/capability.ts";
import { CAP_SYS_ADMIN, CAP_SYS_NICE } from "../../ffi/uapi.ts";
import { checkInteger, describe } from "../check.ts";

/** The realtime class: its I/O goes before all other. It needs the capability `CAP_SYS_NICE` or `CAP_SYS_ADMIN`. */
export const IOPRIO_CLASS_RT = 1;
/** The best-effort class, which a process has that chose none. */
export const IOPRIO_CLASS_BE = 2;
/** The idle class: its I/O goes only while no other I/O wants the device. */
export const IOPRIO_CLASS_IDLE = 3;

const IOPRIO_CLASS_SHIFT = 13;
const IOPRIO_NR_LEVELS = 8;

/**
 * An I/O priority, for the option `ioprio`.
 *
 * @param ioclass `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
 * @param level 0, the highest, to 7. The idle class has only one level. Default: 0.
 * @returns The priority as one number, as in ioprio_set(2).
 * @throws {RangeError} When the class or the level is out of its range.
 *
 * @example
 * ```ts
 * import { IOPRIO_CLASS_BE, IOPRIO_PRIO_VALUE } from "@dmio/dmio";
 *
 * console.log(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7)); // 16391
 * ```
 */
export function IOPRIO_PRIO_VALUE(ioclass: number, level: number = 0): number {
  checkInteger("ioclass", ioclass, IOPRIO_CLASS_RT, IOPRIO_CLASS_IDLE);
  checkInteger("level", level, 0, IOPRIO_NR_LEVELS - 1);
  return ioclass << IOPRIO_CLASS_SHIFT | level;
}

/**
 * Checks a priority.
 *
 * @param ioprio The priority; 0 is the process's own.
 * @throws {RangeError} When it is no priority.
 * @throws {SystemError} `EPERM` for the realtime class without the capability.
 */
export function checkPriority(ioprio: number): void {
  if (ioprio === 0) return;
  if (!isPriority(ioprio)) {
    throw new RangeError(
      `options.ioprio is ${
        describe(ioprio)
      }; it must be 0 or IOPRIO_PRIO_VALUE(class, level), of the classes RT (1), BE (2) and ` +
        "IDLE (3) and the levels 0 to 7",
    );
  }
  if (ioprio >>> IOPRIO_CLASS_SHIFT !== IOPRIO_CLASS_RT) return;
  if (hasCapability(CAP_SYS_NICE) || hasCapability(CAP_SYS_ADMIN)) return;
  const why =
    "options.ioprio is of the realtime class, which needs the capability CAP_SYS_NICE or CAP_SYS_ADMIN";
  throw new SystemError("ioprio", EPERM, why);
}

function isPriority(value: unknown): boolean {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 0xffff) return false;
  const ioclass = value >>> IOPRIO_CLASS_SHIFT;
  const level = value & ((1 << IOPRIO_CLASS_SHIFT) - 1);
  return ioclass >= IOPRIO_CLASS_RT && ioclass <= IOPRIO_CLASS_IDLE && level < IOPRIO_NR_LEVELS;
}
