/**
 * The errors of a pool. Each says how many pages were requested, how many there are, and what to do.
 *
 * @module
 */

import { integerMessage } from "../check.ts";

/** What an error says of its pool. */
export interface PoolState {
  /** Bytes of a page. */
  readonly page: number;
  /** Pages of the pool. */
  readonly pages: number;
  /** Pages that are free. */
  readonly available: number;
  /** The most adjacent pages, free or not. */
  readonly longestRun: number;
  /** The most adjacent pages that any pool can have. */
  readonly mostAdjacent: number;
  /** Callers that wait for more pages than are free. */
  readonly waiting: number;
  /** Pages whose buffer the program transferred away. */
  readonly lost: number;
}

/** A number that is none of pages of the pool. */
export function noCount(state: PoolState, pages: number, least: number): RangeError {
  const bound = `what the pool holds${unitHint(state, pages)}${lossNote(state)}`;
  return new RangeError(integerMessage("pages", pages, least, state.pages, bound));
}

/** More adjacent pages than the pool has anywhere. */
export function tooFew(state: PoolState, pages: number): RangeError {
  const { longestRun, mostAdjacent } = state;
  const advice = pages <= mostAdjacent
    ? `pool.get(${pages}) adds as many`
    : `no more than ${mostAdjacent} are ever adjacent`;
  return new RangeError(
    `pages is ${pages}; the pool of ${state.pages} pages holds at most ${longestRun} adjacent ones. ` +
      `${advice}${unitHint(state, pages)}${lossNote(state)}`,
  );
}

/** More pages than are free now. */
export function exhausted(state: PoolState, pages: number, adjacent: string): RangeError {
  const { available, waiting } = state;
  const what = pages === 1 ? "page" : `${pages} ${adjacent}pages`;
  const are = available === 1 ? "is" : "are";
  const queue = waiting === 0
    ? ""
    : `, and ${waiting} ${waiting === 1 ? "caller waits" : "callers wait"} for pages`;
  return new RangeError(
    `no ${what} of the pool can be had: ${available} of ${state.pages} ${are} free${queue}. ` +
      `Free some, add some with pool.get, or await pool.allocWait${lossNote(state)}`,
  );
}

function unitHint({ page, longestRun }: PoolState, pages: number): string {
  const fits = pages > 0 && pages % page === 0 && pages / page <= longestRun;
  return fits ? `. The unit is pages: ${pages} bytes are ${pages / page}` : "";
}

function lossNote({ lost }: PoolState): string {
  if (lost === 0) return "";
  return `. ${lost} pages were lost: the ArrayBuffer that they are views of was transferred away (see Pool)`;
}
