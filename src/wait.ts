/**
 * The two waits: blocking, for the sync forms, and asynchronous, which polls while that pays and then sleeps, and lets timers and
 * sockets run.
 *
 * @module
 */

import type { Engine } from "./engine.ts";
import { Polling, SLEEP, SPIN, SPIN_LIMIT } from "./polling.ts";
import { Rivals } from "./rivals.ts";
import type { Scheduler } from "./scheduler.ts";

/** How long to nap at most, in microseconds. */
const NAP_LIMIT = 100;
/** How long to leave a kernel alone that takes no SQEs though none of ours is in flight, in milliseconds. */
const BACK_OFF = 1;

/** Of a burst of requests, so many regions are held back at most before the kernel is given them, and so many at least. */
const MOST_GATHERED = 16;
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
export class Wait {
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
  readonly #rivals = new Rivals();
  #state = IDLE;
  #closed = false;
  // Answers were just handed out: those who got them are about to ask again, all in one batch.
  #burst = false;
  // The kernel had answered everything when it had taken it, as it does from the page cache.
  #prompt = false;
  #armed = false;
  #turn: ReturnType<typeof setImmediate> | undefined;
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

  /**
   * Something was queued or is due. What comes alone is submitted at once; what comes with others goes with them, at the event
   * loop's next turn, and sooner when they are many: the kernel is to be at work meanwhile.
   *
   * @param alone Whether nothing else is outstanding.
   */
  kick(alone: boolean): void {
    if (this.#state === RUNNING || this.#closed) return;
    if ((alone && !this.#burst) || this.#gatheredEnough) this.#flush();
    if (this.#closed || (this.#state !== IDLE && this.#state !== ASLEEP)) return;
    this.clock = performance.now();
    this.#queue();
  }

  #flush(): void {
    try {
      this.#scheduler.flush();
    } catch (error) {
      this.#hooks.fault(error);
    }
  }

  // The kernel is not kept idle by what is held back; one that works only while it is called can't be.
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
    clearImmediate(this.#turn);
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
      const given = scheduler.flush();
      const reaped = scheduler.reap();
      if (given) this.#prompt = scheduler.inFlight === 0;
      if (reaped > 0) {
        this.clock = performance.now();
        if (began > 0) this.#polling.paid();
        began = 0;
      }
      this.#state = TELLING;
      const delivered = this.#hooks.deliver();
      this.#state = RUNNING;
      if (delivered > 0) {
        if (this.#closed) return;
        this.#burst = delivered > 1;
        // Callbacks may have asked for more; whoever awaits a promise will, in the microtasks that come next.
        scheduler.flush();
        if (this.#burst || this.#pending) this.#queue();
        else this.#state = IDLE;
        return;
      }
      if (!this.#pending) {
        this.#state = IDLE;
        return;
      }
      // A long request comes in many pieces: others get their turn between them as well.
      if (reaped > 0) return this.#queue();
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
    this.#turn = setImmediate(this.#burst ? this.#oneMoreTurn : this.#run);
  }

  readonly #oneMoreTurn = (): void => {
    this.#flush();
    if (!this.#closed) this.#turn = setImmediate(this.#run);
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
