/**
 * The client: what new code uses.
 *
 * @module
 */

import { IoUring } from "./engine/io_uring.ts";
import { checkInteger, describe } from "./check.ts";
import { ClientPool } from "./client_pool.ts";
import { Core } from "./drive/core.ts";
import type { EngineFeatures } from "./engine/features.ts";
import type { Engine } from "./engine/engine.ts";
import type { IoMemory } from "./memory/memory.ts";
import { operationOf } from "./op/operations.ts";
import { read } from "./op/read.ts";
import { write } from "./op/write.ts";
import type { Pool } from "./pool/pool.ts";
import {
  arm,
  type CheckedOptions,
  checkOptions,
  type IoOptions,
  isAborted,
  MAX_TIMEOUT,
} from "./request/deadline.ts";
import type { IoRegion } from "./request/region.ts";
import type { IoNotifyFn, Request } from "./request/request.ts";
import { answerOf, type IoResult } from "./request/result.ts";
import type { Operation } from "./schedule/io.ts";
import type { IoStats } from "./stats.ts";

/** How to make an {@linkcode IoClient}. */
export interface IoClientOptions {
  /** Pages of the pool to begin with. Default: 1024, which is 4 MiB. */
  pages?: number;
  /**
   * SQEs that one device may have in flight, 1 to 4096. The ring holds four times as many. Three hung devices may fill their depth; each
   * later one gets at most half of the rest, so that ten hung devices do not hold up another. Default: 128.
   */
  queueDepth?: number;
  /** Whether to poll for completions for up to 50 us before sleeping, while polls find completions. Default: `true`. */
  poll?: boolean;
}

/** How to close an {@linkcode IoClient}. */
export interface CloseOptions {
  /** Milliseconds to wait for outstanding requests. Default: no limit. */
  timeout?: number;
}

const MAX_QUEUE_DEPTH = 4096;
/** How many devices' worth of SQEs a ring holds. */
const FULL_DEVICES = 4;

/**
 * Reads and writes regions: one ring, one pool of fixed buffers, any number of devices.
 *
 * A client belongs to the thread that made it. Nothing orders its requests: a program that needs an order awaits the first before it
 * makes the second.
 *
 * Close it, or its ring and its pool last as long as the process. At `unload`, which `deno run --watch` fires before each restart, a
 * client that is not closed frees what it holds by itself; a listener of the program's own that still does I/O then must be added before
 * the first client is made. A Worker fires nothing when it ends, by `terminate()` or `self.close()`: its clients are closed before, and
 * that is awaited.
 *
 * @example
 * ```ts
 * import { BlockDevice, IoClient } from "@dmio/dmio";
 *
 * await using io = new IoClient();
 * await using a = BlockDevice.open("/tmp/a.img", { write: true, create: 1 << 20 });
 * await using b = BlockDevice.open("/tmp/b.img", { write: true, create: 1 << 20 });
 * const data = io.pool.alloc(1);
 * const written = await io.write([
 *   { bdev: a, sector: 0, count: 8 },
 *   { bdev: b, sector: 0, count: 8 },
 * ], data);
 * if (!written.ok) console.error(written.failures);
 * io.pool.free(data);
 * ```
 */
export class IoClient implements AsyncDisposable {
  /** Its pages. */
  readonly pool: Pool;

  readonly #engine: Engine;
  readonly #core: Core;
  // One array does for all reads. It is filled after the options are read, which may run a caller's getter, and the intake reads it before
  // any other property.
  readonly #one: IoRegion[] = [];

