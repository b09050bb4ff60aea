/**
 * `IoClient.readable`: a region as a stream of bytes.
 *
 * @module
 */

import type { StreamClient } from "./stream_client.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import { read } from "../op/read.ts";
import { type CheckedOptions, type IoOptions, isAborted } from "../request/options.ts";
import type { IoRegion } from "../request/region.ts";
import { IoError, type IoResult } from "../request/result.ts";
import { Leases, lostPages } from "./leases.ts";
import {
  blockOf,
  checkedRegions,
  checkStreamOptions,
  onAbort,
  reasonOf,
  type StreamOptions,
  type StreamSettings,
} from "./stream_options.ts";

/** The most transfers ahead of the consumer. The free pages of the pool are a bound, too. */
const MOST_AHEAD = 32;

/** A transfer that is in flight, or whose bytes were not all delivered. */
interface ReadTransfer {
  readonly sector: number;
  readonly bytes: number;
  readonly memory: Uint8Array;
  readonly answer: Promise<IoResult>;
  /** Null while it is in flight. */
  result: IoResult | null;
  /** Bytes that were delivered. */
  delivered: number;
}

/** Reads a region ahead of its consumer, and delivers it in order. */
class RegionReader implements UnderlyingByteSource {
  readonly type = "bytes";

  readonly #io: StreamClient;
  readonly #region: IoRegion;
  readonly #chunk: number;
  readonly #options: CheckedOptions;
  readonly #leases: Leases;
  readonly #ahead: ReadTransfer[] = [];
  readonly #end: number;
  // The first sector of the next transfer.
  #next: number;
  // Bytes that are not delivered.
  #left: number;
  #stopped = false;
  #disarm = () => {};

  constructor(io: StreamClient, region: IoRegion, { chunk, each }: StreamSettings) {
    this.#io = io;
    this.#region = region;
    this.#chunk = chunk;
    this.#options = each;
    this.#leases = new Leases(io.pool, blockOf(region));
    this.#next = region.sector;
    this.#end = region.sector + region.count;
    this.#left = region.count * SECTOR_SIZE;
  }

  start(controller: ReadableByteStreamController): void {
    if (isAborted(this.#options)) return controller.error(reasonOf(this.#options));
    if (this.#left === 0) return controller.close();
    // Weak, so that a signal that lives on does not keep a stream that nothing refers to.
    const weak = new WeakRef(controller);
    this.#disarm = onAbort(this.#options, (reason) => {
      this.cancel();
      weak.deref()?.error(reason);
    });
  }

  async pull(controller: ReadableByteStreamController): Promise<void> {
    // The memory of a BYOB reader, or new memory for a default reader. With `autoAllocateChunkSize`, a default reader that is released during a
    // read would leave the next BYOB reader waiting for a pull that never comes.
    const request = controller.byobRequest;
    const view = request?.view as Uint8Array<ArrayBuffer> | undefined;
    const memory = view ?? new Uint8Array(Math.min(this.#chunk, this.#left));
    let filled: number;
    try {
      filled = await this.#fill(memory);
    } catch (error) {
      this.cancel();
      throw error;
    }
    if (this.#stopped) return;
    this.#left -= filled;
    if (request === null) controller.enqueue(memory.subarray(0, filled));
    else request.respond(filled);
    if (this.#left > 0) return;
    this.#disarm();
    controller.close();
    controller.byobRequest?.respond(0);
  }

  /** Gives all pages back. Requests in flight keep their pages until the kernel is done with them. */
  cancel(): void {
    this.#stopped = true;
    this.#disarm();
    this.#ahead.length = 0;
    this.#leases.giveBackAll();
  }

  // Fills a view with the bytes of one chunk, and of later chunks that have been read already. It stops early at the end of the region, and
  // before a sector that could not be read. It throws the error of that sector when no bytes before it are left.
  async #fill(view: Uint8Array): Promise<number> {
    const least = Math.min(view.length, this.#chunk);
    let filled = 0;
    try {
      while (filled < Math.min(view.length, this.#left)) {
        this.#readAhead();
        const transfer = this.#ahead[0]!;
        if (transfer.result === null) {
          if (filled >= least) break;
          transfer.result = await transfer.answer;
          if (this.#stopped) return 0;
        }
        filled += this.#deliver(transfer, transfer.result, view, filled);
      }
    } catch (error) {
      // The next call throws the same error.
      if (filled === 0) throw error;
    }
    return filled;
  }

  #readAhead(): void {
    while (this.#next < this.#end && this.#ahead.length < MOST_AHEAD) {
      const { sectors } = this.#region.bdev;
      // A device that shrank is read up to its new end. A read past that end throws.
      const end = this.#next < sectors ? Math.min(this.#end, sectors) : this.#end;
      const left = Math.min(this.#chunk, (end - this.#next) * SECTOR_SIZE);
      const memory = this.#leases.take(left);
      if (memory === null) return;
      try {
        this.#read(memory, Math.min(left, memory.length));
      } catch (error) {
        this.#leases.giveBack(memory);
        // The device or the client was closed. Bytes that were read before are delivered first.
        if (this.#ahead.length === 0) throw error;
        return;
      }
    }
  }

  #read(memory: Uint8Array, bytes: number): void {
    const sector = this.#next;
    const region = { bdev: this.#region.bdev, sector, count: bytes / SECTOR_SIZE };
    const answer = this.#io.read(region, memory, this.#options as IoOptions);
    const transfer: ReadTransfer = { sector, bytes, memory, answer, result: null, delivered: 0 };
    // A rejection, which is a fault of the client, is thrown where the answer is awaited.
    answer.then((result) => transfer.result = result, () => {});
    this.#ahead.push(transfer);
    this.#next += region.count;
  }

  #deliver(transfer: ReadTransfer, result: IoResult, view: Uint8Array, at: number): number {
    if (transfer.memory.length === 0) throw lostPages(this.#io);
    const failure = result.failures[0];
    const good = failure === undefined ? transfer.bytes : (failure.sector - transfer.sector) * SECTOR_SIZE;
    const length = Math.min(good - transfer.delivered, view.length - at);
    if (length === 0) throw new IoError(result);
    view.set(transfer.memory.subarray(transfer.delivered, transfer.delivered + length), at);
    transfer.delivered += length;
    if (transfer.delivered === transfer.bytes) {
      this.#ahead.shift();
      this.#leases.giveBack(transfer.memory);
    }
    return length;
  }
}

// A stream that nothing refers to any more gives its pages back.
const abandoned = new FinalizationRegistry<RegionReader>((reader) => reader.cancel());

/**
 * Makes a stream of a region's bytes: see `IoClient.readable`.
 *
 * @param io The client.
 * @param regions An array of the one region.
 * @param options The options.
 * @returns The stream.
 */
export function readable(
  io: StreamClient,
  regions: readonly IoRegion[],
  options: StreamOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const [region] = checkedRegions(regions, read) as [IoRegion];
  const reader = new RegionReader(io, region, checkStreamOptions(options, read, blockOf(region)));
  const stream = new ReadableStream(reader);
  abandoned.register(stream, reader);
  return stream;
}
