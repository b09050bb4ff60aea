/**
 * The operations by their numbers (`enum req_op` in linux/blk_types.h).
 *
 * @module
 */

import { describe } from "../check.ts";
import type { Operation } from "../schedule/io.ts";
import { discard } from "./discard.ts";
import { flush } from "./flush.ts";
import { read } from "./read.ts";
import { write } from "./write.ts";
import { writeZeroes } from "./write_zeroes.ts";

/** Fill memory from one region. */
export const READ = 0;
/** Write memory to each region. */
export const WRITE = 1;
/** Fill memory from one region. The same number as `READ`. */
export const REQ_OP_READ = 0;
/** Write memory to each region. The same number as `WRITE`. */
export const REQ_OP_WRITE = 1;
/** Put all data that was written to the device of each region on its medium. */
export const REQ_OP_FLUSH = 2;
/** Make the contents of each region undefined, and its space free. */
export const REQ_OP_DISCARD = 3;
/** Make each region read as zeros. */
export const REQ_OP_WRITE_ZEROES = 9;

/**
 * An operation by its number.
 *
 * @param op A `REQ_OP_*` number.
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
    case REQ_OP_FLUSH:
      return flush;
    case REQ_OP_DISCARD:
      return discard;
    case REQ_OP_WRITE_ZEROES:
      return writeZeroes;
    default:
      throw new RangeError(
        `${name} is ${
          describe(op)
        }; it must be REQ_OP_READ (0), _WRITE (1), _FLUSH (2), _DISCARD (3) or _WRITE_ZEROES (9)`,
      );
  }
}
