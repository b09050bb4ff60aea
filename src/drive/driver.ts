/**
 * The driver: when to submit, look and sleep. It owns the round: flush, collect, settle, deliver.
 *
 * @module
 */

import type { Engines } from "../engine/engines.ts";
import type { Request } from "../request/request.ts";
import { DmioFault } from "../fault.ts";
import { whenUnloaded } from "../unload.ts";
import type { Intake } from "../request/intake.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import type { Answers } from "./answers.ts";
import type { Ending } from "./ending.ts";
import { Polling, SLEEP, SPIN, SPIN_LIMIT } from "./polling.ts";
import type { Settler } from "./settler.ts";
import { SpinOrSleep } from "./spin_or_sleep.ts";

/** How long to nap at most, in microseconds. */
const NAP_LIMIT = 100;
/** How long to leave a kernel alone that takes no SQEs though none of ours is in flight, in milliseconds. */
const BACK_OFF = 1;

/** So many gathered regions are submitted at once, before the rest of their burst is made. */
const MOST_GATHERED = 16;
/** So many suffice when the kernel has no more than the gathered regions in flight. */
const LEAST_GATHERED = 8;

/** Nothing is to be done. */
const IDLE = 0;
/** A run is queued for the event loop's next turn. */
const QUEUED = 1;
/** A run is under way. */
const RUNNING = 2;
/** Answers are being handed out. */
const DELIVERING = 3;
/** The next run waits for a CQE or a timer. */
const ASLEEP = 4;

/** What a driver drives. */
export interface DriverParts {
  readonly engines: Engines;
  readonly scheduler: Scheduler;
  readonly intake: Intake;
  readonly settler: Settler;
  readonly answers: Answers;
  readonly ending: Ending;
}

/** Runs the requests of one client. */
export class Driver {
  /** The time when requests last came or were answered, in milliseconds. The clock is read once a batch. */
  clock = 0;
  /** How often it went to sleep. */
  waits = 0;

  readonly #engines: Engines;
  readonly #scheduler: Scheduler;
  readonly #intake: Intake;
  readonly #settler: Settler;
  readonly #answers: Answers;
  readonly #ending: Ending;
  readonly #polling: Polling;
  readonly #spins: boolean;
  // Whether spinning or sleeping is faster depends on the core that the kernel's thread runs on, so a blocking call measures both.
  readonly #spinOrSleep = new SpinOrSleep();
  #state = IDLE;
  #stopped = false;
  // Several answers were just delivered. Their callers are about to make requests, which go in one batch, and may still read their pages.
  #burst = false;
  // The kernel completed the last batch within the submit, as it does from the page cache.
  #prompt = false;
  // SQEs were submitted since the last round.
  #justGiven = false;
  #armed = false;
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #backOffTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #forgetUnload = whenUnloaded(() => this.abandon());

  /**
   * @param parts What it drives.
   * @param poll Whether to poll for completions.
   */
  constructor(parts: DriverParts, poll: boolean) {
    this.#engines = parts.engines;
    this.#scheduler = parts.scheduler;
    this.#intake = parts.intake;
    this.#settler = parts.settler;
    this.#answers = parts.answers;
    this.#ending = parts.ending;
    this.#polling = new Polling(poll);
    this.#spins = poll;
  }

  /** How many polls found no CQE. */
  get polls(): number {
    return this.#polling.polls;
  }

