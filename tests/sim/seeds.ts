/**
 * Many seeds, one after another.
 *
 * @module
 */

import type { Library } from "./library.ts";
import { run, type Tally } from "./run.ts";

/** Steps of a run, by default. */
export const STEPS = 40;

/** The first seed that failed, and why. */
export interface Found {
  readonly seed: number;
  readonly error: Error;
}

/** What a row of seeds came to. */
export interface Row {
  readonly found: Found | undefined;
  readonly seeds: number;
  readonly tally: Tally;
}

/**
 * Runs seeds until one fails.
 *
 * @param first The first seed.
 * @param count How many.
 */
export async function runSeeds(library: Library, first: number, count: number, steps = STEPS): Promise<Row> {
  const tally: Tally = { requests: 0, failedRegions: 0, completed: 0, cuts: 0 };
  for (let seed = first; seed < first + count; seed++) {
    try {
      const one = await run(library, seed, steps);
      tally.requests += one.requests;
      tally.failedRegions += one.failedRegions;
      tally.completed += one.completed;
      tally.cuts += one.cuts;
    } catch (error) {
      return { found: { seed, error: error as Error }, seeds: seed - first + 1, tally };
    }
  }
  return { found: undefined, seeds: count, tally };
}

/** How to see a run again. */
export function replayCommand(seed: number, steps = STEPS): string {
  return `deno task sim --seed ${seed} --steps ${steps} --verbose`;
}
