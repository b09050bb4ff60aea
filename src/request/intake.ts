/**
 * The intake: checks a call's arguments, and holds the devices and pages that its request uses.
 *
 * @module
 */

import { holdDevice, markWritten } from "../device/device.ts";
import { Bounce } from "../memory/bounce.ts";
import { type FindArena, type IoMemory, reduce, type Repeated, sharedArena } from "../memory/memory.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { Io, Operation } from "../schedule/io.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import { flush } from "../op/flush.ts";
import { RWF_DSYNC } from "../../ffi/uapi.ts";
import type { CheckedOptions } from "./options.ts";
import { checkRegions, type IoRegion } from "./region.ts";
import { type Request, SpareRequests } from "./request.ts";
import { RequestSet } from "./request_set.ts";

/** The requests of one client, from their acceptance until they are settled. */
export class Intake {
  /** Accepted and not yet settled. */
  readonly outstanding: RequestSet = new RequestSet();
  /** Spare request objects, for reuse. */
  readonly spare: SpareRequests = new SpareRequests();
  /** Bounces that have a window to issue, or ended. */
  readonly served: Bounce[] = [];
  /** Requests that were accepted. */
  requests = 0;
  /** Requests whose memory was copied through the pool. */
  bounces = 0;
  /** The error with which requests are refused; null while they are accepted. */
  refusal: Error | null = null;

  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #poolMemory: FindArena;
  readonly #stillMemory: FindArena;

  /**
   * @param scheduler Has the device queues.
   * @param pool Has the pages that memory lies in or is copied through.
   */
  constructor(scheduler: Scheduler, pool: PagePool) {
    this.#scheduler = scheduler;
    this.#pool = pool;
    this.#poolMemory = (buffer) => pool.chunkOf(buffer);
    this.#stillMemory = (buffer) => pool.chunkOf(buffer) ?? sharedArena(buffer);
  }

  /**
   * Accepts a request. Once this has returned, nothing throws.
   *
   * @param op The operation.
   * @param regions The regions.
   * @param memory The memory; null for an operation without data.
   * @param options How it is carried out.
   * @param sync Whether the call blocks until it is done: only then is memory that V8 owns sure to outlive the I/O.
   * @returns The request, to be started.
   * @throws {TypeError | RangeError} For what the caller got wrong; nothing is held then.
   */
  accept(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory | Repeated | null,
    options: CheckedOptions | undefined,
    sync: boolean,
  ): Request {
    this.#assertOpen();
    const request = this.spare.take();
    const { io } = request;
    try {
      io.op = op;
      io.locate = op.locates;
      // A flush is a region of no bytes that has a preflush.
      if (op === flush) io.preflush = flush;
      if (options !== undefined) takeOptions(io, options);
      io.segments = request.memory;
      request.sync = io.blocks = sync;
      const need = checkRegions(regions, op, io);
      if (op.data) reduce(memory!, need, request.memory, sync ? this.#stillMemory : this.#poolMemory);
      // Getters of the caller's objects may have closed the client or a device.
      this.#assertOpen();
      this.#findQueues(request);
      if (op.data && needsBounce(request)) {
        request.bounce = new Bounce(io, request.memory, need, this.#pool, this.served);
      }
      this.#pool.pin(request.memory);
    } catch (error) {
      this.spare.give(request);
      // When the client was closed meanwhile, that is the reason of any error here.
      throw this.refusal ?? error;
    }
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      holdDevice(region.device);
      if (op.writes) markWritten(region.device);
      region.holds = true;
      if (op.refuses === null) continue;
      const refusal = op.refuses(region);
      if (refusal !== 0) region.refuse(refusal);
    }
    this.outstanding.add(request);
    this.requests++;
    if (request.bounce !== null) this.bounces++;
    return request;
  }

  #assertOpen(): void {
    if (this.refusal !== null) throw this.refusal;
  }

  #findQueues({ io }: Request): void {
    for (let i = 0; i < io.count; i++) {
      const { device } = io.regions[i]!;
      if (device.closed) {
        throw new TypeError(`regions[${i}].bdev is ${device.path}, which was closed meanwhile`);
      }
    }
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      region.queue = this.#scheduler.queueOf(region.device, i);
      region.syncFailures = region.queue.syncs?.failures ?? 0;
    }
  }
}

function takeOptions(io: Io, { locate, ioprio, preflush, fua, unmap, fallback }: CheckedOptions): void {
  if (locate !== undefined) io.locate = locate;
  if (ioprio !== undefined) io.ioprio = ioprio;
  if (preflush === true) io.preflush = flush;
  if (fua === true) {
    io.rwFlags = RWF_DSYNC;
    io.locate = false;
    io.postflush = flush;
  }
  if (unmap !== undefined) io.unmap = unmap;
  if (fallback !== undefined) io.fallback = fallback;
}

// Whether memory is copied through the pool: it lies in no arena, or a direct device cannot use it where it lies.
function needsBounce({ io, memory }: Request): boolean {
  let memoryAlignment = 1;
  let blockSize = 1;
  for (let i = 0; i < io.count; i++) {
    const { device } = io.regions[i]!;
    if (!device.direct) continue;
    memoryAlignment = Math.max(memoryAlignment, device.memoryAlignment);
    blockSize = Math.max(blockSize, device.logicalBlockSize);
  }
  return !memory.aligned(memoryAlignment, blockSize);
}
