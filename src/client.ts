/**
 * The client: requests in, answers out.
 *
 * @module
 */

import { ECANCELED } from "../ffi/errno.ts";
import { Ring } from "../ffi/ring.ts";
import { Bounce, type BounceHooks } from "./bounce.ts";
import { arm, checkDeadline, type IoOptions, MAX_TIMEOUT } from "./deadline.ts";
import { holdDevice, releaseDevice } from "./device.ts";
import type { Engine, EngineFeatures } from "./engine.ts";
import { type FindArena, type IoMemory, reduce, sharedArena } from "./memory.ts";
import { Pool } from "./pool.ts";
import { checkRegions, describe, type IoRegion } from "./region.ts";
import { type IoNotifyFn, Request } from "./request.ts";
import type { IoResult } from "./result.ts";
import { DmioFault, Scheduler } from "./scheduler.ts";
import { Wait } from "./wait.ts";

/** How to make an {@linkcode IoClient}. */
export interface IoClientOptions {
  /** Pages of the pool to begin with. Default: 1024, which is 4 MiB. */
  pages?: number;
  /**
   * SQEs that one device alone may have in flight, 1 to 4096, rounded up to a power of two. The ring holds twice as many, so
   * that a device which hangs leaves room for others. Default: 128.
   */
  queueDepth?: number;
  /** Whether to poll for completions, for up to 60 us while that pays, before sleeping. Default: `true`. */
  poll?: boolean;
  /** What to drive instead of an io_uring; for tests. The client closes it. */
  engine?: Engine;
}

/** How to close an {@linkcode IoClient}. */
export interface CloseOptions {
  /** Milliseconds to wait for what is in flight. Default: as long as it takes. */
  timeout?: number;
}

const MAX_QUEUE_DEPTH = 4096;

