/**
 * Requests: the operation that a caller wants, its memory, and the promise or callback that gets the answer.
 *
 * @module
 */

import type { Bounce } from "../memory/bounce.ts";
import { Segments } from "../memory/segments.ts";
import { Io } from "../schedule/io.ts";
import type { IoResult } from "./result.ts";

/**
 * Called once with a request's answer.
 *
 * @param error Bit `i` is set when region `i` failed.
 * @param context The `context` that was passed with the function.
 */
export type IoNotifyFn<C> = (error: bigint, context: C) => void;

/** A request. The object is used again once it is settled and answered. */
export class Request {
  /** The operation that the scheduler carries out. */
  readonly io: Io = new Io(this);
  /** The caller's memory. */
  readonly memory: Segments = new Segments();
  /** Copies its memory through the pool's pages; null when the kernel can use the memory where it lies. */
  bounce: Bounce | null = null;
  /** Its place in the set of requests under way. */
  place = 0;
  /** When it was started, in milliseconds; 0 when it was refused before. */
  began = 0;
  /** Whether its call blocks until it is done. */
  sync = false;
  /** Whether the kernel is done with it. */
  settled = false;
  /** Whether its answer was delivered. */
  answered = false;
  /** Resolve and reject its promise; null for a request with a callback. */
  resolve: ((result: IoResult) => void) | null = null;
  reject: ((fault: Error) => void) | null = null;
  fn: IoNotifyFn<unknown> | null = null;
  context: unknown = undefined;
  /** Its answer, when a deadline ended it before the kernel did. */
  result: IoResult | null = null;
  /** Resolves `result.settled` of such an answer. */
  whenSettled: (() => void) | null = null;
  /** Ends its timer and its signal's listener. */
  disarm: (() => void) | null = null;

  /** Makes it ready for the next use, and drops its references. */
  clear(): void {
    this.io.clear();
    this.memory.clear();
    this.sync = this.settled = this.answered = false;
    this.began = 0;
    this.resolve =
      this.reject =
      this.fn =
      this.bounce =
      this.result =
      this.whenSettled =
      this.disarm =
        null;
    this.context = undefined;
  }
}

/** The most regions that all spare requests hold together, so that a burst's memory is not kept. */
const MOST_SPARE_REGIONS = 4096;

/** Spare request objects, for reuse. They hold no device and no memory. */
export class SpareRequests {
  readonly #spare: Request[] = [];
  #regions = 0;

  /** A request that is ready for use. */
  take(): Request {
    const request = this.#spare.pop();
    if (request === undefined) return new Request();
    this.#regions -= request.io.regions.length;
    return request;
  }

  /** Keeps a request that is done, unless enough are kept. */
  give(request: Request): void {
    request.clear();
    const regions = request.io.regions.length;
    if (this.#regions + regions > MOST_SPARE_REGIONS) return;
    this.#regions += regions;
    this.#spare.push(request);
  }
}
