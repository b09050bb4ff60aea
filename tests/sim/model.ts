/**
 * What must be true of a request once it has its result, and once the kernel is done with it. It knows the disks, the errors
 * that they gave and the request; it knows nothing of how the library works.
 *
 * @module
 */

import { type Claim, type Disk, type Fault, SECTOR } from "./disk.ts";
import { ECANCELED, ETIMEDOUT, NAME_OF } from "./errno.ts";
import type { Device, Failure, Result } from "./library.ts";
import { equal, type Loan } from "./loan.ts";
import type { World } from "./world.ts";

/** A region of a request, with what its place held before. */
export interface Target {
  readonly disk: Disk;
  readonly bdev: Device;
  readonly sector: number;
  readonly count: number;
}

interface Place extends Target {
  readonly from: number;
  readonly to: number;
  readonly old: Uint8Array;
  readonly claim: Claim | undefined;
  readonly faultsBefore: number;
}

/** A request under way, and the claims that keep others off its place. */
export class Request {
  /** When the caller gave up: no timeout and no abort, no end. */
  timeoutAt = Infinity;
  abortAt = Infinity;
  readonly #places: readonly Place[];
  readonly #data: Uint8Array;
  #result: Result | undefined;

  constructor(
    readonly world: World,
    readonly id: number,
    readonly write: boolean,
    targets: readonly Target[],
    readonly loan: Loan,
    /** Whether the first bad block is searched for; otherwise a failed SQE is reported at its first sector. */
    readonly locate: boolean,
  ) {
    this.#data = write ? loan.flat() : new Uint8Array();
    this.#places = targets.map((target) => {
      const from = (target.sector - target.disk.base) * SECTOR;
      const to = from + target.count * SECTOR;
      const claim = to > from ? { write, from, to } : undefined;
      if (claim) target.disk.claims.add(claim);
      const faultsBefore = target.disk.faults.length;
      return { ...target, from, to, claim, faultsBefore, old: target.disk.data.slice(from, to) };
    });
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
        continue;
      }
      if (this.#faults(place).length === 0) {
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
      if (this.write) this.#checkWritten(i, place, failure);
      else if (checkMemory && !this.loan.gone) this.#checkRead(i, place, failure);
    }
    if (checkMemory && !this.loan.gone && this.loan.strayed(this.write ? 0 : this.used)) {
      this.#violate(`${this.loan.kind} memory changed where it should not`);
    }
  }

  /** Gives up the claims; the disks keep what they have. */
  finish(): void {
    for (const { disk, claim } of this.#places) if (claim) disk.claims.delete(claim);
  }

  #checkSuccess(i: number, place: Place): void {
    const bad = place.count > 0 && place.disk.firstBad(this.write, place.from, place.to);
    if (bad) this.#violate(`region ${i} has no bit, but byte ${bad.at} of ${place.disk.name} can't be good`);
    if (this.write) this.#checkWritten(i, place, undefined);
    else if (!this.loan.gone) this.#checkRead(i, place, undefined);
  }

  #checkFailure(i: number, place: Place, failure: Failure): void {
    const { disk } = place;
    const what = `region ${i} (${disk.name} [${place.from}, ${place.to})) failed with ${failure.code}`;
    if (failure.sector < place.sector || failure.sector >= place.sector + place.count) {
      this.#violate(`${what} at sector ${failure.sector}, outside of it`);
    }
    if (NAME_OF[failure.errno] !== failure.code) {
      this.#violate(`errno ${failure.errno} is called ${failure.code}`);
    }
    const faults = this.#faults(place);
    const at = (failure.sector - disk.base) * SECTOR;
    const known = faults.some((fault) =>
      (fault.from - fault.from % SECTOR <= at || !this.locate) && at < fault.to &&
      fault.errnos.includes(failure.errno)
    );
    if (!known && !this.#gaveUp(failure)) {
      this.#violate(`${what} at byte ${at}; the disk gave ${faults.map(describe).join(", ") || "no error"}`);
    }
    const bad = disk.firstBad(this.write, place.from, place.to);
    if (!known || !bad || !faults.every((fault) => fault.lasting)) return;
    const exact = Math.floor(bad.at / SECTOR) * SECTOR;
    if (!this.locate && at < exact) return;
    if (at !== exact || !bad.errnos.includes(failure.errno)) {
      this.#violate(`${what} at byte ${at}; the first bad one is ${exact} with errno ${bad.errnos}`);
    }
  }

  /** Errors that the disk gave for this region since the request began. */
  #faults(place: Place): Fault[] {
    return place.disk.faults.slice(place.faultsBefore).filter((fault) =>
      fault.write === this.write && fault.from < place.to && place.from < fault.to
    );
  }

  /** Whether a failure says that the caller stopped waiting. */
  #gaveUp(failure: Failure): boolean {
    const { now } = this.world;
    return (failure.errno === ETIMEDOUT && this.timeoutAt <= now) ||
      (failure.errno === ECANCELED && this.abortAt <= now);
  }

  #checkWritten(i: number, place: Place, failure: Failure | undefined): void {
    const { disk, from, to, old } = place;
    const now = disk.data.subarray(from, to);
    const data = this.#data.subarray(0, to - from);
    const sure = failure ? (failure.sector - place.sector) * SECTOR : to - from;
    if (!equal(now.subarray(0, sure), data.subarray(0, sure))) {
      this.#violate(`region ${i}: ${disk.name} does not hold what was written to [${from}, ${from + sure})`);
    }
    // A buffered device may stop at any byte, a direct one only between blocks.
    const unit = disk.direct ? disk.logicalBlockSize : 1;
    for (let at = sure; at < now.length; at += unit) {
      let [isNew, isOld] = [true, true];
      for (let byte = at; byte < at + unit; byte++) {
        if (now[byte] !== data[byte]) isNew = false;
        if (now[byte] !== old[byte]) isOld = false;
      }
      if (!isNew && !isOld) {
        this.#violate(`region ${i}: byte ${from + at} of ${disk.name} is neither old nor new`);
      }
    }
  }

  #checkRead(i: number, place: Place, failure: Failure | undefined): void {
    const { disk, from, to } = place;
    const got = this.loan.flat().subarray(0, to - from);
    const right = disk.data.subarray(from, to);
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
    this.world.violate(`request ${this.id} (${this.write ? "write" : "read"}, ${this.loan.kind}): ${what}`);
  }
}

function describe(fault: Fault): string {
  return `${fault.errnos} for [${fault.from}, ${fault.to})`;
}
