/**
 * The two waits: blocking, for the sync forms, and asynchronous, which polls while that pays and then sleeps, and lets timers and
 * sockets run.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import { Polling, SLEEP, SPIN, SPIN_LIMIT } from "./polling.ts";
import { SpinOrSleep } from "./spin_or_sleep.ts";
import type { Scheduler } from "../schedule/scheduler.ts";

/** How long to nap at most, in microseconds. */
const NAP_LIMIT = 100;
/** How long to leave a kernel alone that takes no SQEs though none of ours is in flight, in milliseconds. */
const BACK_OFF = 1;

/** Of a burst of requests, so many regions go to the kernel together, before the rest is asked for. */
const MOST_GATHERED = 16;
/** Or so many, when the kernel has no more than that left to do. */
const LEAST_GATHERED = 8;

/** Where the async wait is. */
const IDLE = 0;
/** A run is queued for the event loop's next turn. */
const QUEUED = 1;
/** A run is under way. */
const RUNNING = 2;
/** Answers are being handed out. */
const TELLING = 3;
/** Nothing to do before the kernel, or a timer, says so. */
const ASLEEP = 4;

/** What the wait tells its client. */
export interface WaitHooks {
  /** How many answers are due. */
  due(): number;
  /** Hands out answers that are due. @returns How many. */
  deliver(): number;
  /** The engine or the scheduler threw. */
  fault(error: unknown): void;
}

/** Runs the scheduler of one client. */
export class Driver {
  /** The time when requests last came or were answered, in milliseconds: asked for once a batch. */
  clock = 0;
  /** How often it went to sleep. */
  waits = 0;

  readonly #engine: Engine;
  readonly #scheduler: Scheduler;
  readonly #hooks: WaitHooks;
  readonly #polling: Polling;
  readonly #spins: boolean;
  // Whether a blocking call had better sleep at once or look first depends on which core the kernel's thread runs.
  readonly #rivals = new SpinOrSleep();
  #state = IDLE;
  #closed = false;
  // Answers were just handed out: those who got them are about to ask again, all in one batch.
  #burst = false;
  // The kernel had answered everything when it had taken it, as it does from the page cache.
  #prompt = false;
  // It was given something a turn or two ago.
  #justGiven = false;
  #armed = false;
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #backOffTimer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param engine What to wait for.
   * @param scheduler What to run.
   * @param hooks Whom to tell.
   * @param poll Whether to poll at all.
   */
  constructor(engine: Engine, scheduler: Scheduler, hooks: WaitHooks, poll: boolean) {
    this.#engine = engine;
    this.#scheduler = scheduler;
    this.#hooks = hooks;
    this.#polling = new Polling(poll);
    this.#spins = poll;
  }

