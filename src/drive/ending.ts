/**
 * The ends of a client: closed when all is done, or broken when something happened that cannot.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { Intake } from "../request/intake.ts";
import type { Request } from "../request/request.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import { type Answers, call, guarded } from "./answers.ts";
import { letGo } from "./settler.ts";

/** Requests that a broken ring left with the kernel: their memory is held for good, as nobody learns when it is done with. */
const ORPHANS = new Set<Request>();

/** Ends what a client is made of. */
export class Ending {
  /** Why the client broke. */
  fault: Error | null = null;
  /** Resolves when everything is freed. */
  closing: PromiseWithResolvers<void> | null = null;

  readonly #engine: Engine;
  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #intake: Intake;
  readonly #answers: Answers;
  #freed = false;

  /** Takes the parts that it ends. */
  constructor(engine: Engine, scheduler: Scheduler, pool: PagePool, intake: Intake, answers: Answers) {
    this.#engine = engine;
    this.#scheduler = scheduler;
    this.#pool = pool;
    this.#intake = intake;
    this.#answers = answers;
  }

  /** No more requests are taken, nor pages given out. @returns Whether this is news. */
  begin(): boolean {
    if (this.closing !== null) return false;
    this.closing = Promise.withResolvers<void>();
    this.#intake.refusal ??= new TypeError("the client is closed");
    this.#pool.refuse(new TypeError("the client is closed: no pages of its pool are to be had"));
    return true;
  }

  /** Whether it is closing, everything is done, and nothing is freed yet. */
  get due(): boolean {
    return this.closing !== null && this.fault === null && !this.#freed &&
      this.#intake.outstanding.size === 0 && this.#answers.due === 0;
  }

  /** Frees everything before it returns, but for a thread that still waits for the ring. Nothing may be in flight. */
  free(): void {
    this.#freed = true;
    this.#scheduler.close();
    this.#pool.close();
    const { resolve, reject } = this.closing!;
    this.#engine.close().then(resolve, reject);
  }

  /**
   * Ends what something that cannot happen, or a kernel that refused the ring, left behind: nobody is left waiting, and nothing is trusted
   * any more. The kernel may still use the pool's memory, so that stays mapped.
   */
  breakDown(cause: unknown): void {
    if (this.fault !== null) return;
    const fault = this.fault = cause instanceof Error ? cause : new Error(`${cause}`);
    this.#intake.refusal = fault;
    this.#intake.served.length = 0;
    this.#scheduler.close();
    this.#pool.halt(fault);
    void this.#engine.close();
    const { outstanding } = this.#intake;
    const unanswered = new Set([...this.#answers.takeAll(), ...outstanding]);
    for (const request of outstanding) {
      ORPHANS.add(request);
      outstanding.delete(request);
    }
    for (const request of unanswered) this.#answer(request, fault);
    this.closing?.resolve();
  }

  #answer(request: Request, fault: Error): void {
    const { io, fn, disarm, whenSettled } = request;
    if (disarm !== null) guarded(disarm);
    for (let i = 0; i < io.count; i++) guarded(() => letGo(io.regions[i]!));
    whenSettled?.();
    if (request.answered) return;
    request.answered = true;
    const bits = 2n ** BigInt(io.count) - 1n;
    if (fn !== null) queueMicrotask(() => call(fn, bits, request.context));
    else request.reject?.(fault);
  }
}
