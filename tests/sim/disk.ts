/**
 * A device on the disk of the kit for tests: its flaws, what it can do, and a record of each error that it gave.
 *
 * @module
 */

import { Disk as Store, type WriteCache } from "../../src/testing/disk.ts";
import type { FaultOp as Kind } from "../../src/testing/fault_rules.ts";
import type { Random } from "../../src/testing/random.ts";
import { DEVICE, EINVAL, EIO, ENOSPC, EOPNOTSUPP, MEDIUM, TRANSIENT } from "./errno.ts";

export type { Kind };

export const SECTOR = 512;

/** An error that is final for the bytes that it names. */
export interface Fault {
  readonly kind: Kind;
  /** Bytes from the start of the disk's data. */
  readonly from: number;
  readonly to: number;
  /** The error that the caller gets may be any of these. */
  readonly errnos: readonly number[];
  /** Whether the same place fails each time, so that the first bad block is certain. */
  readonly lasting: boolean;
}

/** What a request may do to a device while it is under way: bytes that it may touch, or a flush. */
export interface Claim {
  readonly kind: Kind;
  readonly from: number;
  readonly to: number;
  /** Whether its writes are to be durable by themselves. */
  readonly fua: boolean;
  /** Whether a flush is to come before its data. */
  readonly preflush: boolean;
  /** Whether such a flush has begun and ended since the request was made. */
  flushed: boolean;
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

/** How a device was opened, and what it can do. */
export interface Facts {
  readonly logicalBlockSize: number;
  readonly memoryAlignment: number;
  readonly direct: boolean;
  readonly writable: boolean;
  readonly isBlockDevice: boolean;
  readonly cache: WriteCache;
  /** How it discards: by the ring's command, by the ioctl, or not at all. */
  readonly discards: "command" | "ioctl" | "not";
  /** How it makes zeroes: by fallocate, by the ioctl, or not at all. */
  readonly zeroes: "range" | "ioctl" | "not";
  /** Whether it makes zeroes by a hole. */
  readonly holes: boolean;
  /** `queue/discard_max_bytes`. */
  readonly discardMaxBytes: number | null;
}

/** What an SQE is to touch. `length` is 0 for a flush. */
export interface Moves {
  readonly kind: Kind;
  readonly from: number;
  readonly length: number;
  /** Whether a write is synced. */
  readonly durable: boolean;
}

/** Transient errors that one place gives in a row. */
const TRANSIENTS_IN_A_ROW = 3;
const KINDS: readonly Kind[] = ["read", "write", "flush", "discard", "zeroes"];

/** A device. Sectors before `base` exist by name only: nothing ever names them. */
export class Disk {
  /** What it holds. */
  readonly store: Store;
  /** The bytes of its data when it was opened. */
  readonly size: number;
  readonly hangs: Span[] = [];
  readonly outages: (Span & { readonly errno: number })[] = [];
  readonly claims = new Set<Claim>();
  readonly faults: Fault[] = [];
  /** The faults of flushes that will fail, or failed, and of which the program does not know yet. */
  readonly failing = new Set<Fault>();
  /** Kinds that it said it cannot do: the library may remember that. */
  readonly refused = new Set<Kind>();
  /** How often its power was cut. */
  cuts = 0;
  readonly #transients = new Map<number, number>();

  constructor(
    readonly name: string,
    readonly base: number,
    readonly sectors: number,
    readonly facts: Facts,
    contents: Uint8Array,
  ) {
    this.size = sectors * SECTOR;
    this.store = new Store(this.size, facts.logicalBlockSize, facts.cache);
    this.store.write(0, contents, true);
  }

  /** The unit that is written whole or not at all: a block, or a byte through the page cache. */
  get unit(): number {
    return this.facts.direct ? this.facts.logicalBlockSize : 1;
  }

  /** A copy of what it holds. */
  bytes(from: number, to: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(to - from);
    this.store.read(from, bytes);
    return bytes;
  }

  /** The claim of a request that all of `[from, to)` is part of. */
  claim(kind: Kind, from: number, to: number): Claim | undefined {
    for (const claim of this.claims) {
      if (
        kind === "flush"
          ? claim.kind === "flush" || claim.preflush || claim.fua && !this.facts.direct
          : claim.kind === kind && within(claim, from, to)
      ) {
        return claim;
      }
    }
    return undefined;
  }

  /** When an I/O begun at `now` can end at the earliest. */
  hungUntil(now: number): number {
    let until = now;
    for (const span of this.hangs) if (span.from <= now && now < span.to) until = Math.max(until, span.to);
    return until;
  }

