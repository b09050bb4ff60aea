/**
 * The rules of faults: a rule says which operations of a disk its fault hits.
 *
 * @module
 */

import { checkInteger, checkObject, describe } from "../check.ts";
import { SECTOR_SIZE } from "../device/facts.ts";

/** The kinds of operations. A write with FUA is a write; `"zeroes"` is a write of zeroes. */
export type FaultOp = "read" | "write" | "flush" | "discard" | "zeroes";

/** The operations that a fault hits. Without any property, it hits all. */
export interface FaultScope {
  /** The kinds of operations. Default: all that the fault can hit. */
  op?: FaultOp | readonly FaultOp[];
  /** The first sector, of 512 bytes, of a range that an operation must touch. Default: 0. A flush touches no range. */
  sector?: number;
  /** Sectors of that range. Default: 1 with `sector`, else the whole device. */
  count?: number;
  /** The first operation that is hit, counted among the operations that the properties above name: 1 is the next one. Default: 1. */
  nth?: number;
  /** How many operations are hit from there on. Default: 1 with `nth`, else all. */
  times?: number;
}

/** An operation, as rules see it. `[from, to)` are its bytes. */
export interface Hittable {
  readonly kind: FaultOp;
  readonly from: number;
  readonly to: number;
}

const OPS: readonly FaultOp[] = ["read", "write", "flush", "discard", "zeroes"];

/** One fault. It counts the operations that it hits. */
export class FaultRule {
  /** Operations that it hit so far. */
  hits = 0;

  readonly #ops: ReadonlySet<FaultOp>;
  // The bytes of its range; null for the whole device.
  readonly #place: { readonly from: number; readonly to: number } | null;
  #skip: number;
  #left: number;

  /**
   * @param scope Which operations it hits.
   * @param able The kinds of operations that this fault can hit.
   * @throws {TypeError | RangeError} When the scope names an unknown kind, a kind that the fault cannot hit, or a number out of its range.
   */
  constructor(scope: FaultScope, able: readonly FaultOp[] = OPS) {
    checkObject("scope", scope, "{ op, sector, count, nth, times }");
    const { op = able, sector, count = sector === undefined ? undefined : 1, nth, times } = scope;
    if (typeof op !== "string" && !Array.isArray(op)) {
      throw new TypeError(
        `scope.op is ${describe(op)}; it must be the name of an operation, or an array of names`,
      );
    }
    const ops: readonly FaultOp[] = typeof op === "string" ? [op] : [...op];
    for (const one of ops) {
      if (!able.includes(one)) {
        throw new TypeError(
          `scope.op is ${describe(one)}; this fault hits ${able.map((it) => `"${it}"`).join(", ")}`,
        );
      }
    }
    checkInteger("scope.sector", sector ?? 0, 0, Number.MAX_SAFE_INTEGER);
    checkInteger("scope.count", count ?? 1, 1, Number.MAX_SAFE_INTEGER);
    checkInteger("scope.nth", nth ?? 1, 1, Number.MAX_SAFE_INTEGER);
    checkInteger("scope.times", times ?? 1, 1, Number.MAX_SAFE_INTEGER);
    this.#ops = new Set(ops);
    const from = (sector ?? 0) * SECTOR_SIZE;
    this.#place = count === undefined ? null : { from, to: from + count * SECTOR_SIZE };
    this.#skip = (nth ?? 1) - 1;
    this.#left = times ?? (nth === undefined ? Infinity : 1);
  }

  /** Whether it hits an operation that begins now; counts it. */
  strikes({ kind, from, to }: Hittable): boolean {
    if (!this.#ops.has(kind)) return false;
    if (this.#place !== null && (to <= this.#place.from || from >= this.#place.to)) return false;
    if (this.#skip > 0) {
      this.#skip--;
      return false;
    }
    if (this.#left <= 0) return false;
    this.#left--;
    this.hits++;
    return true;
  }
}
