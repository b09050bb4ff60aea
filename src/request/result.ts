/**
 * Results: one error bit for each region, and the reason of each failure.
 *
 * @module
 */

import { errnoName } from "../../ffi/errno.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import type { Io } from "../schedule/io.ts";

/** The failure of one region. */
export interface IoFailure {
  /** The region's index, which is its bit. */
  readonly region: number;
  /** The positive Linux error number: 5. */
  readonly errno: number;
  /** Its C name: `"EIO"`. `"ENODEV"` when the device is gone, whatever number the kernel gave. */
  readonly code: string;
  /**
   * The first sector on the device that was not transferred. The region before it was transferred whole. After it, nothing is known of a
   * write, and each part of a read is right or zeros in memory.
   */
  readonly sector: number;
}

/** A request whose error bits were not all clear, from {@linkcode IoResult.orThrow}. */
export class IoError extends Error {
  /** Bit `i` is set when region `i` failed. */
  readonly errorBits: bigint;
  /** The regions that failed, in their order. */
  readonly failures: readonly IoFailure[];

  /**
   * An error that holds an answer.
   *
   * @param result The answer; at least one of its bits is set.
   */
  constructor({ errorBits, failures }: IoResult) {
    super(
      failures.map(({ region, code, sector }) => `region ${region}: ${code} at sector ${sector}`).join("; "),
    );
    this.name = "IoError";
    this.errorBits = errorBits;
    this.failures = failures;
  }
}

/** The answer to a request. */
export class IoResult {
  /** Bit `i` is set when region `i` failed; `0n` when every region was transferred whole. */
  readonly errorBits: bigint;
  /** The regions that failed, in their order. */
  readonly failures: readonly IoFailure[];
  /**
   * Resolves when the kernel is done with the request's memory: at the answer, or later after a timeout or an abort. A fault of the
   * library resolves it too, and holds the memory for good.
   */
  readonly settled: Promise<void>;

  /** The library makes these; a program has no use for one of its own. */
  constructor(failures: readonly IoFailure[], settled: Promise<void>) {
    let bits = 0n;
    for (const { region } of failures) bits |= 1n << BigInt(region);
    this.errorBits = bits;
    this.failures = failures;
    this.settled = settled;
  }

  /** Whether every region was transferred whole. */
  get ok(): boolean {
    return this.errorBits === 0n;
  }

  /**
   * Whether one region failed.
   *
   * @param region The region's index.
   * @returns Whether its bit is set.
   */
  failed(region: number): boolean {
    return this.failures.some((failure) => failure.region === region);
  }

  /**
   * Throws when a region failed.
   *
   * @returns This answer, when every region was transferred whole.
   * @throws {IoError} With the failures, when any bit is set.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * (await io.write([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096))).orThrow();
   * ```
   */
  orThrow(): this {
    if (!this.ok) throw new IoError(this);
    return this;
  }
}

/** The one answer of all requests that succeed. */
export const SUCCESS: IoResult = Object.freeze(new IoResult(Object.freeze([]), Promise.resolve()));

/** The answer to a request, from the outcome of each region. */
export function answerOf(io: Io, settled: Promise<void> = SUCCESS.settled): IoResult {
  if (!io.failed) return SUCCESS;
  const failures: IoFailure[] = [];
  for (let i = 0; i < io.count; i++) {
    const { errno, failedAt, sector, gone } = io.regions[i]!;
    if (errno === 0) continue;
    failures.push({
      region: i,
      errno,
      code: gone ? "ENODEV" : errnoName(errno),
      sector: sector + Math.floor(failedAt / SECTOR_SIZE),
    });
  }
  return new IoResult(failures, settled);
}
