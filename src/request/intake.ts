/**
 * The intake: checks everything that a caller could have got wrong, and holds what its request needs.
 *
 * @module
 */

import { holdDevice, markWritten } from "../device/device.ts";
import { Bounce } from "../memory/bounce.ts";
import { type FindArena, type IoMemory, reduce, sharedArena } from "../memory/memory.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { Operation } from "../schedule/io.ts";
import type { Scheduler } from "../schedule/scheduler.ts";
import { checkRegions, type IoRegion } from "./region.ts";
import { type Request, SpareRequests } from "./request.ts";
import { RequestSet } from "./request_set.ts";

/** The requests of one client, from their acceptance until they are settled. */
export class Intake {
  /** Accepted and not yet settled. */
  readonly outstanding: RequestSet = new RequestSet();
  /** Requests that are done, for those to come. */
  readonly spare: SpareRequests = new SpareRequests();
  /** Bounces that have a window to be issued, or are over. */
  readonly served: Bounce[] = [];
  /** Requests that were accepted. */
  requests = 0;
  /** Requests whose memory was copied through the pool. */
  bounces = 0;
  /** Why no more requests are taken. */
  refusal: Error | null = null;

  readonly #scheduler: Scheduler;
  readonly #pool: PagePool;
  readonly #poolMemory: FindArena;
  readonly #stillMemory: FindArena;

  /**
   * @param scheduler Whose queues the regions go into.
   * @param pool Whose pages the memory is of, or is copied through.
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
   * @param op What is to be done.
   * @param regions Where.
   * @param memory The memory.
   * @param locate Whether to search for bad blocks; by default as the operation does.
   * @param sync Whether the caller sleeps until it is done: only then is memory that V8 owns sure to outlive the I/O.
   * @returns The request, to be started.
   * @throws {TypeError | RangeError} For what the caller got wrong; nothing is held then.
   */
  accept(
    op: Operation,
    regions: readonly IoRegion[],
    memory: IoMemory,
    locate: boolean | undefined,
    sync: boolean,
  ): Request {
    this.#assertOpen();
    const request = this.spare.take();
    const { io } = request;
    try {
      io.op = op;
      io.locate = locate ?? op.locates;
      io.segments = request.memory;
      request.sync = sync;
      const need = checkRegions(regions, op, io);
      reduce(memory, need, request.memory, sync ? this.#stillMemory : this.#poolMemory);
      // What the caller gave may run code of its own when it is read, and close what was open a moment ago.
      this.#assertOpen();
      this.#findQueues(request);
      if (needsBounce(request)) {
        request.bounce = new Bounce(io, request.memory, need, this.#pool, this.served);
      }
      this.#pool.pin(request.memory);
    } catch (error) {
      this.spare.give(request);
      // A client that was closed meanwhile has no pages any more; that is the reason, whatever was missed first.
      throw this.refusal ?? error;
    }
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      holdDevice(region.device);
      if (op.writes) markWritten(region.device);
      region.holds = true;
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
    }
  }
}

// Memory that is no arena, or that a direct device can't use where it lies, goes through pages of the pool.
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
