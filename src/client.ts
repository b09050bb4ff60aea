/**
 * The client: what new code uses.
 *
 * @module
 */

import { ECANCELED } from "../ffi/errno.ts";
import { IoUring } from "./engine/io_uring.ts";
import { arm, checkDeadline, type IoOptions, MAX_TIMEOUT } from "./request/deadline.ts";
import { Dispatcher } from "./drive/dispatcher.ts";
import type { EngineFeatures } from "./engine/features.ts";
import type { Engine } from "./engine/engine.ts";
import type { IoMemory } from "./memory/memory.ts";
import type { Pool } from "./pool/pool.ts";
import { describe } from "./check.ts";
import type { IoRegion } from "./request/region.ts";
import type { IoNotifyFn, Request } from "./request/request.ts";
import type { IoResult } from "./request/result.ts";
import type { IoStats } from "./stats.ts";

/** How to make an {@linkcode IoClient}. */
export interface IoClientOptions {
  /** Pages of the pool to begin with. Default: 1024, which is 4 MiB. */
  pages?: number;
  /**
   * SQEs that one device may have in flight, 1 to 4096. The ring holds four times as many: three devices get all they may have,
   * and each one that hangs leaves half of the rest, so that ten of them do not hold up the next. Default: 128.
   */
  queueDepth?: number;
  /** Whether to poll for completions, for up to 50 us while that pays, before sleeping. Default: `true`. */
  poll?: boolean;
}

/** How to close an {@linkcode IoClient}. */
export interface CloseOptions {
  /** Milliseconds to wait for what is in flight. Default: as long as it takes. */
  timeout?: number;
}

const MAX_QUEUE_DEPTH = 4096;
/** How many devices' worth of SQEs a ring holds. */
const FULL_DEVICES = 4;

/**
 * Reads and writes regions: one ring, one pool of fixed buffers, any number of devices.
 *
 * Close it, or its ring and its pool last as long as the process. At `unload`, which `deno run --watch` fires before each restart, a
 * client that is not closed frees what it holds by itself; a listener of the program's own that still does I/O then must be added before
 * the first client is made. A Worker fires nothing when it ends, by `terminate()` or `self.close()`: close its clients, and
 * wait for that, before it does.
 *
 * @example
 * ```ts
 * import { BlockDevice, IoClient } from "@dmio/dmio";
 *
 * await using io = new IoClient();
 * using a = BlockDevice.open("/tmp/a.img", { write: true, create: 1 << 20 });
 * using b = BlockDevice.open("/tmp/b.img", { write: true, create: 1 << 20 });
 * const data = io.pool.alloc(1);
 * const { errorBits, failures } = await io.write([
 *   { bdev: a, sector: 0, count: 8 },
 *   { bdev: b, sector: 0, count: 8 },
 * ], data);
 * if (errorBits !== 0n) console.error(failures);
 * ```
 */
export class IoClient implements AsyncDisposable {
  /** Its pages. */
  readonly pool: Pool;

  readonly #engine: Engine;
  readonly #dispatcher: Dispatcher;
  readonly #one: IoRegion[] = [];

  /**
   * Makes a ring and a pool.
   *
   * @param options How.
   * @throws {RangeError} For an option out of its range.
   * @throws {SystemError} When the kernel has no io_uring, forbids it, or has no memory for it: which, and the way out.
   * @throws {Error} When liburing is missing: what to install.
   */
  constructor(options: IoClientOptions = {}) {
    const { pages = 1024, queueDepth = 128, poll = true } = options;
    checkOption("queueDepth", queueDepth, 1, MAX_QUEUE_DEPTH);
    checkOption("pages", pages, 0, Number.MAX_SAFE_INTEGER);
    this.#engine = ENGINES.get(options) ?? new IoUring(queueDepth, queueDepth * FULL_DEVICES);
    this.#dispatcher = new Dispatcher(this.#engine, queueDepth, poll);
    this.pool = this.#dispatcher.pool;
    try {
      this.pool.get(pages);
    } catch (error) {
      this.#dispatcher.abandon();
      throw error;
    }
  }

  /** What of the kernel is in use; what is `false` is done without. */
  get features(): EngineFeatures {
    return this.#engine.features;
  }

  /** Whether it was closed, or broke: it takes no more requests. */
  get closed(): boolean {
    return this.#dispatcher.closed;
  }

  /** Requests that are accepted and not yet settled. */
  get outstanding(): number {
    return this.#dispatcher.outstanding;
  }

  /**
   * Fills memory from one region.
   *
   * @param region Where from.
   * @param memory Where to; at least as long as the region.
   * @param options When to stop waiting.
   * @returns The answer: bit 0 is set when the region failed. What was not read then is zeros.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}.
   */
  read(region: IoRegion, memory: IoMemory, options?: IoOptions): Promise<IoResult> {
    return this.#promise(false, this.#alone(region), memory, options);
  }

