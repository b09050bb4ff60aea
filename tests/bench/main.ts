/**
 * The benchmark: `deno task bench --help`.
 *
 * @module
 */
import { setColorEnabled } from "@std/fmt/colors";
import { chart } from "./chart.ts";
import type { Contender } from "./contender.ts";
import { machine } from "./machine.ts";
import { HELP, type Options, parse } from "./options.ts";
import { type Entrant, fill, type Group, type Row, type RowResult } from "./rows.ts";
import type { Timing } from "./sample.ts";
import { lines } from "./table.ts";
import { TestBed, Unavailable } from "./test_bed.ts";
import { versus } from "./work/against.ts";
import { groups } from "./work/groups.ts";

/** Seconds that a program may take beyond the time it was given before it is ended. */
const PATIENCE = 60;

/** A group with the rows that were asked for. */
interface Running {
  readonly rows: readonly Row[];
  readonly contenders: readonly Contender[];
  readonly entrants: Entrant[];
}

async function main(args: readonly string[]): Promise<number> {
  const options = parse(args);
  setColorEnabled(Deno.stdout.isTerminal());
  if (options.help) return say(HELP.trimEnd());
  await using bed = new TestBed(options);
  const asked = chosen(
    options.against === undefined ? groups(bed) : versus(bed, options.against),
    options.only,
  );
  if (options.list) return say(asked.flatMap(({ rows }) => rows.map(({ name }) => name)).join("\n"));
  if (asked.length === 0) throw new RangeError(`--only ${options.only}: no row has such a name, see --list`);

  const started = performance.now();
  const sinceStart = () => (performance.now() - started) / 1000;
  const where = await machine();
  const running: Running[] = [];
  for (const group of asked) running.push(await ready(group));
  for (let round = 0; round < options.rounds; round++) {
    for (const group of running) {
      // A first round is always whole, so that every program has a figure.
      if (round > 0 && sinceStart() > options.budget) break;
      await runRound(group, round, options);
    }
  }
  progress("");
  const rows = running.flatMap((group) => group.rows.map((row) => fill(row, group.entrants)));
  const seconds = sinceStart();
  report(rows, seconds);
  if (options.json !== undefined) {
    const { rounds, timing, devices, against } = options;
    const all = { machine: where, settings: { rounds, ...timing, devices, against }, seconds, rows };
    Deno.writeTextFileSync(options.json, JSON.stringify(all, null, 2) + "\n");
  }
  if (options.svg !== undefined) Deno.writeTextFileSync(options.svg, chart(rows, where));
  return running.some(({ entrants, contenders }) =>
      entrants.some(({ problem }, i) => problem !== undefined && contenders[i]?.missing === undefined)
    )
    ? 1
    : 0;
}

function chosen(all: readonly Group[], only: readonly string[]): Group[] {
  if (only.length === 0) return [...all];
  return all
    .map((group) => ({
      ...group,
      rows: group.rows.filter(({ name }) => only.some((part) => name.includes(part))),
    }))
    .filter(({ rows }) => rows.length > 0);
}

/** Makes what a group needs. One that cannot run here becomes a note in each of its rows. */
async function ready(group: Group): Promise<Running> {
  progress(`preparing ${group.rows.map(({ name }) => name).join(", ")}`);
  try {
    const contenders = await group.contenders();
    const entrants = contenders.map(({ name, missing }) => ({
      name,
      samples: [],
      ...(missing !== undefined && { problem: missing }),
    }));
    return { rows: group.rows, contenders, entrants };
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    const note: Contender = { name: "not run", missing: error.message, run: () => Promise.reject(error) };
    return {
      rows: group.rows,
      contenders: [note],
      entrants: [{ name: "not run", samples: [], problem: error.message }],
    };
  }
}

/** Each contender once; the other way round in every second round, so that no one is always first. */
async function runRound(
  { rows, contenders, entrants }: Running,
  round: number,
  options: Options,
): Promise<void> {
  const order = contenders.map((_, i) => round % 2 === 0 ? i : contenders.length - 1 - i);
  for (const i of order) {
    const contender = contenders[i]!;
    const entrant = entrants[i]!;
    if (entrant.problem !== undefined) continue;
    progress(`round ${round + 1} of ${options.rounds}: ${rows[0]!.name}, ${contender.name}`);
    await runOnce(contender, entrant, options.timing);
  }
}

/** A contender that fails keeps what it has, says why, and is not run again. */
async function runOnce(contender: Contender, entrant: Entrant, timing: Timing): Promise<void> {
  const patience = AbortSignal.timeout((timing.warmUp + timing.seconds + PATIENCE) * 1000);
  try {
    const sample = await contender.run(timing, patience);
    if (sample.failed > 0) entrant.problem = `${sample.failed} requests failed`;
    else entrant.samples.push(sample);
  } catch (error) {
    entrant.problem = patience.aborted ? "it did not end in time" : (error as Error).message;
  }
}

function report(rows: readonly RowResult[], seconds: number): void {
  for (const row of rows) console.log(lines(row).join("\n") + "\n");
  const judged = rows.flatMap(({ verdicts }) => verdicts).filter(({ reached }) => reached !== undefined);
  const good = judged.filter(({ reached }) => reached).length;
  console.log(`${good} of ${judged.length} targets reached, in ${Math.round(seconds)} s`);
}

function say(text: string): number {
  console.log(text);
  return 0;
}

/** One line that is written over, where someone watches. */
function progress(text: string): void {
  if (!Deno.stderr.isTerminal()) return;
  Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
    console.error(error.message);
    Deno.exitCode = 2;
  }
}
