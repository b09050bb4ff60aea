/**
 * The operations by their numbers (`enum req_op` in linux/blk_types.h).
 *
 * @module
 */

import { describe } from "../check.ts";
import type { Operation } from "../schedule/io.ts";
import { read } from "./read.ts";
import { write } from "./write.ts";

/** Fill memory from one region. */
export const READ = 0;
/** Write memory to each region. */
export const WRITE = 1;

/**
 * An operation by its number.
 *
 * @param op `READ` or `WRITE`.
 * @param name What the caller calls the number.
 * @returns The operation.
 * @throws {RangeError} For any other number.
 */
export function operationOf(op: number, name: string): Operation {
  switch (op) {
    case READ:
      return read;
    case WRITE:
      return write;
    default:
      throw new RangeError(`${name} is ${describe(op)}; it must be READ (${READ}) or WRITE (${WRITE})`);
  }
}
