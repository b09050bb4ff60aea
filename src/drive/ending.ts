/**
 * The two ends of a client: it is closed once every request is answered, or broken by a fault of an engine or of the library.
 *
 * @module
 */

import type { Engines } from "../engine/engines.ts";
import { DmioFault } from "../fault.ts";
import { noteOpen } from "../live.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { Intake } from "../request/intake.ts";
import type { Request } from "../request/request.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import { type Answers, call, guarded } from "./answers.ts";
import { letGo } from "./settler.ts";

/** Requests of broken clients that the kernel still has. Their memory is held for good: no CQE will say that the kernel is done with it. */
const ORPHANS = new Set<Request>();

/** Closes or breaks the parts of a client. */
export class Ending {
  /** Why the client broke; null while it works. */
  fault: Error | null = null;
  /** Resolves when everything is freed. */
  closing: PromiseWithResolvers<void> | null = null;

  readonly #engines: Engines;
  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #intake: Intake;
  readonly #answers: Answers;
  readonly #noteClosed: () => void;
  #freed = false;

  /** Takes the parts that it closes or breaks. */
  constructor(engines: Engines, scheduler: Scheduler, pool: PagePool, intake: Intake, answers: Answers) {
    this.#engines = engines;
    this.#scheduler = scheduler;
    this.#pool = pool;
    this.#intake = intake;
    this.#answers = answers;
    this.#noteClosed = noteOpen((where) => {
      const { allocated } = pool;
      const pages = `${allocated} ${allocated === 1 ? "page" : "pages"} of the client made at ${where}`;
      const open = `the client made at ${where} is not closed`;
      return allocated === 0 ? [open] : [open, `${pages} ${allocated === 1 ? "is" : "are"} not freed`];
    });
  }

  /** Refuses new requests and allocations from here on. @returns Whether this is the first call. */
  begin(): boolean {
    if (this.closing !== null) return false;
    this.closing = Promise.withResolvers<void>();
    this.#intake.refusal ??= new TypeError("the client is closed");
    this.#pool.refuse(new TypeError("the client is closed: no pages of its pool are to be had"));
    return true;
  }

  /** Whether everything can be freed now: the client is closing, every request is answered, and nothing was freed yet. */
  get due(): boolean {
    return this.closing !== null && this.fault === null && !this.#freed &&
      this.#intake.outstanding.size === 0 && this.#answers.due === 0;
  }

  /** Frees everything before it returns, but for a thread that still waits for an engine. Nothing may be in flight. */
  free(): void {
    this.#freed = true;
    this.#noteClosed();
    this.#scheduler.close();
    this.#pool.close();
    const { resolve, reject } = this.closing!;
    this.#engines.close().then(resolve, reject);
  }

  /** Frees everything, whatever is in flight, and answers nobody. Pages that the kernel may still use stay mapped. */
  abandon(): void {
    if (this.#freed || this.fault !== null) return;
    this.#freed = true;
    this.#noteClosed();
    this.fault = this.#intake.refusal = new DmioFault("the client was abandoned: its isolate has ended");
    this.#scheduler.close();
    if (this.#scheduler.inFlight === 0) this.#pool.close();
    else this.#pool.halt(this.fault);
    void this.#engines.close();
  }

  /**
   * Breaks the client after a fault of the library, or when the kernel refuses a ring's system call. Every outstanding request is answered with the
   * fault. The pool's memory stays mapped, as the kernel may still use it.
   */
  breakDown(cause: unknown): void {
    if (this.fault !== null) return;
    this.#noteClosed();
    const fault = this.fault = cause instanceof Error ? cause : new Error(`${cause}`);
    this.#intake.refusal = fault;
    this.#intake.served.length = 0;
    this.#scheduler.close();
    this.#pool.halt(fault);
    void this.#engines.close();
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
