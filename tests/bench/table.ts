import { bold, dim, green, yellow } from "@std/fmt/colors";
import type { RowResult, Shown, Target, Verdict } from "./rows.ts";
import type { Spread } from "./statistics.ts";

const NAME_WIDTH = 48;
const RANGE_WIDTH = 22;

/** A number with three or four digits that count. */
export function figure(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}

/** A target in words. */
export function bound(target: Target): string {
  return "atLeast" in target ? `>= ${target.atLeast}` : `<= ${target.atMost}`;
}

/** What a comparison compares. */
export function compared({ of, against, by }: Verdict): string {
  return against === undefined ? of : by === "difference" ? `${of}, beyond ${against}` : `${of} : ${against}`;
}

/** The CPU time of a request beside a rate, in words. */
export function cpu(row: RowResult, { cpu }: Shown): string {
  if (row.better === "less" || cpu === undefined) return "";
  return `${figure(cpu.user)} us user, ${figure(cpu.system)} us system`;
}

/** What became of a comparison's target, in words. */
export function judgement({ target, reached, doubt }: Verdict): string {
  if (doubt !== undefined) return target === undefined ? doubt : `not judged: ${doubt}`;
  return target === undefined ? "" : reached ? "reached" : "not reached";
}

/** The programs that need a line of their own: a comparison with nothing is the program's own figure. */
export function contestants(row: RowResult): RowResult["entrants"] {
  return row.entrants.filter(({ name }) =>
    !row.verdicts.some(({ of, against }) => of === name && against === undefined)
  );
}

/** A row as lines of text: its programs' figures, then the comparisons with their targets. */
export function lines(row: RowResult): string[] {
  const out = [
    `${bold(row.name)}  ${row.title}, ${row.unit}${row.better === "less" ? " (less is better)" : ""}`,
  ];
  for (const entrant of contestants(row)) {
    const { name, spread, problem } = entrant;
    const shown = spread ? `${range(spread)}  ${cpu(row, entrant)}`.trimEnd() : "";
    out.push(`  ${name.padEnd(NAME_WIDTH)}${shown}${problem === undefined ? "" : yellow(`  ${problem}`)}`);
  }
  for (const verdict of row.verdicts) {
    const { reached, target, spread } = verdict;
    const colour = reached ? green : yellow;
    const end = `${target ? `${bound(target)} ` : ""}${colour(judgement(verdict))}`;
    out.push(`  ${compared(verdict).padEnd(NAME_WIDTH)}${range(spread)}  ${end}`.trimEnd());
  }
  return out;
}

/** The median, and how far the pairs lie apart. */
function range({ median, min, max }: Spread): string {
  return figure(median).padStart(9) + dim(`  ${figure(min)} - ${figure(max)}`.padEnd(RANGE_WIDTH));
}
