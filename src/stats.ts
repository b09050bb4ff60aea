/**
 * Counters of a client. They are cheap, and always on.
 *
 * @module
 */

/** Counters of the scheduler. */
export interface SchedulerCounters {
  /** Regions that were queued; a long one that is copied through the pool counts once for each window. */
  readonly regions: number;
  /** SQEs that were made, those for the rest of a short or failed transfer included. */
  readonly sqes: number;
  /** Those of them that named a fixed buffer. */
  readonly fixedSqes: number;
  /** Batches of SQEs that were given to the kernel. */
  readonly submits: number;
  /** CQEs of fewer bytes than their SQE requested. */
  readonly shortTransfers: number;
  /** Bytes that the kernel said it transferred. */
  readonly bytes: number;
  /** The most SQEs that were in flight at once. */
  readonly mostInFlight: number;
}

/** How long requests took, from their start to the delivery of their answer, in microseconds. */
export interface LatencySummary {
  /** Half of them took no longer, within an eighth. */
  readonly p50: number;
  /** All but one in a hundred took no longer, within an eighth. */
  readonly p99: number;
  /** The longest. */
  readonly max: number;
}

/** Counters of a client, since it was made. */
export interface IoStats extends SchedulerCounters {
  /** Requests that were accepted. */
  readonly requests: number;
  /** Requests that are accepted and not yet settled. */
  readonly outstanding: number;
  /** Requests whose memory was copied through the pool. */
  readonly bounces: number;
  /** How often it went to sleep for a completion. */
  readonly waits: number;
  /** How many polls for a completion found none. */
  readonly polls: number;
  /** SQEs in flight now. */
  readonly inFlight: number;
  /** How long requests took. */
  readonly latency: LatencySummary;
}

/** Steps that each doubling is divided into. */
const STEPS = 8;

/** Counts times in log-spaced bins, from 1 us to more than an hour. */
export class Histogram {
  readonly #bins = new Float64Array(32 * STEPS);
  #count = 0;
  #max = 0;

  /** Adds a time in milliseconds. */
  add(milliseconds: number): void {
    const microseconds = milliseconds * 1000;
    if (microseconds > this.#max) this.#max = microseconds;
    const whole = Math.min(microseconds, 2 ** 32 - 1) >>> 0;
    const exponent = 31 - Math.clz32(whole | STEPS);
    this.#bins[(exponent - 3) * STEPS + (whole >>> (exponent - 3))]!++;
    this.#count++;
  }

  /** What was added so far. */
  summary(): LatencySummary {
    return { p50: this.#quantile(0.5), p99: this.#quantile(0.99), max: this.#max };
  }

  #quantile(share: number): number {
    let left = this.#count * share;
    for (let bin = 0; bin < this.#bins.length; bin++) {
      left -= this.#bins[bin]!;
      if (left <= 0 && this.#count > 0) return Math.min(upperEnd(bin), this.#max);
    }
    return 0;
  }
}

// Bins 0 to 15 are a microsecond wide each, the next eight two, the next eight four.
function upperEnd(bin: number): number {
  if (bin < 2 * STEPS) return bin + 1;
  const exponent = Math.floor(bin / STEPS) - 1;
  return (bin % STEPS + STEPS + 1) * 2 ** exponent;
}
