import type { Contender } from "./contender.ts";
import { type Sample, systemMicroseconds, userMicroseconds, value } from "./sample.ts";
import { median, type Spread, spread } from "./statistics.ts";

/** What a comparison is to reach: a bound, on the good side. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** One figure of a contender against another's, taken pair by pair of rounds. */
export interface Comparison {
  /** The contender that is measured up. */
  readonly of: string;
  /** The one it is measured against; without it the figure stands for itself. */
  readonly against?: string;
  /** How the two figures become one: divided, or subtracted. */
  readonly by?: "ratio" | "difference";
  readonly target?: Target;
}

/** One row of the benchmark: a figure of each contender, and comparisons of them. */
export interface Row {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
  /** The figure, from a sample. */
  readonly figure: (sample: Sample) => number;
  readonly comparisons: readonly Comparison[];
  /** The contenders it shows; without it, all. */
  readonly shows?: readonly string[];
}

/** Contenders that run in turn, and the rows that their samples fill. */
export interface Group {
  readonly rows: readonly Row[];
  /** Makes what they need, devices and programs, when it is their turn for the first time. */
  contenders(): Promise<readonly Contender[]>;
}

/** What became of a contender over all pairs of rounds. */
export interface Entrant {
  readonly name: string;
  /** One a pair. */
  readonly samples: Sample[];
  /** Why there are none. */
  problem?: string;
}

/**
 * How far the ratios of the pairs may lie apart, (max - min) / median: beyond it the machine was too busy with
 * something else for the median to mean anything.
 */
export const WIDEST_SPREAD = 0.3;

/** Why a comparison cannot be judged. */
export type Doubt = "one pair alone" | "too wide a spread";

/** A comparison with its figures. */
export interface Verdict extends Comparison {
  /** One a pair; ratios, differences, or the figures themselves. */
  readonly pairs: readonly number[];
  readonly spread: Spread;
  /** Why its target is not judged. A difference or a figure for itself may spread as it likes below its bound. */
  readonly doubt?: Doubt;
  /** Whether the median reached the target; absent without one, and in doubt. */
  readonly reached?: boolean;
}

/** A contender with its figures of a row. */
export interface Shown extends Entrant {
  /** One a pair. */
  readonly figures: readonly number[];
  readonly spread?: Spread;
  /** Medians of the CPU microseconds of a request; absent where the program cannot say. */
  readonly cpu?: { readonly user: number; readonly system: number };
}

/** A row with its figures. */
export interface RowResult extends Omit<Row, "comparisons" | "figure" | "shows"> {
  readonly entrants: readonly Shown[];
  readonly verdicts: readonly Verdict[];
}

/** Fills a row. A comparison with a contender that did not run is left out. */
export function fill(row: Row, entrants: readonly Entrant[]): RowResult {
  const { comparisons, figure, shows, ...named } = row;
  const shown = entrants.filter(({ name }) => shows?.includes(name) ?? true).map((entrant) => {
    const figures = entrant.samples.map(figure).filter((n) => !Number.isNaN(n));
    return { ...entrant, figures, ...(figures.length > 0 && { spread: spread(figures) }), ...cpuOf(entrant) };
  });
  const figuresOf = (name: string) => shown.find((entrant) => entrant.name === name)?.figures ?? [];
  const verdicts = comparisons.flatMap((comparison) => {
    const pairs = compare(comparison, figuresOf);
    if (pairs.length === 0) return [];
    const between = spread(pairs);
    const { target } = comparison;
    const doubt = doubtOf(comparison, pairs.length, between);
    const judged = target && doubt === undefined && { reached: holds(target, between.median) };
    return [{ ...comparison, pairs, spread: between, ...(doubt && { doubt }), ...judged }];
  });
  return { ...named, entrants: shown, verdicts };
}

function cpuOf({ samples }: Entrant): Pick<Shown, "cpu"> {
  const [user, system] = [userMicroseconds, systemMicroseconds].map((of) => median(samples.map(of)));
  return Number.isNaN(user! + system!) ? {} : { cpu: { user: user!, system: system! } };
}

function compare(comparison: Comparison, figuresOf: (name: string) => readonly number[]): number[] {
  const figures = figuresOf(comparison.of);
  if (comparison.against === undefined) return [...figures];
  const others = figuresOf(comparison.against);
  return figures.slice(0, others.length).map((figure, pair) =>
    comparison.by === "difference" ? figure - others[pair]! : figure / others[pair]!
  );
}

function doubtOf(
  { against, by }: Comparison,
  pairs: number,
  { median, min, max }: Spread,
): Doubt | undefined {
  if (against === undefined || by === "difference") return undefined;
  if (pairs === 1) return "one pair alone";
  // A median of 0 or NaN is no ratio to judge either.
  return (max - min) / median <= WIDEST_SPREAD ? undefined : "too wide a spread";
}

function holds(target: Target, reached: number): boolean {
  return "atLeast" in target ? reached >= target.atLeast : reached <= target.atMost;
}

/** Rows whose figure is one of {@linkcode Sample.values}, less being better and a bound being the target. */
export function bounded(
  row: { name: string; title: string; unit: string; value: string; of: string; atMost: number },
): Row {
  const { value: figure, of, atMost, ...named } = row;
  return { ...named, better: "less", figure: value(figure), comparisons: [{ of, target: { atMost } }] };
}
