/**
 * Settling: regions that have ended are counted down, and finish their requests (`dec_count` of drivers/md/dm-io.c). It follows a reap.
 *
 * @module
 */

import { releaseDevice } from "../device/device.ts";
import { DmioFault } from "../fault.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { Intake } from "../request/intake.ts";
import type { Request } from "../request/request.ts";
import type { RegionIo } from "../schedule/io.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import { type Answers, guarded } from "./answers.ts";

/** Settles the requests of one client. A caller's `closeFd` runs here. A call of the library in it settles too: each region ends once. */
export class Settler {
  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #intake: Intake;
  readonly #answers: Answers;

  /**
   * @param scheduler Where regions end.
   * @param pool Unpins the pages of a finished request.
   * @param intake Holds the outstanding requests.
   * @param answers Delivers the answers of finished requests.
   */
  constructor(scheduler: Scheduler, pool: PagePool, intake: Intake, answers: Answers) {
    this.#scheduler = scheduler;
    this.#pool = pool;
    this.#intake = intake;
    this.#answers = answers;
  }

  /** Whether a copy has a window to issue, or ended. */
  get pending(): boolean {
    return this.#intake.served.length > 0;
  }

  /** Settles all regions that have ended, and issues the next windows of copies. @returns The number of regions and windows. */
  settle(): number {
    const { served } = this.#intake;
    for (let count = 0;; count++) {
      const region = this.#scheduler.collect();
      if (region !== null) {
        this.#ended(region);
        continue;
      }
      const bounce = served.shift();
      if (bounce === undefined) return count;
      if (bounce.over) this.finish(bounce.io.owner as Request);
      else this.#scheduler.add(bounce.io);
    }
  }

  /** Finishes a request: the kernel is done with its memory. */
  finish(request: Request): void {
    const { io, disarm, result, answered } = request;
    request.settled = true;
    if (result === null && !request.sync) this.#answers.add(request);
    this.#intake.outstanding.delete(request);
    this.#pool.unpin(request.memory);
    if (disarm !== null) guarded(disarm);
    request.whenSettled?.();
    // Last, as a caller's closeFd may run here and close or break the client. The answer is due, and the request is not outstanding.
    for (let i = 0; i < io.count; i++) letGo(io.regions[i]!);
    if (answered) this.#intake.spare.give(request);
  }

  // A region releases its device when its own I/O is over, though other regions of the request go on.
  #ended(region: RegionIo): void {
    const { io } = region;
    const request = io.owner as Request;
    const { bounce } = request;
    if (--io.pending < 0) throw new DmioFault("a request completed twice");
    if (bounce !== null) bounce.regionEnded(region);
    const over = region.end >= region.bytes || io.abandoned;
    if (io.pending === 0 && (bounce === null || bounce.advance())) this.finish(request);
    // Last: a caller's closeFd may run here, and settle the other regions of this request.
    else if (over) letGo(region);
  }
}

/** Releases a region's device, once. The last release of a closed device closes its file descriptor. */
export function letGo(region: RegionIo): void {
  if (!region.holds) return;
  region.holds = false;
  releaseDevice(region.device);
}