  /** The first byte of `[from, to)` that always fails, and its error. */
  firstBad(kind: Kind, from: number, to: number): { at: number; errnos: readonly number[] } | undefined {
    if (kind === "flush" || kind === "discard") return undefined;
    const bad = this.store.firstBad(kind !== "read", from, to);
    const { end } = this.store;
    if (bad !== null && bad.at < end) return { at: bad.at, errnos: [bad.errno] };
    if (to <= end) return undefined;
    return { at: Math.max(from, end), errnos: kind === "read" ? [EIO] : [ENOSPC, EINVAL] };
  }

  /** Decides how an SQE ends, and records the error if it is final. @param data Whether it moves data from or to memory. */
  outcome(sqe: Moves, data: boolean, now: number, weather: Weather, chance: Random): Outcome {
    const { kind, from, length } = sqe;
    const outage = this.outages.find((span) => span.from <= now && now < span.to);
    if (outage) return this.fail(kind, from, from + length, [outage.errno], false);
    const place = from * KINDS.length + KINDS.indexOf(kind);
    const before = this.#transients.get(place) ?? 0;
    if (before < TRANSIENTS_IN_A_ROW && chance.chance(weather.transient)) {
      const errno = chance.pick(TRANSIENT);
      // Whatever error a sync gives, it gives once: it is the answer.
      if (kind === "flush") return this.fail(kind, from, from + length, [errno], false);
      this.#transients.set(place, before + 1);
      return { result: -errno, moved: 0, uncertain: false };
    }
    this.#transients.delete(place);
    if (chance.chance(weather.glitch)) return this.#glitch(sqe, data, chance);
    if (data) return this.#data(sqe, weather, chance);
    const bad = this.firstBad(kind, from, from + length);
    if (bad !== undefined) return this.fail(kind, from, from + length, bad.errnos, false);
    if (from + length > this.store.end) return this.fail(kind, from, from + length, [EINVAL], false);
    return { result: 0, moved: length, uncertain: false };
  }

  #data({ kind, from, length }: Moves, weather: Weather, chance: Random): Outcome {
    const bad = this.firstBad(kind, from, from + length);
    if (bad) {
      const good = bad.at - from;
      const pastEnd = bad.at >= this.store.end;
      if (good > 0 && (pastEnd || chance.chance(0.3))) return { result: good, moved: good, uncertain: false };
      if (pastEnd && kind === "read") {
        this.#record(kind, from, from + length, bad.errnos, true);
        return { result: 0, moved: 0, uncertain: false };
      }
      return this.fail(kind, from, from + length, bad.errnos, true);
    }
    if (chance.chance(weather.short)) {
      const moved = this.#cut(from, length, chance);
      if (moved > 0) return { result: moved, moved, uncertain: false };
    }
    return { result: length, moved: length, uncertain: false };
  }

  /** A length to stop short at: whole blocks on a direct device, anything on a buffered one. */
  #cut(from: number, length: number, chance: Random): number {
    const { direct, logicalBlockSize } = this.facts;
    if (!direct && chance.chance(0.3)) return chance.below(length);
    const unit = direct ? logicalBlockSize : SECTOR;
    const blocks = Math.floor((from + length - 1) / unit) - Math.floor(from / unit);
    const stop = (Math.floor(from / unit) + chance.below(blocks + 1)) * unit;
    return Math.max(0, stop - from);
  }

  #glitch({ kind, from, length }: Moves, data: boolean, chance: Random): Outcome {
    if (data && kind !== "read" && chance.chance(0.1)) {
      this.#record(kind, from, from + length, [EIO, ENOSPC], false);
      return { result: 0, moved: 0, uncertain: false };
    }
    const errno = chance.chance(0.5) ? chance.pick(MEDIUM) : chance.pick(DEVICE);
    return this.fail(kind, from, from + length, [errno], false);
  }

  /** Fails an SQE, and records that. */
  fail(kind: Kind, from: number, to: number, errnos: readonly number[], lasting: boolean): Outcome {
    this.#record(kind, from, to, errnos, lasting);
    return { result: -(errnos[0] ?? EINVAL), moved: 0, uncertain: true };
  }

  #record(kind: Kind, from: number, to: number, errnos: readonly number[], lasting: boolean): void {
    // EINVAL is what an ioctl answers that a device does not know.
    if (errnos.includes(EOPNOTSUPP) || errnos.includes(EINVAL)) this.refused.add(kind);
    this.faults.push({ kind, from, to, errnos, lasting });
  }
}

function within(claim: Claim, from: number, to: number): boolean {
  return claim.from <= from && to <= claim.to;
}