  /** A request is about to be queued: looks at the clock, once for all that go to the kernel together. */
  mark(): void {
    if (this.#scheduler.gathered === 0) this.clock = performance.now();
  }

  /**
   * A request was queued. One that comes alone is submitted at once. Others go together, at the event loop's next turn; sooner when
   * they are many, so that the kernel is at work meanwhile; and so do those that are asked for while answers are handed out.
   *
   * @param alone Whether nothing else is outstanding.
   */
  start(alone: boolean): void {
    if ((alone && !this.#burst && this.#state !== TELLING) || this.#gatheredEnough) this.#flush();
    this.kick();
  }

  /** Something was queued or is due: sees to it at the event loop's next turn. */
  kick(): void {
    if (!this.#closed && (this.#state === IDLE || this.#state === ASLEEP)) this.#queue();
  }

  // Returns whether anything was given to the kernel.
  #flush(): boolean {
    try {
      return this.#scheduler.flush();
    } catch (error) {
      this.#hooks.fault(error);
      return false;
    }
  }

  // What is held back is not to keep the kernel idle. One that answers all within the call is at work only then.
  get #gatheredEnough(): boolean {
    const { gathered, inFlight } = this.#scheduler;
    return gathered >= LEAST_GATHERED && !this.#prompt && (gathered >= MOST_GATHERED || gathered >= inFlight);
  }

  /**
   * Sleeps on this thread until something is done. Answers of others that come up are left for the event loop.
   *
   * @param done Tells when.
   * @param starved Called, instead of sleeping for ever, when nothing is in flight that could get it done.
   */
  block(done: () => boolean, starved: () => void): void {
    const began = performance.now();
    const spins = this.#spins && this.#rivals.pick();
    for (;;) {
      this.#scheduler.flush();
      const reaped = this.#scheduler.reap();
      if (done()) break;
      if (reaped > 0) continue; // what came back short or failed is to be issued again before anybody sleeps
      if (!this.#scheduler.busy) return starved();
      if (spins && performance.now() - began < SPIN_LIMIT) {
        this.#engine.relax();
        continue;
      }
      this.waits++;
      if (this.#engine.queued === 0) this.#engine.wait();
      else this.#engine.wait(BACK_OFF * 1000);
    }
    this.#rivals.took(spins, performance.now() - began);
  }

  /** How often it looked for a completion in vain. */
  get polls(): number {
    return this.#polling.polls;
  }

  /** Ends the asynchronous wait, so that nothing of it holds up the program. */
  close(): void {
    this.#closed = true;
    if (this.#armed) this.#engine.wake();
    clearImmediate(this.#immediate);
    clearTimeout(this.#backOffTimer);
  }

  readonly #run = (): void => {
    if (this.#closed) return;
    this.#state = RUNNING;
    this.#burst = false;
    try {
      this.#round();
    } catch (error) {
      this.#state = IDLE;
      this.#hooks.fault(error);
    }
  };

  #round(): void {
    const scheduler = this.#scheduler;
    let began = 0;
    for (;;) {
      const given = scheduler.flush() || this.#justGiven;
      const reaped = scheduler.reap();
      if (given) this.#prompt = scheduler.inFlight === 0;
      this.#justGiven = false;
      if (reaped > 0 || this.#hooks.due() > 0) this.clock = performance.now();
      if (reaped > 0) {
        if (began > 0) this.#polling.paid();
        began = 0;
      }
      this.#state = TELLING;
      const delivered = this.#hooks.deliver();
      this.#state = RUNNING;
      if (this.#closed) return;
      if (reaped > 0 || delivered > 0) {
        this.#burst = delivered > 1;
        // Callbacks may have asked for more; whoever awaits a promise will, in the microtasks that come next. And a long request comes in
        // many pieces: others get their turn between them as well.
        this.#justGiven = scheduler.flush();
        if (this.#burst || this.#pending) this.#queue();
        else this.#state = IDLE;
        return;
      }
      if (!this.#pending) {
        this.#state = IDLE;
        return;
      }
      const now = performance.now();
      const step = began === 0 ? this.#polling.begin() : this.#polling.next(now - began);
      if (step === SLEEP) return this.#sleep();
      if (began === 0) began = now;
      if (step === SPIN) this.#engine.relax();
      else this.#nap();
    }
  }

  // Runs once those who were answered have run, and timers and sockets have had their turn. While there is always more to do, Deno's
  // runtime looks at its sockets in one of 61 turns (tokio's event_interval): a burst, which takes longer than others, is
  // followed by two. Each costs about a microsecond.
  #queue(): void {
    this.#state = QUEUED;
    this.#immediate = setImmediate(this.#burst ? this.#oneMoreTurn : this.#run);
  }

  readonly #oneMoreTurn = (): void => {
    this.#justGiven = this.#flush() || this.#justGiven;
    if (!this.#closed) this.#immediate = setImmediate(this.#run);
  };

  #nap(): void {
    this.waits++;
    this.#engine.wait(NAP_LIMIT);
  }

  #sleep(): void {
    this.#state = ASLEEP;
    if (this.#engine.queued > 0) {
      // The kernel takes no SQEs now. Without one in flight nothing would ever wake us, so a timer does.
      clearTimeout(this.#backOffTimer);
      this.#backOffTimer = setTimeout(this.#wake, BACK_OFF);
      return;
    }
    if (this.#armed) return;
    this.#armed = true;
    this.waits++;
    this.#engine.waitAsync().then(() => {
      this.#armed = false;
      this.#wake();
    });
  }

  readonly #wake = (): void => {
    if (this.#state === ASLEEP) this.#run();
  };

  get #pending(): boolean {
    return this.#scheduler.busy || this.#hooks.due() > 0;
  }
}
