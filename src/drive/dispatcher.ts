/**
 * The life of a request: accepted, started, settled, answered; and of all of them: none is lost, none is told twice.
 *
 * @module
 */

import { ECANCELED } from "../../ffi/errno.ts";
import { Bounce, type BounceHooks } from "../memory/bounce.ts";
import { holdDevice, releaseDevice } from "../device/device.ts";
import type { Engine } from "../engine/engine.ts";
import { type FindArena, type IoMemory, reduce, sharedArena } from "../memory/memory.ts";
import { PagePool } from "../pool/page_pool.ts";
import { checkRegions, type IoRegion } from "../request/region.ts";
import { type IoNotifyFn, Request } from "../request/request.ts";
import type { IoResult } from "../request/result.ts";
import { DmioFault } from "../fault.ts";
import { RequestSet } from "../request/request_set.ts";
import { Scheduler } from "../schedule/scheduler.ts";
import { Histogram, type IoStats } from "../stats.ts";
import { whenUnloaded } from "../unload.ts";
import { Driver } from "./driver.ts";

/** Requests that a broken ring left with the kernel: their memory is held for good, as nobody learns when it is done with. */
const ORPHANS = new Set<Request>();

/** All requests of one client. */
export class Dispatcher {
  /** The client's pages. */
  readonly pool: PagePool;

  readonly #engine: Engine;
  readonly #scheduler: Scheduler;
  readonly #wait: Driver;
  readonly #findArena: FindArena;
  readonly #bounceHooks: BounceHooks;
  readonly #latency = new Histogram();
  readonly #spare: Request[] = [];
  readonly #outstanding = new RequestSet();
  // Requests to be answered. Two arrays take turns, and keep their length, so that nothing is allocated for each batch.
  #due: Request[] = [];
  #dueCount = 0;
  #told: Request[] = [];
  #requests = 0;
  #bounces = 0;
  #closing: PromiseWithResolvers<void> | null = null;
  #cancelling = false;
  #freed = false;
  #fault: Error | null = null;
  readonly #forgetUnload = whenUnloaded(() => this.abandon());

