/**
 * What a request gives back: one error bit a region, and why.
 *
 * @module
 */

/** Why one region failed. */
export interface IoFailure {
  /** The region's index, which is its bit. */
  readonly region: number;
  /** The positive Linux error number: 5. */
  readonly errno: number;
  /** Its C name: `"EIO"`. */
  readonly code: string;
  /**
   * The first sector on the device that was not transferred. All of the region before it was; of what follows, nothing is
   * known (a write), or it is right or zeros in memory (a read).
   */
  readonly sector: number;
}

/** The answer to a request. */
export interface IoResult {
  /** Bit `i` is set when region `i` failed; `0n` when every region has all of it. */
  readonly errorBits: bigint;
  /** The regions that failed, in their order. */
  readonly failures: readonly IoFailure[];
  /**
   * Resolves when the kernel is done with the request's memory. That is before the answer, unless a timeout or an abort came
   * first.
   */
  readonly settled: Promise<void>;
}

/** The one answer of all requests that succeed. */
export const SUCCESS: IoResult = Object.freeze({
  errorBits: 0n,
  failures: Object.freeze([]),
  settled: Promise.resolve(),
});