  /**
   * Writes memory to each region: the same bytes from the start of the memory, each region its own count.
   *
   * @param regions Where to, 1 to 64.
   * @param memory Where from; at least as long as the longest region.
   * @param options When to stop waiting.
   * @returns The answer: bit `i` is set when region `i` failed. It never rejects for what a device does.
   * @throws {TypeError} At once, before any I/O: for a closed client or device, a device that is not open for writing, what is no
   * region or no memory, pages that were freed.
   * @throws {RangeError} At once, before any I/O: for 0 or more than 64 regions, a region outside its device or off a direct
   * device's logical blocks, memory that is too short, an offset or bvec outside its page, a bad timeout.
   */
  write(regions: readonly IoRegion[], memory: IoMemory, options?: IoOptions): Promise<IoResult> {
    return this.#promise(true, regions, memory, options);
  }

  /**
   * As {@linkcode IoClient.read}, blocking.
   *
   * @param region Where from.
   * @param memory Where to.
   * @returns The answer.
   */
  readSync(region: IoRegion, memory: IoMemory): IoResult {
    return this.#dispatcher.block(this.#dispatcher.accept(false, this.#alone(region), memory));
  }

  /**
   * As {@linkcode IoClient.write}, blocking.
   *
   * @param regions Where to.
   * @param memory Where from.
   * @returns The answer.
   */
  writeSync(regions: readonly IoRegion[], memory: IoMemory): IoResult {
    return this.#dispatcher.block(this.#dispatcher.accept(true, regions, memory));
  }

  /**
   * The callback form, for those who want no promise.
   *
   * @param write Whether to write `memory` to each region, or fill it from the only one.
   * @param regions The regions.
   * @param memory The memory.
   * @param fn Called once, from the event loop, never before this has returned. What it throws surfaces as uncaught.
   * @param context Handed to `fn`.
   * @throws {TypeError | RangeError} As {@linkcode IoClient.write}; `fn` is not called then.
   */
  notify<C>(
    write: boolean,
    regions: readonly IoRegion[],
    memory: IoMemory,
    fn: IoNotifyFn<C>,
    context: C,
  ): void {
    if (typeof fn !== "function") throw new TypeError(`fn is ${describe(fn)}; it must be a function`);
    const request = this.#dispatcher.accept(write, regions, memory);
    request.fn = fn as IoNotifyFn<unknown>;
    request.context = context;
    this.#dispatcher.start(request);
  }

  /**
   * Closes the client: waits for all requests, then frees the ring and the pool. Views of its pages have length 0 from then on: what was
   * read into them is to be used before.
   *
   * @param options How long to wait.
   * @returns Resolves when everything is freed. With a timeout, rejects if a device does not answer in time, naming it; the
   * client then still closes when it does, and no memory is freed before that.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const { timeout } = options;
    if (timeout !== undefined) checkOption("timeout", timeout, 0, MAX_TIMEOUT);
    const closed = this.#dispatcher.close();
    if (timeout === undefined) return closed;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const { outstanding, late } = this.#dispatcher;
        reject(
          new Error(
            `the client could not be closed within ${timeout} ms: ${outstanding} requests are out, waiting for ` +
              `${late.join(", ")}; it closes when they are answered`,
          ),
        );
      }, timeout);
      closed.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  /**
   * What the client did so far: counts, and how long requests took.
   *
   * @returns The figures as they are now.
   */
  stats(): IoStats {
    return this.#dispatcher.stats;
  }

  /** As {@linkcode IoClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Read at once by `accept`, and never kept: one array does for all reads.
  #alone(region: IoRegion): readonly IoRegion[] {
    this.#one[0] = region;
    return this.#one;
  }

  #promise(
    write: boolean,
    regions: readonly IoRegion[],
    memory: IoMemory,
    options: IoOptions | undefined,
  ): Promise<IoResult> {
    const deadline = options === undefined ? null : checkDeadline(options);
    const dispatcher = this.#dispatcher;
    const request = dispatcher.accept(write, regions, memory);
    asked = request;
    const answer = new Promise<IoResult>(noteRequest);
    if (deadline?.signal?.aborted) {
      dispatcher.refuse(request, ECANCELED);
      return answer;
    }
    if (deadline !== null) request.disarm = arm(deadline, (errno) => dispatcher.expire(request, errno));
    dispatcher.start(request);
    return answer;
  }
}

/** Engines that stand in for an io_uring, by the options that `clientOn` made. */
const ENGINES = new WeakMap<IoClientOptions, Engine>();

/**
 * Makes a client that drives an engine of the caller's: the simulator, or a ring that a test has changed. No part of the module's
 * names; reached by path.
 *
 * @param engine What to drive. The client closes it.
 * @param options As for {@linkcode IoClient}.
 * @returns The client.
 */
export function clientOn(engine: Engine, options: IoClientOptions = {}): IoClient {
  const own = { ...options };
  ENGINES.set(own, engine);
  return new IoClient(own);
}

// The same function for every promise: one made for each would be one more thing to collect.
let asked: Request;
function noteRequest(resolve: (result: IoResult) => void, reject: (fault: Error) => void): void {
  asked.resolve = resolve;
  asked.reject = reject;
}

function checkOption(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new RangeError(
    `options.${name} is ${describe(value)}; it must be an integer from ${least} to ${most}`,
  );
}
