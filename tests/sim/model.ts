/**
 * What must be true of a request once it has its result, and once the kernel is done with it. It knows the disks, the errors
 * that they gave and the request; it knows nothing of how the library works.
 *
 * @module
 */

import { type Claim, type Disk, type Fault, type Kind, SECTOR } from "./disk.ts";
import { ECANCELED, EOPNOTSUPP, ETIMEDOUT, NAME_OF } from "./errno.ts";
import type { Change, Ledger } from "./ledger.ts";
import type { Device, Failure, How, Result } from "./library.ts";
import { equal, type Loan } from "./loan.ts";
import type { World } from "./world.ts";

/** A region of a request. */
export interface Target {
  readonly disk: Disk;
  readonly ledger: Ledger;
  readonly bdev: Device;
  readonly sector: number;
  readonly count: number;
}

/** A region, with what its place held before. */
interface Place extends Target {
  readonly from: number;
  readonly to: number;
  readonly old: Uint8Array;
  /** What it is to hold then, if it is to hold anything. */
  readonly data: Uint8Array;
  readonly change: Change;
  readonly claim: Claim | undefined;
  readonly faultsBefore: number;
  /** Flushes under way that fail. */
  readonly failing: readonly Fault[];
  readonly cutsBefore: number;
  /** What the program knew when the request began. */
  readonly since: number;
}

/** A request under way, and the claims that keep others off its place. */
export class Request {
  /** When the caller gave up: no timeout and no abort, no end. */
  timeoutAt = Infinity;
  abortAt = Infinity;
  readonly #places: readonly Place[];
  #result: Result | undefined;