  /**
   * Starts a request whose answer goes to its promise or its function. A lone request is submitted at once. Several are gathered, and
   * submitted at the event loop's next turn, or as soon as they are many, so that the kernel works meanwhile. Requests made while
   * answers are delivered are gathered too.
   */
  start(request: Request): void {
    if (this.#scheduler.gathered === 0) this.clock = performance.now();
    request.began = this.clock;
    try {
      this.#begin(request);
    } catch (error) {
      return this.fail(error);
    }
    const alone = this.#intake.outstanding.size === 1 && !this.#burst && this.#state !== DELIVERING;
    if (alone || this.#gatheredEnough) this.#flush();
    this.kick();
  }

  /** Queues a run for the event loop's next turn, unless one is queued or under way. */
  kick(): void {
    if (!this.#stopped && (this.#state === IDLE || this.#state === ASLEEP)) this.#queue();
  }

  /** Queues a run when copies got pages. */
  pagesCameFree(): void {
    if (this.#settler.pending) this.kick();
  }

  /** Submits, reaps and settles at once. Answers are delivered at the event loop's next turn. */
  look(): void {
    if (this.#stopped) return;
    try {
      this.#scheduler.flush();
      this.#scheduler.reap();
      this.#settler.settle();
      this.kick();
    } catch (error) {
      this.fail(error);
    }
  }

  /**
   * Carries a request out while the program stands still. Answers of other requests are delivered by the event loop, later.
   */
  block(request: Request): void {
    const began = performance.now();
    try {
      this.#wait(request, began);
      this.#answers.latency.add(performance.now() - began);
      if (this.#answers.due > 0 || this.#scheduler.waiting) this.kick();
      this.#endIfDue();
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Frees everything, now or once every request is answered. */
  close(): void {
    if (this.#stopped) return;
    if (this.#state === DELIVERING || this.#burst) return; // a run follows, and frees everything
    this.#settler.settle();
    if (this.#answers.due > 0) this.kick();
    this.#endIfDue();
  }

  /** Whether the client broke: nothing is driven any more. */
  get broken(): boolean {
    return this.#ending.fault !== null;
  }

  /** Breaks the client, for good. */
  fail(error: unknown): void {
    this.#stop();
    this.#ending.breakDown(error);
  }

  /** Frees all before it returns, and answers nobody: the isolate ends, or the client could not be made. */
  abandon(): void {
    if (this.#stopped) return;
    this.#stop();
    this.#ending.abandon();
  }

  // Drives nothing more: ends the asynchronous wait and the timers, which would keep the program alive.
  #stop(): void {
    this.#stopped = true;
    this.#forgetUnload();
    if (this.#armed) this.#engines.wake();
    clearImmediate(this.#immediate);
    clearTimeout(this.#backOffTimer);
  }

  #begin(request: Request): void {
    if (request.bounce === null) return this.#scheduler.add(request.io);
    request.bounce.begin();
    this.#settler.settle();
  }

  #endIfDue(): void {
    if (!this.#ending.due) return;
    this.#stop();
    this.#ending.free();
  }

  #flush(): boolean {
    if (this.#stopped) return false;
    try {
      return this.#scheduler.flush();
    } catch (error) {
      this.fail(error);
      return false;
    }
  }

  // Requests are held back for a batch only while the kernel has at least as much to do as is held. If it completes inside the call (page
  // cache), there is nothing to overlap.
  get #gatheredEnough(): boolean {
    const { gathered, inFlight } = this.#scheduler;
    return gathered >= LEAST_GATHERED && !this.#prompt && (gathered >= MOST_GATHERED || gathered >= inFlight);
  }

  #wait(request: Request, began: number): void {
    const spins = this.#spins && this.#spinOrSleep.pick();
    this.#begin(request);
    for (;;) {
      // A caller's closeFd, which a settle calls, may have broken the client: the memory of its engines is unmapped then.
      if (this.#ending.fault !== null) throw this.#ending.fault;
      this.#scheduler.flush();
      const reaped = this.#scheduler.reap();
      const settled = this.#settler.settle();
      if (request.settled) break;
      // The rest of a short or failed transfer, and the next window of a copy, are submitted before this sleeps.
      if (reaped > 0 || settled > 0) continue;
      if (!this.#scheduler.busy) throw new DmioFault("a request waits, and nothing is in flight");
      if (spins && performance.now() - began < SPIN_LIMIT) {
        this.#engines.relax();
        continue;
      }
      this.waits++;
      if (this.#engines.queued === 0) this.#engines.wait();
      else this.#engines.wait(BACK_OFF * 1000);
    }
    this.#spinOrSleep.took(spins, performance.now() - began);
  }

  readonly #run = (): void => {
    if (this.#stopped) return;
    this.#state = RUNNING;
    this.#burst = false;
    try {
      this.#round();
    } catch (error) {
      this.#state = IDLE;
      this.fail(error);
    }
  };

  #round(): void {
    const scheduler = this.#scheduler;
    let began = 0;
    for (;;) {
      const given = scheduler.flush() || this.#justGiven;
      const reaped = scheduler.reap();
      const settled = this.#settler.settle();
      if (given) this.#prompt = scheduler.inFlight === 0;
      this.#justGiven = false;
      if (reaped > 0 || this.#answers.due > 0) this.clock = performance.now();
      if (reaped > 0) {
        if (began > 0) this.#polling.paid();
        began = 0;
      }
      this.#state = DELIVERING;
      const delivered = this.#answers.deliver(this.clock, this.#intake.spare);
      this.#state = RUNNING;
      if (this.#stopped) return;
      if (reaped > 0 || delivered > 0 || settled > 0) return this.#endRound(delivered);
      if (!this.#pending) {
        this.#state = IDLE;
        return this.#endIfDue();
      }
      const now = performance.now();
      const step = began === 0 ? this.#polling.begin() : this.#polling.next(now - began);
      if (step === SLEEP) return this.#sleep();
      if (began === 0) began = now;
      if (step === SPIN) this.#engines.relax();
      else this.#nap();
    }
  }

  // Callbacks may have made requests, and code after an `await` makes them in the microtasks that come next. So a round ends after each
  // batch, also between the transfers of a long request. A closed client's pages are freed a turn later: callers may still read them.
  #endRound(delivered: number): void {
    this.#burst = delivered > 1;
    this.#justGiven = this.#scheduler.flush();
    if (this.#burst || this.#pending || this.#ending.closing !== null) this.#queue();
    else this.#state = IDLE;
  }

  // The run comes after the callers' microtasks, timers and sockets. While immediates keep coming, Deno's runtime polls its sockets in
  // one of 61 turns (tokio's event_interval). A burst takes longer than other rounds, so two turns follow it. A turn costs 1 us.
  #queue(): void {
    this.#state = QUEUED;
    this.#immediate = setImmediate(this.#burst ? this.#oneMoreTurn : this.#run);
  }

  readonly #oneMoreTurn = (): void => {
    this.#justGiven = this.#flush() || this.#justGiven;
    if (!this.#stopped) this.#immediate = setImmediate(this.#run);
  };

  #nap(): void {
    this.waits++;
    this.#engines.wait(NAP_LIMIT);
  }

  #sleep(): void {
    this.#state = ASLEEP;
    if (this.#engines.queued > 0) {
      // The kernel takes no SQEs now. Without one in flight nothing would ever wake us, so a timer does.
      clearTimeout(this.#backOffTimer);
      this.#backOffTimer = setTimeout(this.#wake, BACK_OFF);
      return;
    }
    if (this.#armed) return;
    this.#armed = true;
    this.waits++;
    this.#engines.waitAsync().then(() => {
      this.#armed = false;
      this.#wake();
    });
  }

  readonly #wake = (): void => {
    if (this.#state === ASLEEP) this.#run();
  };

  get #pending(): boolean {
    return this.#scheduler.busy || this.#answers.due > 0 || this.#settler.pending;
  }
}
