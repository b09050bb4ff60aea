/**
 * Outcomes: the bytes and the failure of each region of a stream that writes.
 *
 * @module
 */

import { ECANCELED, errnoName } from "../../ffi/errno.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import type { IoRegion } from "../request/region.ts";
import { IoError, type IoFailure, IoResult } from "../request/result.ts";

/** The result of a stream that wrote: the bytes and the failure of each region. */
export class WritableResult extends IoResult {
  /**
   * Bytes of the stream that each region has, from its start and without a gap. More may have been written after a failure. Zeros that
   * fill the last block up do not count. For a region whose flush failed it is 0, as it is not known which bytes the device has.
   */
  readonly bytes: readonly number[];

  /** The library makes these; a program has no use for one of its own. */
  constructor(failures: readonly IoFailure[], settled: Promise<void>, bytes: readonly number[]) {
    super(failures, settled);
    this.bytes = bytes;
  }
}

/** Collects the answers of the writes, in the order of the stream. */
export class Outcomes {
  readonly #regions: readonly IoRegion[];
  readonly #bytes: number[];
  readonly #failures: (IoFailure | undefined)[];
  readonly #settled: Promise<void>[] = [];

  /** @param regions All regions of the stream. */
  constructor(regions: readonly IoRegion[]) {
    this.#regions = regions;
    this.#bytes = regions.map(() => 0);
    this.#failures = regions.map(() => undefined);
  }

  /** Whether a region failed. */
  failed(region: number): boolean {
    return this.#failures[region] !== undefined;
  }

  /** Whether every region failed. */
  get allFailed(): boolean {
    return this.#failures.every((failure) => failure !== undefined);
  }

  /** The failures so far, as an error. */
  get error(): IoError {
    const failures = this.#failures.filter((failure) => failure !== undefined);
    return new IoError(new IoResult(failures, Promise.resolve()));
  }

  /**
   * Takes an answer. A region counts up to its first failure.
   *
   * @param end The end of the request's data, in bytes from the start of the stream.
   * @param regions Its regions, in the order of its bits.
   * @param result The answer.
   */
  take(end: number, regions: readonly number[], { failures, settled }: IoResult): void {
    for (const [bit, i] of regions.entries()) {
      if (this.failed(i)) continue;
      const { sector, count } = this.#regions[i]!;
      const failure = failures.find(({ region }) => region === bit);
      const good = failure === undefined ? count : failure.sector - sector;
      this.#bytes[i] = Math.min(end, good * SECTOR_SIZE);
      if (failure !== undefined) this.#failures[i] = { ...failure, region: i };
    }
    if (failures.length > 0) this.#settled.push(settled);
  }

  /**
   * The result of the stream.
   *
   * @param whole Whether the stream was closed. If not, regions that did not fail get `ECANCELED`, at the sector where they stop.
   */
  result(whole: boolean): WritableResult {
    const failures: IoFailure[] = [];
    for (const [region, { sector }] of this.#regions.entries()) {
      const failure = this.#failures[region];
      if (failure !== undefined) failures.push(failure);
      else if (!whole) {
        const at = sector + Math.floor(this.#bytes[region]! / SECTOR_SIZE);
        failures.push({ region, errno: ECANCELED, code: errnoName(ECANCELED), sector: at });
      }
    }
    const settled = Promise.all(this.#settled).then(() => {});
    return new WritableResult(failures, settled, this.#bytes);
  }
}