/**
 * Reads and writes regions: one ring, one pool of fixed buffers, any number of devices.
 *
 * @example
 * ```ts
 * import { BlockDevice, IoClient } from "./mod.ts";
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
  readonly #scheduler: Scheduler;
  readonly #wait: Wait;
  readonly #findArena: FindArena;
  readonly #bounceHooks: BounceHooks;
  readonly #spare: Request[] = [];
  readonly #outstanding = new Set<Request>();
  #due: Request[] = [];
  #closing: PromiseWithResolvers<void> | null = null;
  #freed = false;
  #fault: Error | null = null;

  /**
   * @param options How.
   * @throws {RangeError} For an option out of its range.
   * @throws {SystemError} When the kernel has no io_uring, forbids it, or has no memory for it: which, and the way out.
   * @throws {Error} When liburing is missing: what to install.
   */
  constructor(options: IoClientOptions = {}) {
    const { pages = 1024, queueDepth = 128, poll = true } = options;
    checkOption("queueDepth", queueDepth, 1, MAX_QUEUE_DEPTH);
    checkOption("pages", pages, 0, Number.MAX_SAFE_INTEGER);
    this.#engine = options.engine ?? new Ring(queueDepth);
    this.pool = new Pool(this.#engine);
    this.#scheduler = new Scheduler(this.#engine, (request) => this.#finished(request));
    this.#findArena = (buffer) => this.pool.chunkOf(buffer) ?? sharedArena(buffer);
    this.#wait = new Wait(this.#engine, this.#scheduler, {
      due: () => this.#due.length,
      deliver: () => this.#deliver(),
      fault: (error) => this.#break(error),
    }, poll);
    this.#bounceHooks = {
      issue: (request) => {
        this.#scheduler.add(request);
        this.#wait.kick(false);
      },
      finish: (request) => {
        this.#settle(request);
        this.#wait.kick(false);
      },
    };
    try {
      this.pool.get(pages);
    } catch (error) {
      void this.#engine.close();
      throw error;
    }
  }

  /** What of the kernel is in use; what is `false` is done without. */
  get features(): EngineFeatures {
    return this.#engine.features;
  }

  /** Requests that are accepted and not yet settled. */
  get outstanding(): number {
    return this.#outstanding.size;
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
    return this.#promise(false, [region], memory, options);
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
    return this.#block(false, [region], memory);
  }

  /**
   * As {@linkcode IoClient.write}, blocking.
   *
   * @param regions Where to.
   * @param memory Where from.
   * @returns The answer.
   */
  writeSync(regions: readonly IoRegion[], memory: IoMemory): IoResult {
    return this.#block(true, regions, memory);
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
    const request = this.#accept(write, regions, memory);
    request.fn = fn as IoNotifyFn<unknown>;
    request.context = context;
    this.#start(request);
  }

  /**
   * Closes the client: waits for all requests, then frees the ring and the pool. Views of its pages have length 0 from then on.
   *
   * @param options How long to wait.
   * @returns Resolves when everything is freed. With a timeout, rejects if a device does not answer in time, naming it; the
   * client then still closes when it does, and no memory is freed before that.
   */
  close(options: CloseOptions = {}): Promise<void> {
    const { timeout } = options;
    if (timeout !== undefined) checkOption("timeout", timeout, 0, MAX_TIMEOUT);
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers<void>();
      this.pool.refuse(new Error("the client was closed before pages came free"));
      this.#closeWhenIdle();
    }
    const closing = this.#closing.promise;
    if (timeout === undefined) return closing;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(this.#whoIsLate(timeout))), timeout);
      closing.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  /** As {@linkcode IoClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #promise(
    write: boolean,
    regions: readonly IoRegion[],
    memory: IoMemory,
    options: IoOptions | undefined,
  ): Promise<IoResult> {
    if (options !== undefined) checkDeadline(options);
    const request = this.#accept(write, regions, memory);
    const answer = new Promise<IoResult>((resolve, reject) => {
      request.resolve = resolve;
      request.reject = reject;
    });
    if (options?.signal?.aborted) {
      this.#answerEarly(request, ECANCELED);
      this.#settle(request);
      this.#wait.kick(false);
      return answer;
    }
    if (options !== undefined) {
      request.disarm = arm(options, (errno) => {
        this.#answerEarly(request, errno);
        this.#wait.kick(false);
      });
    }
    this.#start(request);
    return answer;
  }

  #block(write: boolean, regions: readonly IoRegion[], memory: IoMemory): IoResult {
    const request = this.#accept(write, regions, memory);
    request.sync = true;
    try {
      this.#start(request);
      this.#wait.block(() => request.settled, () => this.#starved(request));
    } catch (error) {
      if (!request.settled) this.#break(error);
      throw error;
    }
    const result = request.answer();
    this.#recycle(request);
    // Others may have been answered meanwhile; they are told from the event loop.
    if (this.#due.length > 0) this.#wait.kick(false);
    return result;
  }

  // Checks everything that the caller could have got wrong; once this has returned, nothing throws.
  #accept(write: boolean, regions: readonly IoRegion[], memory: IoMemory): Request {
    if (this.#fault !== null) throw this.#fault;
    if (this.#closing !== null) throw new TypeError("the client is closed");
    const need = checkRegions(regions, write);
    const request = this.#spare.pop() ?? new Request();
    try {
      reduce(memory, need, request.memory, this.#findArena);
      request.write = write;
      for (let i = 0; i < regions.length; i++) {
        const region = regions[i]!;
        request.addRegion(region, this.#scheduler.lane(region.bdev));
      }
      request.bounce = needsBounce(request) ? new Bounce(request, need, this.pool, this.#bounceHooks) : null;
      this.pool.pin(request.memory);
    } catch (error) {
      request.clear();
      this.#spare.push(request);
      throw error;
    }
    for (let i = 0; i < regions.length; i++) holdDevice(regions[i]!.bdev);
    this.#outstanding.add(request);
    return request;
  }

  #start(request: Request): void {
    if (request.bounce !== null) request.bounce.begin();
    else this.#scheduler.add(request);
    if (!request.sync) this.#wait.kick(this.#outstanding.size === 1);
  }

  // All that was issued of a request is done.
  #finished(request: Request): void {
    if (request.bounce === null || request.bounce.advance()) this.#settle(request);
  }

  // The kernel has nothing of a request any more.
  #settle(request: Request): void {
    request.settled = true;
    this.pool.unpin(request.memory);
    for (let i = 0; i < request.count; i++) releaseDevice(request.regions[i]!.lane.device);
    this.#outstanding.delete(request);
    request.disarm?.();
    if (request.result === null) {
      if (!request.sync) this.#due.push(request);
    } else {
      request.whenSettled?.();
      if (request.resolve === null) this.#recycle(request);
    }
    if (this.#closing !== null) this.#closeWhenIdle();
  }

  // The deadline came before the answer: what is not answered yet has failed, and its memory is held until the kernel lets go.
  #answerEarly(request: Request, errno: number): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    for (let i = 0; i < request.count; i++) {
      const region = request.regions[i]!;
      if (region.pieces === 0 && region.issued >= region.bytes) continue;
      const first = this.#scheduler.firstPending(region);
      region.fail(errno, first);
      if (!request.write) request.memory.zero(first, region.bytes);
    }
    request.whenSettled = resolve;
    request.result = request.answer(promise);
    request.disarm?.();
    request.disarm = null;
    this.#due.push(request);
    if (request.bounce?.waiting) request.bounce.cancel(errno);
    else this.#scheduler.abandon(request);
  }

  // A blocking request needs pages, all are held by the program, and nothing is in flight that could bring some back.
  #starved(request: Request): void {
    if (!request.bounce?.waiting) throw new DmioFault("a request waits, and nothing is in flight");
    request.bounce.cancel(ECANCELED);
    this.#recycle(request);
    throw new RangeError(
      `memory must be copied through pages of the pool, and ${this.pool.available} of ${this.pool.pages} are free. ` +
        "Free some, or add some with pool.get",
    );
  }

  #deliver(): number {
    const due = this.#due;
    if (due.length === 0) return 0;
    this.#due = [];
    for (const request of due) {
      const { resolve, fn, context } = request;
      const result = request.result ?? request.answer();
      request.resolve = null;
      if (request.settled) this.#recycle(request);
      if (fn === null) resolve!(result);
      else call(fn, result.errorBits, context);
    }
    if (this.#closing !== null) this.#closeWhenIdle();
    return due.length;
  }

  #closeWhenIdle(): void {
    const outstanding = [...this.#outstanding];
    // What waits for pages that the program holds, and closes over, would wait for ever.
    if (outstanding.length > 0 && outstanding.every((request) => request.bounce?.waiting)) {
      for (const request of outstanding) request.bounce!.cancel(ECANCELED);
      this.#wait.kick(false);
    } else if (outstanding.length === 0 && this.#due.length === 0) {
      void this.#free();
    }
  }

  async #free(): Promise<void> {
    if (this.#freed) return;
    this.#freed = true;
    await null; // whoever found out that all is done is still at work with the ring
    this.#wait.close();
    this.#scheduler.close();
    this.pool.close();
    await this.#engine.close();
    this.#closing!.resolve();
  }

  // Something that cannot happen did, or the kernel refused the ring: nobody is left waiting, and nothing is trusted any more. The
  // kernel may still use the pool's memory, so that stays mapped.
  #break(cause: unknown): void {
    if (this.#fault !== null) return;
    const fault = this.#fault = cause instanceof Error ? cause : new Error(`${cause}`);
    this.#wait.close();
    this.#scheduler.close();
    void this.#engine.close();
    for (const request of new Set([...this.#due, ...this.#outstanding])) {
      request.disarm?.();
      for (let i = 0; i < request.count; i++) releaseDevice(request.regions[i]!.lane.device);
      request.whenSettled?.();
      if (request.fn !== null) {
        queueMicrotask(() => request.fn!(2n ** BigInt(request.count) - 1n, request.context));
      } else request.reject?.(fault);
    }
    this.#due = [];
    this.#outstanding.clear();
    this.#closing?.resolve();
  }

  #whoIsLate(timeout: number): string {
    const devices = new Set<string>();
    for (const request of this.#outstanding) {
      for (let i = 0; i < request.count; i++) {
        const { lane, pieces } = request.regions[i]!;
        if (pieces > 0) devices.add(lane.device.path);
      }
    }
    return `the client could not be closed within ${timeout} ms: ${this.#outstanding.size} requests are out, waiting for ` +
      `${[...devices].join(", ")}; it closes when they are answered`;
  }

  #recycle(request: Request): void {
    request.clear();
    this.#spare.push(request);
  }
}

// Memory that is no arena, or that a direct device can't use where it lies, goes through pages of the pool.
function needsBounce(request: Request): boolean {
  let memoryAlignment = 1;
  let blockSize = 1;
  for (let i = 0; i < request.count; i++) {
    const { device } = request.regions[i]!.lane;
    if (!device.direct) continue;
    memoryAlignment = Math.max(memoryAlignment, device.memoryAlignment);
    blockSize = Math.max(blockSize, device.logicalBlockSize);
  }
  return !request.memory.aligned(memoryAlignment, blockSize);
}

// One that throws must not keep the others from being told.
function call(fn: IoNotifyFn<unknown>, error: bigint, context: unknown): void {
  try {
    fn(error, context);
  } catch (thrown) {
    queueMicrotask(() => {
      throw thrown;
    });
  }
}

function checkOption(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new RangeError(
    `options.${name} is ${describe(value)}; it must be an integer from ${least} to ${most}`,
  );
}
