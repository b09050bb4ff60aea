/**
 * The three forms of a client's calls: a promise, a callback, and a call that blocks.
 *
 * @module
 */

import type { Core } from "./drive/core.ts";
import type { IoMemory, Repeated } from "./memory/memory.ts";
import { arm } from "./request/deadline.ts";
import type { IoRegion } from "./request/region.ts";
import type { IoNotifyFn, Request } from "./request/request.ts";
import { type CheckedOptions, isAborted } from "./request/options.ts";
import { answerOf, type IoResult } from "./request/result.ts";
import type { Operation } from "./schedule/io.ts";

/** Makes and starts the requests of one client. */
export class Calls {
  readonly #core: Core;

  /** @param core Carries the requests out. */
  constructor(core: Core) {
    this.#core = core;
  }

  /** Starts a request, and gives the promise of its answer. `memory` is null for an operation without data. */
  promise(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
    options: CheckedOptions | undefined,
  ): Promise<IoResult> {
    const request = this.#accept(op, regions, memory, options);
    accepted = request;
    const answer = new Promise<IoResult>(noteRequest);
    this.#start(request, options);
    return answer;
  }

  /** Starts a request whose answer goes to a function. */
  notify<C>(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
    options: CheckedOptions | undefined,
    fn: IoNotifyFn<C>,
    context: C,
  ): void {
    const request = this.#accept(op, regions, memory, options);
    request.fn = fn as IoNotifyFn<unknown>;
    request.context = context;
    this.#start(request, options);
  }

  /** Carries a request out, and returns its answer. */
  block(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
    options: CheckedOptions | undefined,
  ): IoResult {
    const { intake, driver } = this.#core;
    const request = intake.accept(op, regions, memory, options, true);
    driver.block(request);
    const result = answerOf(request.io);
    intake.spare.give(request);
    return result;
  }

  #accept(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
    options: CheckedOptions | undefined,
  ): Request {
    const deadline = options !== undefined && (options.timeout !== undefined || options.signal !== undefined);
    if (!deadline) return this.#core.intake.accept(op, regions, memory, options, false);
    return this.#acceptWith(options, op, regions, memory);
  }

  // A function of its own, as V8 allocates the captured variables of a closure at the start of a function, even when it makes no closure.
  #acceptWith(
    options: CheckedOptions,
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
  ): Request {
    const { intake, deadlines } = this.#core;
    // The deadline is set before the request is made, so that an error in setting it leaves no request behind.
    let request: Request | null = null;
    const disarm = arm(options, {
      expire: (errno, late) => request === null ? 0 : deadlines.expire(request, errno, late),
    });
    try {
      request = intake.accept(op, regions, memory, options, false);
    } catch (error) {
      disarm();
      throw error;
    }
    request.disarm = disarm;
    return request;
  }

  #start(request: Request, options: CheckedOptions | undefined): void {
    // The signal is checked after the arguments were read, as a getter of an argument may have aborted it.
    if (options !== undefined && isAborted(options)) this.#core.deadlines.refuse(request);
    else this.#core.driver.start(request);
  }
}

// One function serves every promise, so that no closure is allocated for a request.
let accepted: Request;
function noteRequest(resolve: (result: IoResult) => void, reject: (fault: Error) => void): void {
  accepted.resolve = resolve;
  accepted.reject = reject;
}