  /**
   * @param engine What carries the I/O.
   * @param queueDepth SQEs that one device may have in flight.
   * @param poll Whether to poll for completions.
   */
  constructor(engine: Engine, queueDepth: number, poll: boolean) {
    this.#engine = engine;
    this.pool = new PagePool(engine);
    this.#scheduler = new Scheduler(engine, queueDepth, (request) => this.#finished(request));
    this.#findArena = (buffer) => this.pool.chunkOf(buffer) ?? sharedArena(buffer);
    this.#wait = new Driver(engine, this.#scheduler, {
      due: () => this.#dueCount,
      deliver: () => this.#deliver(),
      fault: (error) => this.#break(error),
    }, poll);
    this.#bounceHooks = {
      issue: (request) => {
        this.#scheduler.add(request);
        this.#wait.kick();
      },
      finish: (request) => {
        this.#settle(request);
        this.#wait.kick();
      },
    };
  }

  /** Whether it takes no more requests. */
  get closed(): boolean {
    return this.#closing !== null || this.#fault !== null;
  }

  /** Requests that are accepted and not yet settled. */
  get outstanding(): number {
    return this.#outstanding.size;
  }

  /** What was done so far. */
  get stats(): IoStats {
    return {
      requests: this.#requests,
      outstanding: this.#outstanding.size,
      bounces: this.#bounces,
      ...this.#scheduler.counters,
      waits: this.#wait.waits,
      polls: this.#wait.polls,
      inFlight: this.#scheduler.inFlight,
      latency: this.#latency.summary(),
    };
  }

  /**
   * Checks everything that the caller could have got wrong, and holds what the request needs. Once this has returned, nothing throws.
   *
   * @param write Whether to write.
   * @param regions Where.
   * @param memory The memory.
   * @returns The request, to be started.
   * @throws {TypeError | RangeError} For what the caller got wrong; nothing is held then.
   */
  accept(write: boolean, regions: readonly IoRegion[], memory: IoMemory): Request {
    this.#assertOpen();
    const request = this.#spare.pop() ?? new Request();
    try {
      request.write = write;
      const need = checkRegions(regions, write, request);
      reduce(memory, need, request.memory, this.#findArena);
      // What the caller gave may run code of its own when it is read, and close what was open a moment ago.
      this.#assertOpen();
      this.#takeLanes(request);
      request.bounce = needsBounce(request) ? new Bounce(request, need, this.pool, this.#bounceHooks) : null;
      this.pool.pin(request.memory);
    } catch (error) {
      this.#recycle(request);
      throw error;
    }
    for (let i = 0; i < request.count; i++) holdDevice(request.regions[i]!.device);
    this.#outstanding.add(request);
    this.#requests++;
    if (request.bounce !== null) this.#bounces++;
    return request;
  }

  /** Starts a request, whose answer goes to its promise or its function. */
  start(request: Request): void {
    this.#wait.mark();
    this.#begin(request);
    this.#wait.start(this.#outstanding.size === 1);
    request.began = this.#wait.clock;
  }

  /**
   * Carries a request out while the program stands still. Others that are answered meanwhile are told later, from the event loop.
   *
   * @returns The answer.
   * @throws {RangeError} When the request needs pages of the pool, and the program holds all of them.
   */
  block(request: Request): IoResult {
    request.sync = true;
    const began = performance.now();
    let starved = false;
    try {
      this.#begin(request);
      this.#wait.block(() => request.settled, () => {
        if (!request.bounce?.waiting) throw new DmioFault("a request waits, and nothing is in flight");
        starved = true;
        request.bounce.cancel(ECANCELED);
      });
    } catch (error) {
      this.#break(error);
      throw error;
    }
    this.#latency.add(performance.now() - began);
    const result = request.answer();
    this.#recycle(request);
    if (this.#dueCount > 0 || this.#scheduler.waiting) this.#wait.kick();
    // All pages are held by the program, and nothing was in flight that could have brought some back.
    if (starved) throw this.#noPages();
    return result;
  }

  /** The deadline came before the answer: what is not answered yet has failed; its memory is held until the kernel lets go of it. */
  expire(request: Request, errno: number): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    for (let i = 0; i < request.count; i++) {
      const region = request.regions[i]!;
      if (region.pieces === 0 && region.issued >= region.bytes) continue;
      // What was read into pages of the pool counts only once it is copied to the caller.
      const first = request.bounce !== null && !request.write
        ? Math.min(request.bounce.start, region.bytes)
        : this.#scheduler.firstPending(region);
      region.fail(errno, first);
      if (!request.write) request.memory.zero(first, region.bytes);
    }
    request.whenSettled = resolve;
    request.result = request.answer(promise);
    request.disarm?.();
    request.disarm = null;
    this.#due[this.#dueCount++] = request;
    if (request.bounce?.waiting) request.bounce.cancel(errno);
    else this.#scheduler.abandon(request);
    this.#wait.kick();
  }

  /** Answers a request that was accepted and is not to be started at all. */
  refuse(request: Request, errno: number): void {
    this.expire(request, errno);
    this.#settle(request);
  }

  /** Takes no more requests; frees everything once all are settled. @returns Resolves when that is done. */
  close(): Promise<void> {
    if (this.#fault !== null) return Promise.resolve();
    if (this.#closing === null) {
      this.#closing = Promise.withResolvers<void>();
      this.pool.refuse(new TypeError("the client is closed: no pages of its pool are to be had"));
      this.#closeWhenIdle();
    }
    return this.#closing.promise;
  }

  /**
   * Frees all before it returns, and answers nobody: the isolate ends, or the client could not be made. Pages that the kernel may
   * still use stay mapped.
   */
  abandon(): void {
    if (this.#freed || this.#fault !== null) return;
    this.#freed = true;
    this.#fault = new DmioFault("the client was abandoned: its isolate has ended");
    this.#forgetUnload();
    this.#wait.close();
    this.#scheduler.close();
    if (this.#scheduler.inFlight === 0) this.pool.close();
    else this.pool.halt(this.#fault);
    void this.#engine.close();
  }

  /** The devices that have not answered yet, by path. */
  get late(): string[] {
    const paths = new Set<string>();
    for (const request of this.#outstanding) {
      for (let i = 0; i < request.count; i++) {
        const { device, pieces } = request.regions[i]!;
        if (pieces > 0) paths.add(device.path);
      }
    }
    return [...paths];
  }

  #assertOpen(): void {
    if (this.#fault !== null) throw this.#fault;
    if (this.#closing !== null) throw new TypeError("the client is closed");
  }

  #takeLanes(request: Request): void {
    for (let i = 0; i < request.count; i++) {
      const { device } = request.regions[i]!;
      if (device.closed) {
        throw new TypeError(`regions[${i}].bdev is ${device.path}, which was closed meanwhile`);
      }
    }
    for (let i = 0; i < request.count; i++) {
      const region = request.regions[i]!;
      // A request that is used again most often names the devices of the last time.
      if (region.lane?.device !== region.device) region.lane = this.#scheduler.lane(region.device);
    }
  }

  #begin(request: Request): void {
    if (request.bounce !== null) request.bounce.begin();
    else this.#scheduler.add(request);
  }

  // All that was issued of a request is done.
  #finished(request: Request): void {
    if (request.bounce === null || request.bounce.advance()) this.#settle(request);
    else if (this.#closing !== null) this.#closeWhenIdle();
  }

  // The kernel has nothing of a request any more.
  #settle(request: Request): void {
    request.settled = true;
    this.pool.unpin(request.memory);
    this.#release(request);
    this.#outstanding.delete(request);
    request.disarm?.();
    if (request.result === null) {
      if (!request.sync) this.#due[this.#dueCount++] = request;
    } else {
      request.whenSettled?.();
      if (request.resolve === null) this.#recycle(request);
    }
    if (this.#closing !== null) this.#closeWhenIdle();
  }

  #noPages(): RangeError {
    return new RangeError(
      `memory must be copied through pages of the pool, and ${this.pool.available} of ${this.pool.pages} are free. ` +
        "Free some, or add some with pool.get",
    );
  }

  #deliver(): number {
    const count = this.#dueCount;
    if (count === 0) return 0;
    const due = this.#due;
    this.#due = this.#told;
    this.#told = due;
    this.#dueCount = 0;
    const now = this.#wait.clock;
    for (let i = 0; i < count; i++) {
      const request = due[i]!;
      if (request.began > 0) this.#latency.add(now - request.began);
      const { resolve, fn, context } = request;
      const result = request.result ?? request.answer();
      request.resolve = null;
      if (request.settled) this.#recycle(request);
      if (fn === null) resolve!(result);
      else call(fn, result.errorBits, context);
    }
    if (this.#closing !== null) this.#closeWhenIdle();
    return count;
  }

  #closeWhenIdle(): void {
    // A ring that broke meanwhile is never freed.
    if (this.#fault !== null) return;
    if (this.#outstanding.size === 0) {
      if (this.#dueCount === 0) void this.#free();
    } else if (!this.#cancelling && !this.#scheduler.busy && this.pool.waiting === this.#outstanding.size) {
      // What waits for pages that the program holds, and closes over, would wait for ever.
      this.#cancelling = true;
      for (const request of this.#outstanding) request.bounce?.cancel(ECANCELED);
      this.#cancelling = false;
    }
  }

  async #free(): Promise<void> {
    if (this.#freed) return;
    this.#freed = true;
    this.#forgetUnload();
    // Whoever found out that all is done is still at work with the ring, and who was answered last still looks at its pages.
    await new Promise((resolve) => setTimeout(resolve, 0));
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
    this.#forgetUnload();
    this.#wait.close();
    this.#scheduler.close();
    this.pool.halt(fault);
    void this.#engine.close();
    for (const request of this.#outstanding) ORPHANS.add(request);
    for (const request of new Set([...this.#due.slice(0, this.#dueCount), ...this.#outstanding])) {
      request.disarm?.();
      // One that is settled, and only not answered yet, has let its devices go.
      if (!request.settled) this.#release(request);
      request.whenSettled?.();
      if (request.fn !== null) {
        queueMicrotask(() => request.fn!(2n ** BigInt(request.count) - 1n, request.context));
      } else request.reject?.(fault);
    }
    this.#dueCount = 0;
    for (const request of this.#outstanding) this.#outstanding.delete(request);
    this.#closing?.resolve();
  }

  #release(request: Request): void {
    for (let i = 0; i < request.count; i++) releaseDevice(request.regions[i]!.device);
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
    const { device } = request.regions[i]!;
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
