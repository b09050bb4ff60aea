/**
 * A device in memory, its flaws, and a record of each error that it gave.
 *
 * @module
 */

import { DEVICE, EINVAL, EIO, ENOSPC, MEDIUM, TRANSIENT } from "./errno.ts";
import type { Random } from "../../src/testing/random.ts";

export const SECTOR = 512;

/** An error that is final for the bytes that it names. */
export interface Fault {
  readonly write: boolean;
  /** Bytes from the start of the disk's data. */
  readonly from: number;
  readonly to: number;
  /** The error that the caller gets may be any of these. */
  readonly errnos: readonly number[];
  /** Whether the same place fails each time, so that the first bad block is certain. */
  readonly lasting: boolean;
}

/** Bytes that a transfer may touch while it is under way. */
export interface Claim {
  readonly write: boolean;
  readonly from: number;
  readonly to: number;
}

/** How an SQE ends. */
export interface Outcome {
  /** `cqe.res`. */
  readonly result: number;
  /** Bytes from the start of the transfer that are moved. */
  readonly moved: number;
  /** Further blocks that may or may not be moved: the transfer failed at an unknown place. */
  readonly uncertain: boolean;
}

/** Probabilities of one run, drawn from its seed. */
export interface Weather {
  readonly transient: number;
  readonly short: number;
  readonly glitch: number;
  readonly partialSubmit: number;
  readonly refusedSubmit: number;
  readonly spurious: number;
  /** Microseconds that an I/O takes at most. */
  readonly latency: number;
}

/** A span of virtual time, in microseconds. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/** Transient errors that one place gives in a row. */
const TRANSIENTS_IN_A_ROW = 3;

/** A device in memory. Sectors before `base` exist by name only: nothing ever names them. */
export class Disk {
  readonly data: Uint8Array;
  /** Errors by logical block from `base`. */
  readonly badReads = new Map<number, number>();
  readonly badWrites = new Map<number, number>();
  /** Bytes of `data` that the device still has: it may have shrunk since it was opened. */
  end: number;
  readonly hangs: Span[] = [];
  readonly outages: (Span & { readonly errno: number })[] = [];
  readonly claims = new Set<Claim>();
  readonly faults: Fault[] = [];
  readonly #transients = new Map<number, number>();

  constructor(
    readonly name: string,
    readonly base: number,
    readonly sectors: number,
    readonly logicalBlockSize: number,
    readonly memoryAlignment: number,
    readonly direct: boolean,
    readonly writable: boolean,
  ) {
    this.data = new Uint8Array(sectors * SECTOR);
    this.end = this.data.length;
  }

  /** Whether all of `[from, to)` is part of one region of a request. */
  claimed(write: boolean, from: number, to: number): boolean {
    for (const claim of this.claims) {
      if (claim.write === write && claim.from <= from && to <= claim.to) return true;
    }
    return false;
  }

  /** When an I/O begun at `now` can end at the earliest. */
  hungUntil(now: number): number {
    let until = now;
    for (const span of this.hangs) if (span.from <= now && now < span.to) until = Math.max(until, span.to);
    return until;
  }

  /** The first byte of `[from, to)` that always fails, and its error. */
  firstBad(write: boolean, from: number, to: number): { at: number; errnos: readonly number[] } | undefined {
    const bad = write ? this.badWrites : this.badReads;
    let at = to;
    let errnos: readonly number[] = [];
    if (this.end < to) {
      at = Math.max(from, this.end);
      errnos = write ? [ENOSPC] : [EIO];
    }
    if (bad.size > 0) {
      const first = Math.floor(from / this.logicalBlockSize);
      for (let block = first; block * this.logicalBlockSize < at; block++) {
        const errno = bad.get(block);
        if (errno === undefined) continue;
        at = Math.max(from, block * this.logicalBlockSize);
        errnos = [errno];
        break;
      }
    }
    return at < to ? { at, errnos } : undefined;
  }

  /** Decides how a transfer of `length` bytes at `from` ends, and records the error if it is final. */
  outcome(
    write: boolean,
    from: number,
    length: number,
    now: number,
    weather: Weather,
    chance: Random,
  ): Outcome {
    const outage = this.outages.find((span) => span.from <= now && now < span.to);
    if (outage) return this.#fail(write, from, from + length, [outage.errno], false);
    const place = from * 2 + (write ? 1 : 0);
    const before = this.#transients.get(place) ?? 0;
    if (before < TRANSIENTS_IN_A_ROW && chance.chance(weather.transient)) {
      this.#transients.set(place, before + 1);
      return { result: -chance.pick(TRANSIENT), moved: 0, uncertain: false };
    }
    this.#transients.delete(place);
    if (chance.chance(weather.glitch)) return this.#glitch(write, from, length, chance);
    const bad = this.firstBad(write, from, from + length);
    if (bad) {
      const good = bad.at - from;
      const pastEnd = bad.at >= this.end;
      if (good > 0 && (pastEnd || chance.chance(0.3))) return { result: good, moved: good, uncertain: false };
      if (pastEnd && !write) {
        this.#record(write, from, from + length, bad.errnos, true);
        return { result: 0, moved: 0, uncertain: false };
      }
      return this.#fail(write, from, from + length, bad.errnos, true);
    }
    if (chance.chance(weather.short)) {
      const moved = this.#cut(from, length, chance);
      if (moved > 0) return { result: moved, moved, uncertain: false };
    }
    return { result: length, moved: length, uncertain: false };
  }

  /** A length to stop short at: whole blocks on a direct device, anything on a buffered one. */
  #cut(from: number, length: number, chance: Random): number {
    if (!this.direct && chance.chance(0.3)) return chance.below(length);
    const unit = this.direct ? this.logicalBlockSize : SECTOR;
    const blocks = Math.floor((from + length - 1) / unit) - Math.floor(from / unit);
    const stop = (Math.floor(from / unit) + chance.below(blocks + 1)) * unit;
    return Math.max(0, stop - from);
  }

  #glitch(write: boolean, from: number, length: number, chance: Random): Outcome {
    if (write && chance.chance(0.1)) {
      this.#record(write, from, from + length, [EIO, ENOSPC], false);
      return { result: 0, moved: 0, uncertain: false };
    }
    const errno = chance.chance(0.5) ? chance.pick(MEDIUM) : chance.pick(DEVICE);
    return this.#fail(write, from, from + length, [errno], false);
  }

  #fail(write: boolean, from: number, to: number, errnos: readonly number[], lasting: boolean): Outcome {
    this.#record(write, from, to, errnos, lasting);
    return { result: -(errnos[0] ?? EINVAL), moved: 0, uncertain: true };
  }

  #record(write: boolean, from: number, to: number, errnos: readonly number[], lasting: boolean): void {
    this.faults.push({ write, from, to, errnos, lasting });
  }
}
