/**
 * Requests: what a caller asked for, and how it is answered.
 *
 * @module
 */

import type { Bounce } from "../memory/bounce.ts";
import { Segments } from "../memory/segments.ts";
import { Io } from "../schedule/io.ts";
import type { IoResult } from "./result.ts";

/**
 * Called at a request's end.
 *
 * @param error Bit `i` is set when region `i` failed.
 * @param context What was given along with the function.
 */
export type IoNotifyFn<C> = (error: bigint, context: C) => void;

/** A request, used again for the next one when it is done. */
export class Request {
  /** What the scheduler carries out. */
  readonly io: Io = new Io(this);
  /** The caller's memory. */
  readonly memory: Segments = new Segments();
  /** Carries it through the pool's pages, when the kernel can't be given its memory. */
  bounce: Bounce | null = null;
  /** Its place in the set of requests under way. */
  place = 0;
  /** When it was started, in milliseconds; 0 when it never was. */
  began = 0;
  /** Whether its caller sleeps until it is done. */
  sync = false;
  /** Whether the kernel has nothing of it any more. */
  settled = false;
  /** Whether its caller was answered. */
  answered = false;
  /** Settle its promise; or else `fn` is called. */
  resolve: ((result: IoResult) => void) | null = null;
  reject: ((fault: Error) => void) | null = null;
  fn: IoNotifyFn<unknown> | null = null;
  context: unknown = undefined;
  /** Its answer, when a deadline gave it before it was settled. */
  result: IoResult | null = null;
  /** Resolves `result.settled`, when it was answered before it was settled. */
  whenSettled: (() => void) | null = null;
  /** Ends its timer and its signal's listener. */
  disarm: (() => void) | null = null;

  /** Makes it ready for the next use, and lets go of everything that it refers to. */
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

/** Requests that are done, for those to come. They hold no device and no memory. */
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
