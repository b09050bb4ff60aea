/**
 * The benchmark: `deno task bench --help`.
 *
 * @module
 */
import { setColorEnabled } from "@std/fmt/colors";
import { chart } from "./chart.ts";
import type { Contender } from "./contender.ts";
import { machine } from "./machine.ts";
import { HELP, parse } from "./options.ts";
import { described, NoiseWatch } from "./noise.ts";
import { type Running, runPair } from "./pair.ts";
import { fill, type Group, type RowResult } from "./rows.ts";
import { lines } from "./table.ts";
import { TestBed, Unavailable } from "./test_bed.ts";
import { versus } from "./work/against.ts";
import { groups } from "./work/groups.ts";

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
  const watch = new NoiseWatch();
  const where = await machine();
  const running: Running[] = [];
  for (const group of asked) running.push(await ready(group));
  for (let pair = 0; pair < options.pairs; pair++) {
    for (const group of running) {
      // The first pair is always whole, so that every program has a figure.
      if (pair > 0 && sinceStart() > options.budget) break;
      const which = `pair ${pair + 1} of ${options.pairs}: ${group.rows[0]!.name}`;
      await runPair(group, options.timing, (name) => progress(`${which}, ${name}`));
      watch.look();
    }
  }
  progress("");
  const rows = running.flatMap((group) => group.rows.map((row) => fill(row, group.entrants)));
  const seconds = sinceStart();
  const noise = watch.noise();
  report(rows, seconds);
  console.log(described(noise));
  if (options.json !== undefined) {
    const { pairs, timing, devices, against } = options;
    const all = { machine: where, noise, settings: { pairs, ...timing, devices, against }, seconds, rows };
    Deno.writeTextFileSync(options.json, JSON.stringify(all, null, 2) + "\n");
  }
  if (options.svg !== undefined) Deno.writeTextFileSync(options.svg, chart(rows, where, noise));
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

function report(rows: readonly RowResult[], seconds: number): void {
  for (const row of rows) console.log(lines(row).join("\n") + "\n");
  const targets = rows.flatMap(({ verdicts }) => verdicts).filter(({ target }) => target !== undefined);
  const good = targets.filter(({ reached }) => reached).length;
  const open = targets.filter(({ reached }) => reached === undefined).length;
  const unjudged = open === 0 ? "" : `, ${open} not judged`;
  console.log(`${good} of ${targets.length} targets reached${unjudged}, in ${Math.round(seconds)} s`);
}

function say(text: string): number {
  console.log(text);
  return 0;
}

/** One line that is written over, where someone watches. */
export function progress(text: string): void {
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
