/**
 * What becomes of a request whose deadline has come. The ring is asked before that is judged, so that a late event loop fails nothing
 * that the device has done.
 *
 * @module
 */

import { ECANCELED } from "../../ffi/errno.ts";
import type { Request } from "../request/request.ts";
import { answerOf } from "../request/result.ts";
import type { RegionIo } from "../schedule/io.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import type { Answers } from "./answers.ts";
import type { Driver } from "./driver.ts";
import type { Settler } from "./settler.ts";

/** Milliseconds by which a timer of an event loop with little to do may be late. */
const USUAL_LATENESS = 2;

/** Judges the requests of one client. */
export class Deadlines {
  readonly #driver: Driver;
  readonly #scheduler: Scheduler;
  readonly #settler: Settler;
  readonly #answers: Answers;

  /** Takes the parts that it works on. */
  constructor(driver: Driver, scheduler: Scheduler, settler: Settler, answers: Answers) {
    this.#driver = driver;
    this.#scheduler = scheduler;
    this.#settler = settler;
    this.#answers = answers;
  }

  /**
   * A request's deadline has come: what is not done has failed. The memory is held until the kernel lets go of it.
   *
   * @param request The request.
   * @param errno Why.
   * @param late Milliseconds by which the event loop was late.
   * @returns Milliseconds to wait before this is called again, as a loop that was late kept the request from going on; or 0.
   */
  expire(request: Request, errno: number, late: number): number {
    // Answered before: the look may settle it, and another request use the object.
    if (request.result !== null) return 0;
    this.#driver.look();
    if (request.settled || request.result !== null || this.#driver.broken) return 0;
    if (late > USUAL_LATENESS) return late;
    this.#giveUp(request, errno);
    this.#settler.settle();
    this.#driver.kick();
    return 0;
  }

  /** Answers a request that was accepted and is not to be started, as its signal was aborted before. */
  refuse(request: Request): void {
    this.#giveUp(request, ECANCELED);
    this.#settler.finish(request);
    this.#driver.kick();
  }

  #giveUp(request: Request, errno: number): void {
    const { io, bounce } = request;
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      if (region.transfers === 0 && region.issued >= region.bytes) continue;
      const first = this.#firstMissing(request, region);
      region.fail(errno, first);
      if (!io.op.writes) request.memory.zero(first, region.bytes);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    request.whenSettled = resolve;
    request.result = answerOf(io, promise);
    this.#answers.add(request);
    if (bounce?.waiting) bounce.cancel(errno);
    else this.#scheduler.abandon(io);
  }

  // What was read into pages of the pool counts only once it is copied to the caller.
  #firstMissing({ io, bounce }: Request, region: RegionIo): number {
    if (bounce !== null && !io.op.writes) return Math.min(bounce.start, region.bytes);
    return this.#scheduler.firstPending(region);
  }
}