  constructor(
    readonly world: World,
    readonly id: number,
    readonly kind: Kind,
    targets: readonly Target[],
    readonly loan: Loan,
    /** Without `locate`, a failed SQE is reported at its first sector. */
    readonly how: How,
  ) {
    const { fua = false, preflush = false } = how;
    const flat = kind === "write" ? loan.flat() : new Uint8Array();
    this.#places = targets.map((target) => {
      const { disk, ledger } = target;
      const from = (target.sector - disk.base) * SECTOR;
      const to = from + (kind === "flush" ? 0 : target.count * SECTOR);
      const claim = { kind, from, to, fua, preflush, flushed: false };
      const claims = to > from || kind === "flush" || preflush;
      if (claims) disk.claims.add(claim);
      const data = kind === "write"
        ? flat.subarray(0, to - from)
        : new Uint8Array(this.#changes ? to - from : 0);
      return {
        ...target,
        from,
        to,
        claim: claims ? claim : undefined,
        faultsBefore: disk.faults.length,
        failing: [...disk.failing],
        cutsBefore: disk.cuts,
        since: ledger.now,
        old: this.#changes ? disk.bytes(from, to) : new Uint8Array(),
        data,
        change: ledger.begin(from, data, kind !== "discard"),
      };
    });
  }

  get #changes(): boolean {
    return this.kind !== "read" && this.kind !== "flush";
  }

  /** Bytes of memory that the request uses. */
  get used(): number {
    return Math.max(0, ...this.#places.map((place) => place.to - place.from));
  }

  /** Checks what must be true when the library says how it went. */
  answered(result: Result): void {
    this.#result = result;
    const seen = new Map<number, Failure>();
    for (const failure of result.failures) {
      if (seen.has(failure.region)) this.#violate(`region ${failure.region} has two failures`);
      seen.set(failure.region, failure);
    }
    let bits = 0n;
    for (const region of seen.keys()) bits |= 1n << BigInt(region);
    if (bits !== result.errorBits) {
      this.#violate(`error bits ${result.errorBits.toString(2)} but failures ${bits.toString(2)}`);
    }
    if (bits >> BigInt(this.#places.length) !== 0n) this.#violate("a bit beyond the last region");
    for (const [i, place] of this.#places.entries()) {
      const failure = seen.get(i);
      if (failure) this.#checkFailure(i, place, failure);
      else this.#checkSuccess(i, place);
      this.#note(place, failure);
    }
    // A deadline that has come may have kept the library from waiting for the rest of a region that had failed already.
    const late = Math.min(this.timeoutAt, this.abortAt) <= this.world.now;
    if (!late) this.settled();
  }

  /** As `answered`, for an answer of bits alone. */
  answeredBits(errorBits: bigint): void {
    const failures: Failure[] = [];
    for (const [region, place] of this.#places.entries()) {
      if ((errorBits >> BigInt(region) & 1n) === 0n) {
        this.#checkSuccess(region, place);
        this.#note(place, undefined);
        continue;
      }
      if (this.#faults(place).length === 0 && !this.#mayRefuse(place)) {
        this.#violate(`region ${region} has a bit, but the disk gave no error`);
      }
      failures.push({ region, errno: 0, code: "", sector: place.sector });
    }
    if (errorBits >> BigInt(this.#places.length) !== 0n) this.#violate("a bit beyond the last region");
    this.#result = { errorBits, failures, settled: Promise.resolve() };
    this.settled();
  }

  /** Checks what must be true when nothing of the request is left in the kernel, and lets others have its place. */
  settled(checkMemory = true): void {
    const result = this.#result;
    if (!result) throw new Error("settled before answered");
    for (const [i, place] of this.#places.entries()) {
      const failure = result.failures.find((each) => each.region === i);
      if (this.#changes) this.#checkWritten(i, place, failure);
      else if (checkMemory && !this.loan.gone) this.#checkRead(i, place, failure);
    }
    if (checkMemory && !this.loan.gone && this.loan.strayed(this.kind === "read" ? this.used : 0)) {
      this.#violate(`${this.loan.kind} memory changed where it should not`);
    }
  }

  /** Gives up the claims; the disks keep what they have. */
  finish(): void {
    for (const { disk, ledger, claim, change } of this.#places) {
      if (claim) disk.claims.delete(claim);
      ledger.settle(change);
    }
  }

  // Notes what the program knows of its disks from here on.
  #note(place: Place, failure: Failure | undefined): void {
    const { ledger, change, since, from, to, sector } = place;
    const { kind, how } = this;
    if (!failure && (kind === "flush" || how.preflush)) ledger.flushed(since);
    if (this.#changes) {
      ledger.acknowledge(
        change,
        failure ? (failure.sector - sector) * SECTOR : to - from,
        this.#isDurable(place),
      );
    }
  }

  #checkSuccess(i: number, place: Place): void {
    const { from, to, disk } = place;
    const bad = to > from && disk.firstBad(this.kind, from, to);
    if (bad) this.#violate(`region ${i} has no bit, but byte ${bad.at} of ${disk.name} can't be good`);
    if (this.#changes) this.#checkWritten(i, place, undefined);
    else if (!this.loan.gone) this.#checkRead(i, place, undefined);
  }

  #checkFailure(i: number, place: Place, failure: Failure): void {
    const { disk } = place;
    // A durable write is not searched.
    const locate = this.how.locate && !this.how.fua;
    const what = `region ${i} (${disk.name} [${place.from}, ${place.to})) failed with ${failure.code}`;
    const last = place.sector + Math.max(1, this.kind === "flush" ? 1 : place.count);
    if (failure.sector < place.sector || failure.sector >= last) {
      this.#violate(`${what} at sector ${failure.sector}, outside of it`);
    }
    if (NAME_OF[failure.errno] !== failure.code) {
      this.#violate(`errno ${failure.errno} is called ${failure.code}`);
    }
    const faults = this.#faults(place);
    const at = (failure.sector - disk.base) * SECTOR;
    const known = faults.some((fault) =>
      fault.errnos.includes(failure.errno) &&
      (fault.kind === "flush"
        ? at === place.from || this.kind === "flush"
        : (fault.from - fault.from % SECTOR <= at || !locate) && at < fault.to)
    );
    if (!known && !this.#gaveUp(failure) && !(failure.errno === EOPNOTSUPP && this.#mayRefuse(place))) {
      this.#violate(`${what} at byte ${at}; the disk gave ${faults.map(describe).join(", ") || "no error"}`);
    }
    const bad = disk.firstBad(this.kind, place.from, place.to);
    if (!known || !bad || !faults.every((fault) => fault.lasting)) return;
    const exact = Math.floor(bad.at / SECTOR) * SECTOR;
    if (!locate && at < exact) return;
    if (at !== exact || !bad.errnos.includes(failure.errno)) {
      this.#violate(`${what} at byte ${at}; the first bad one is ${exact} with errno ${bad.errnos}`);
    }
  }

  /** Errors that the disk gave for this region since the request began. */
  #faults({ disk, faultsBefore, failing, from, to }: Place): Fault[] {
    const { kind, how: { fua, preflush } } = this;
    // A durable write through the page cache is flushed after its data.
    const flushes = kind === "flush" || preflush || fua && !disk.facts.direct;
    return [...failing, ...disk.faults.slice(faultsBefore)].filter((fault) =>
      fault.kind === "flush" ? flushes : fault.kind === kind && fault.from < to && from < fault.to
    );
  }

  /** Whether the library may know that the device cannot do it. */
  #mayRefuse({ disk }: Place): boolean {
    if (this.kind === "discard") return disk.facts.discards === "not" || disk.refused.has("discard");
    return this.kind === "zeroes" && this.how.fallback === false &&
      (disk.facts.zeroes !== "range" || disk.refused.has("zeroes"));
  }

  /** Whether a failure says that the caller stopped waiting. */
  #gaveUp(failure: Failure): boolean {
    const { now } = this.world;
    return (failure.errno === ETIMEDOUT && this.timeoutAt <= now) ||
      (failure.errno === ECANCELED && this.abortAt <= now);
  }

  #checkWritten(i: number, place: Place, failure: Failure | undefined): void {
    const { disk, from, to, old, data, ledger } = place;
    if (this.kind === "discard") return;
    const now = disk.bytes(from, to);
    const sure = failure ? (failure.sector - place.sector) * SECTOR : to - from;
    const cut = disk.cuts > place.cutsBefore;
    // What was written before a power cut is there if it was to be durable.
    if ((!cut || this.#isDurable(place)) && !equal(now.subarray(0, sure), data.subarray(0, sure))) {
      this.#violate(`region ${i}: ${disk.name} does not hold what was written to [${from}, ${from + sure})`);
    }
    if (cut) return ledger.check(from, now);
    if (failure && this.#preflushFailed(place, failure) && !equal(now, old)) {
      this.#violate(`region ${i}: ${disk.name} was written at [${from}, ${to}) though its preflush failed`);
    }
    // A buffered device may stop at any byte, a direct one only between blocks.
    const { unit } = disk;
    for (let at = sure; at < now.length; at += unit) {
      if (!sameAt(now, data, at, unit) && !sameAt(now, old, at, unit)) {
        this.#violate(`region ${i}: byte ${from + at} of ${disk.name} is neither old nor new`);
      }
    }
  }

  // Through the page cache, a flush follows the data of a durable write: a power cut between the two that nothing reports may lose it.
  #isDurable({ disk, cutsBefore }: Place): boolean {
    return this.how.fua === true && (disk.facts.direct || disk.cuts === cutsBefore);
  }

  // Whether nothing but a preflush can have failed.
  #preflushFailed(place: Place, failure: Failure): boolean {
    const faults = this.#faults(place);
    const flushed = place.claim?.flushed === true;
    return this.how.preflush === true && !flushed && !this.#gaveUp(failure) && faults.length > 0 &&
      faults.every(({ kind }) => kind === "flush");
  }

  #checkRead(i: number, place: Place, failure: Failure | undefined): void {
    const { disk, from, to } = place;
    // A power cut may have come between the read and this look at the disk.
    if (disk.cuts > place.cutsBefore) return;
    const got = this.loan.flat().subarray(0, to - from);
    const right = disk.bytes(from, to);
    const sure = failure ? (failure.sector - place.sector) * SECTOR : to - from;
    if (!equal(got.subarray(0, sure), right.subarray(0, sure))) {
      const at = got.findIndex((byte, k) => byte !== right[k]);
      this.#violate(
        `region ${i}: what was read of ${disk.name} [${from}, ${from + sure}) is wrong at +${at}`,
      );
    }
    for (let at = sure; at < got.length; at++) {
      if (got[at] === right[at] || got[at] === 0) continue;
      this.#violate(`region ${i}: byte +${at} after the failed sector at +${sure} is neither zero nor read`);
    }
  }

  #violate(what: string): never {
    this.world.violate(`request ${this.id} (${this.kind}, ${this.loan.kind}): ${what}`);
  }
}

function sameAt(a: Uint8Array, b: Uint8Array, at: number, length: number): boolean {
  for (let byte = at; byte < at + length; byte++) if (a[byte] !== b[byte]) return false;
  return true;
}

function describe(fault: Fault): string {
  return `${fault.errnos} for ${fault.kind} [${fault.from}, ${fault.to})`;
}
