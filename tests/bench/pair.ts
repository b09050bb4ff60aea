/**
 * A pair of rounds: the contenders one after the other, then once more the other way round. What changes
 * steadily meanwhile, a clock that slows down or a page cache that fills, is the same for all of them.
 *
 * @module
 */
import type { Contender } from "./contender.ts";
import type { Entrant, Row } from "./rows.ts";
import { joined, type Sample, type Timing } from "./sample.ts";

/** Seconds that a program may take beyond the time it was given before it is ended. */
const PATIENCE = 60;

/** A group with the rows that were asked for. */
export interface Running {
  readonly rows: readonly Row[];
  readonly contenders: readonly Contender[];
  /** One a contender, in their order. */
  readonly entrants: readonly Entrant[];
}

/**
 * Runs each contender twice, in mirrored order; its sample of the pair is both runs together.
 * A contender that fails keeps its earlier pairs, says why, and is not run again.
 *
 * @param starts Called with the name of each program that starts.
 */
export async function runPair(
  { contenders, entrants }: Running,
  timing: Timing,
  starts: (name: string) => void,
): Promise<void> {
  const forwards = contenders.map((_, i) => i);
  const runs: Sample[][] = contenders.map(() => []);
  for (const i of [...forwards, ...forwards.toReversed()]) {
    const contender = contenders[i]!;
    const entrant = entrants[i]!;
    if (entrant.problem !== undefined) continue;
    starts(contender.name);
    const answer = await runOnce(contender, timing);
    if (typeof answer === "string") entrant.problem = answer;
    else runs[i]!.push(answer);
  }
  for (const [i, [there, back]] of runs.entries()) {
    if (there && back) entrants[i]!.samples.push(joined(there, back));
  }
}

/** @returns The sample, or why there is none. */
async function runOnce(contender: Contender, timing: Timing): Promise<Sample | string> {
  const patience = AbortSignal.timeout((timing.warmUp + timing.seconds + PATIENCE) * 1000);
  try {
    const sample = await contender.run(timing, patience);
    return sample.failed > 0 ? `${sample.failed} requests failed` : sample;
  } catch (error) {
    return patience.aborted ? "it did not end in time" : (error as Error).message;
  }
}