  /**
   * Makes a ring and a pool.
   *
   * @param options Its pool, queue depth and polling.
   * @throws {RangeError} When an option is out of its range.
   * @throws {SystemError} When the kernel has no io_uring, forbids it, or has no memory for it. The message says which, and what to do.
   * @throws {Error} When liburing is missing. The message says what to install.
   */
  constructor(options: IoClientOptions = {}) {
    const { pages = 1024, queueDepth = 128, poll = true, [ENGINE]: engine }: Options = options;
    checkInteger("options.queueDepth", queueDepth, 1, MAX_QUEUE_DEPTH);
    checkInteger("options.pages", pages, 0, Number.MAX_SAFE_INTEGER);
    this.#engine = engine ?? new IoUring(queueDepth, queueDepth * FULL_DEVICES);
    this.#core = new Core(this.#engine, queueDepth, poll);
    this.pool = new ClientPool(this.#core.pool, this.#core.driver);
    try {
      this.pool.get(pages);
    } catch (error) {
      this.#core.driver.abandon();
      throw error;
    }
  }

  /** Features of the kernel that are in use; the client works without those that are `false`. */
  get features(): EngineFeatures {
    const { features } = this.#engine;
    const refused = this.#core.pool.registrationRefused;
    return refused === null ? features : { ...features, fixedBuffers: false, fixedBuffersRefused: refused };
  }

  /** Whether it was closed, or broke: it takes no more requests. */
  get closed(): boolean {
    return this.#core.intake.refusal !== null;
  }

  /** Requests that are accepted and not yet settled. */
  get outstanding(): number {
    return this.#core.intake.outstanding.size;
  }

  /**
   * Fills memory from one region.
   *
   * @param region Where from.
   * @param memory Where to; at least as long as the region.
   * @param options How, and when to stop waiting.
   * @returns The answer: bit 0 is set when the region failed. What was not read then is zeros.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}.
   */
  read(region: IoRegion, memory: IoMemory, options?: IoOptions): Promise<IoResult> {
    const checked = options === undefined ? undefined : checkOptions(options);
    return this.#promise(read, this.#alone(region), memory, checked);
  }

  /**
   * Writes memory to each region: the same bytes from the start of the memory, each region its own count.
   *
   * @param regions Where to, 1 to 64.
   * @param memory Where from; at least as long as the longest region.
   * @param options How, and when to stop waiting.
   * @returns The answer: bit `i` is set when region `i` failed. It never rejects for what a device does.
   * @throws {TypeError} At once, before any I/O: for a closed client or device, a device that is not open for writing, what is no
   * region or no memory, pages that were freed.
   * @throws {RangeError} At once, before any I/O: for 0 or more than 64 regions, a region outside its device or off a direct
   * device's logical blocks, memory that is too short, an offset or bvec outside its page, a bad timeout.
   */
  write(regions: readonly IoRegion[], memory: IoMemory, options?: IoOptions): Promise<IoResult> {
    const checked = options === undefined ? undefined : checkOptions(options);
    return this.#promise(write, regions, memory, checked);
  }

  /**
   * As {@linkcode IoClient.read}, blocking.
   *
   * @param region Where from.
   * @param memory Where to. Aligned memory of a `SharedArrayBuffer` is used where it lies.
   * @param options How.
   * @returns The answer.
   */
  readSync(region: IoRegion, memory: IoMemory, options?: Pick<IoOptions, "locate">): IoResult {
    const locate = options === undefined ? undefined : checkOptions(options).locate;
    return this.#block(read, this.#alone(region), memory, locate);
  }

  /**
   * As {@linkcode IoClient.write}, blocking.
   *
   * @param regions Where to.
   * @param memory Where from. Aligned memory of a `SharedArrayBuffer` is used where it lies.
   * @param options How.
   * @returns The answer.
   */
  writeSync(
    regions: readonly IoRegion[],
    memory: IoMemory,
    options?: Pick<IoOptions, "locate">,
  ): IoResult {
    const locate = options === undefined ? undefined : checkOptions(options).locate;
    return this.#block(write, regions, memory, locate);
  }

  /**
   * The callback form of `read` and `write`, without a promise.
   *
   * @param op `READ` or `WRITE`: fill `memory` from the only region, or write it to each.
   * @param regions The regions.
   * @param memory The memory.
   * @param fn Called once, from the event loop, never before this has returned. An error that it throws surfaces as uncaught.
   * @param context Passed to `fn`.
   * @param options How, and when to stop waiting.
   * @throws {TypeError | RangeError} As {@linkcode IoClient.write}; `fn` is not called then.
   */
  notify<C>(
    op: number,
    regions: readonly IoRegion[],
    memory: IoMemory,
    fn: IoNotifyFn<C>,
    context: C,
    options?: IoOptions,
  ): void {
    const operation = operationOf(op, "op");
    if (typeof fn !== "function") throw new TypeError(`fn is ${describe(fn)}; it must be a function`);
    const checked = options === undefined ? undefined : checkOptions(options);
    const request = this.#accept(operation, regions, memory, checked);
    request.fn = fn as IoNotifyFn<unknown>;
    request.context = context;
    this.#start(request, checked);
  }

  /**
   * Closes the client: waits for all requests, then frees the ring and the pool. Views of its pages have length 0 from then on, so use
   * their data before.
   *
   * @param options How long to wait.
   * @returns Resolves when everything is freed. With a timeout, rejects if a device does not answer in time, naming it; the
   * client then still closes when it does, and no memory is freed before that.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const { timeout } = options;
    if (timeout !== undefined) checkInteger("options.timeout", timeout, 0, MAX_TIMEOUT);
    const closed = this.#core.close();
    if (timeout === undefined) return closed;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // The event loop may be late, and the devices done.
        this.#core.driver.look();
        const { outstanding } = this;
        if (outstanding === 0) return;
        reject(
          new Error(
            `the client could not be closed within ${timeout} ms: ${outstanding} ` +
              `${outstanding === 1 ? "request is" : "requests are"} out, waiting for ` +
              `${this.#core.late.join(", ")}; it closes when they are answered`,
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
    return this.#core.stats;
  }

  /** As {@linkcode IoClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #alone(region: IoRegion): readonly IoRegion[] {
    if (Array.isArray(region)) throw new TypeError("region is an Array; read takes one region");
    this.#one[0] = region;
    return this.#one;
  }

  #promise(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory,
    options: CheckedOptions | undefined,
  ): Promise<IoResult> {
    const request = this.#accept(op, regions, memory, options);
    accepted = request;
    const answer = new Promise<IoResult>(noteRequest);
    this.#start(request, options);
    return answer;
  }

  #accept(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory,
    options: CheckedOptions | undefined,
  ): Request {
    if (options === undefined) return this.#core.intake.accept(op, regions, memory, undefined, false);
    return this.#acceptWith(options, op, regions, memory);
  }

  // Apart, as V8 allocates what a closure captures when the function begins, whether the closure is made or not.
  #acceptWith(
    options: CheckedOptions,
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory,
  ): Request {
    const { intake, deadlines } = this.#core;
    // The deadline is set before the request is made, so that an error in setting it leaves no request behind.
    let request: Request | null = null;
    const disarm = arm(options, {
      expire: (errno, late) => request === null ? 0 : deadlines.expire(request, errno, late),
    });
    try {
      request = intake.accept(op, regions, memory, options.locate, false);
    } catch (error) {
      disarm();
      throw error;
    }
    request.disarm = disarm;
    return request;
  }

  #start(request: Request, options: CheckedOptions | undefined): void {
    // Checked after the arguments were read, as a getter of theirs may have aborted the signal.
    if (options !== undefined && isAborted(options)) this.#core.deadlines.refuse(request);
    else this.#core.driver.start(request);
  }

  #block(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory,
    locate: boolean | undefined,
  ): IoResult {
    const { intake, driver } = this.#core;
    const request = intake.accept(op, regions, memory, locate, true);
    driver.block(request);
    const result = answerOf(request.io);
    intake.spare.give(request);
    return result;
  }
}

// One function serves every promise, so that no closure is allocated for a request.
let accepted: Request;
function noteRequest(resolve: (result: IoResult) => void, reject: (fault: Error) => void): void {
  accepted.resolve = resolve;
  accepted.reject = reject;
}

const ENGINE = Symbol("engine");
type Options = IoClientOptions & { [ENGINE]?: Engine };

/** A client that drives a given engine, and closes it. For the simulator, and tests of what a ring may do. */
export function clientOn(engine: Engine, options: IoClientOptions = {}): IoClient {
  const all: Options = { ...options, [ENGINE]: engine };
  return new IoClient(all);
}
