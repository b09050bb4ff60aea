/**
 * The core of a client: its pool, scheduler, intake, deadlines and ending, and the driver that runs them.
 *
 * @module
 */

import type { Engines } from "../engine/engines.ts";
import { PagePool } from "../pool/page_pool.ts";
import { Intake } from "../request/intake.ts";
import { Scheduler } from "../schedule/scheduler.ts";
import type { IoStats } from "../stats.ts";
import { Answers } from "./answers.ts";
import { Deadlines } from "./deadlines.ts";
import { Driver } from "./driver.ts";
import { Ending } from "./ending.ts";
import { Settler } from "./settler.ts";

/** The parts of one client. */
export class Core {
  readonly pool: PagePool;
  readonly scheduler: Scheduler;
  readonly intake: Intake;
  readonly driver: Driver;
  readonly deadlines: Deadlines;
  readonly ending: Ending;
  readonly #answers = new Answers();

  /**
   * @param engines What carries the I/O.
   * @param queueDepth SQEs that one device may have in flight.
   * @param poll Whether to poll for completions.
   */
  constructor(engines: Engines, queueDepth: number, poll: boolean) {
    const answers = this.#answers;
    const pool = this.pool = new PagePool(engines);
    const scheduler = this.scheduler = new Scheduler(engines, queueDepth);
    const intake = this.intake = new Intake(scheduler, pool);
    const settler = new Settler(scheduler, pool, intake, answers);
    const ending = this.ending = new Ending(engines, scheduler, pool, intake, answers);
    this.driver = new Driver({ engines, scheduler, intake, settler, answers, ending }, poll);
    this.deadlines = new Deadlines(this.driver, scheduler, settler, answers);
  }

  /** Refuses new requests, and frees everything once all are settled. @returns Resolves when everything is freed. */
  close(): Promise<void> {
    if (this.ending.fault !== null) return Promise.resolve();
    if (this.ending.begin()) this.driver.close();
    return this.ending.closing!.promise;
  }

  /** Counts of what the client did so far. */
  get stats(): IoStats {
    const { intake, scheduler, driver } = this;
    return {
      requests: intake.requests,
      outstanding: intake.outstanding.size,
      bounces: intake.bounces,
      ...scheduler.counters,
      waits: driver.waits,
      polls: driver.polls,
      inFlight: scheduler.inFlight,
      latency: this.#answers.latency.summary(),
    };
  }

  /** Paths of the devices that have SQEs in flight. */
  get late(): string[] {
    const paths = new Set<string>();
    for (const { io } of this.intake.outstanding) {
      for (let i = 0; i < io.count; i++) {
        const { device, transfers } = io.regions[i]!;
        if (transfers > 0) paths.add(device.path);
      }
    }
    return [...paths];
  }
}
