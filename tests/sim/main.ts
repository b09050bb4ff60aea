/**
 * Runs the simulator from the command line.
 *
 * ```sh
 * deno task sim                                  # seeds 1 to 2000
 * deno task sim --first 5000 --seeds 100000      # others
 * deno task sim --seed 17 --steps 40 --verbose   # one, with each event that happens
 * ```
 *
 * @module
 */

import { parseArgs } from "node:util";
import { dmio } from "./dmio.ts";
import { run } from "./run.ts";
import { replayCommand, runSeeds, STEPS } from "./seeds.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    seed: { type: "string" },
    first: { type: "string", default: "1" },
    seeds: { type: "string", default: "2000" },
    steps: { type: "string", default: `${STEPS}` },
    verbose: { type: "boolean", default: false },
  },
});
const steps = Number(values.steps);

if (values.seed !== undefined) {
  try {
    const { requests, failedRegions, completed } = await run(
      dmio,
      Number(values.seed),
      steps,
      values.verbose,
    );
    console.log(
      `ok: ${requests} requests, ${completed} SQEs, ${failedRegions} regions failed as they had to`,
    );
  } catch (error) {
    console.error(error);
    Deno.exit(1);
  }
} else {
  const began = performance.now();
  const { found, seeds, tally } = await runSeeds(dmio, Number(values.first), Number(values.seeds), steps);
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${seeds} seeds in ${seconds.toFixed(1)} s: ${tally.requests} requests, ${tally.completed} SQEs, ` +
      `${tally.failedRegions} regions failed, ${tally.cuts} power cuts`,
  );
  if (found) {
    console.error(`seed ${found.seed}: ${found.error.message}\n  ${replayCommand(found.seed, steps)}`);
    Deno.exit(1);
  }
}
