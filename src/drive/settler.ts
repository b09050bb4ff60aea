/**
 * Settling: what becomes of regions that have ended, after the CQEs that ended them were taken in (`dec_count` of drivers/md/dm-io.c).
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

/** Settles the requests of one client. A caller's code that runs here may call the library, which settles again: each region is met once. */
export class Settler {
  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #intake: Intake;
  readonly #answers: Answers;

  /**
   * @param scheduler Where regions end.
   * @param pool Whose pages the memory lies in.
   * @param intake Whose requests they are of.
   * @param answers Is given each request whose answer is known.
   */
  constructor(scheduler: Scheduler, pool: PagePool, intake: Intake, answers: Answers) {
    this.#scheduler = scheduler;
    this.#pool = pool;
    this.#intake = intake;
    this.#answers = answers;
  }

  /** Whether something is to be settled. */
  get pending(): boolean {
    return this.#intake.served.length > 0;
  }

  /** Settles all that has ended, and issues the next windows of what is copied. @returns How many regions and windows that were. */
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

  /** The kernel has nothing of a request any more. */
  finish(request: Request): void {
    const { io, disarm, result, answered } = request;
    request.settled = true;
    if (result === null && !request.sync) this.#answers.add(request);
    this.#intake.outstanding.delete(request);
    this.#pool.unpin(request.memory);
    if (disarm !== null) guarded(disarm);
    request.whenSettled?.();
    // A caller's closeFd may run here, and close or break the client: the answer is due by now, and the request in no set.
    for (let i = 0; i < io.count; i++) letGo(io.regions[i]!);
    if (answered) this.#intake.spare.give(request);
  }

  // A region lets its device go when its own I/O is over, whatever its neighbours still wait for.
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

/** Lets a region's device go, once. The last one of a closed device closes its file descriptor. */
export function letGo(region: RegionIo): void {
  if (!region.holds) return;
  region.holds = false;
  releaseDevice(region.device);
}
