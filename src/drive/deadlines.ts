/**
 * Deadlines: a request that is not done at its deadline fails. Completions are reaped first, so that a late event loop fails nothing that
 * the device has done.
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

/** Milliseconds by which the timers of an idle event loop are late. */
const USUAL_LATENESS = 2;

/** Ends the requests of one client at their deadlines. */
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
   * Ends a request at its deadline: the regions that are not done fail. The memory is held until the kernel is done with it.
   *
   * @param request The request.
   * @param errno The error of the regions that are not done.
   * @param late Milliseconds by which the event loop was late.
   * @returns Milliseconds after which to call this again: a late event loop kept the request from progress. 0 when the request ended.
   */
  expire(request: Request, errno: number, late: number): number {
    // A request that has its answer may settle in the look, and its object then serves another request.
    if (request.result !== null) return 0;
    this.#driver.look();
    if (request.settled || request.result !== null || this.#driver.broken) return 0;
    if (late > USUAL_LATENESS) return late;
    this.#giveUp(request, errno);
    this.#settler.settle();
    this.#driver.kick();
    return 0;
  }

  /** Answers an accepted request whose signal was aborted already, without starting it. */
  refuse(request: Request): void {
    this.#giveUp(request, ECANCELED);
    this.#settler.finish(request);
    this.#driver.kick();
  }

  #giveUp(request: Request, errno: number): void {
    const { io, bounce } = request;
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      if (region.flush === null && region.transfers === 0 && region.issued >= region.bytes) continue;
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

  // A copied read is done only as far as its windows were copied to the caller's memory.
  #firstMissing({ io, bounce }: Request, region: RegionIo): number {
    if (bounce !== null && !io.op.writes) return Math.min(bounce.start, region.bytes);
    return this.#scheduler.firstPending(region);
  }
}
