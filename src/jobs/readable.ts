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

/** The most transfers that are ahead of the consumer. The pool bounds them too. */
const MOST_AHEAD = 32;

/** One transfer: in flight, or done and not yet delivered whole. */
interface Piece {
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
  readonly #ahead: Piece[] = [];
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
    // Weak, as the signal may live longer than a stream that nobody refers to.
    const weak = new WeakRef(controller);
    this.#disarm = onAbort(this.#options, (reason) => {
      this.cancel();
      weak.deref()?.error(reason);
    });
  }

  async pull(controller: ReadableByteStreamController): Promise<void> {
    // A BYOB reader's memory; a default reader gets memory of its own. `autoAllocateChunkSize` would do the same, but when a default reader
    // is released during a read, the next BYOB reader would wait for a pull that never comes.
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

  /** Gives all pages back. Requests in flight keep theirs until the kernel is done with them. */
  cancel(): void {
    this.#stopped = true;
    this.#disarm();
    this.#ahead.length = 0;
    this.#leases.giveBackAll();
  }

  // Copies what fits of one chunk, and of more when they are there. Fewer bytes come at the end of the region, and before what could not be
  // read. An error is thrown when nothing before it is left.
  async #fill(view: Uint8Array): Promise<number> {
    const least = Math.min(view.length, this.#chunk);
    let filled = 0;
    try {
      while (filled < Math.min(view.length, this.#left)) {
        this.#readAhead();
        const piece = this.#ahead[0]!;
        if (piece.result === null) {
          if (filled >= least) break;
          piece.result = await piece.answer;
          if (this.#stopped) return 0;
        }
        filled += this.#deliver(piece, piece.result, view, filled);
      }
    } catch (error) {
      // It comes again at the next call.
      if (filled === 0) throw error;
    }
    return filled;
  }

  #readAhead(): void {
    while (this.#next < this.#end && this.#ahead.length < MOST_AHEAD) {
      const { sectors } = this.#region.bdev;
      // A device that shrank is read up to its end. A read past that throws.
      const end = this.#next < sectors ? Math.min(this.#end, sectors) : this.#end;
      const left = Math.min(this.#chunk, (end - this.#next) * SECTOR_SIZE);
      const memory = this.#leases.take(left);
      if (memory === null) return;
      try {
        this.#read(memory, Math.min(left, memory.length));
      } catch (error) {
        this.#leases.giveBack(memory);
        // The device or the client was closed. What was read before is delivered first.
        if (this.#ahead.length === 0) throw error;
        return;
      }
    }
  }

  #read(memory: Uint8Array, bytes: number): void {
    const sector = this.#next;
    const region = { bdev: this.#region.bdev, sector, count: bytes / SECTOR_SIZE };
    const answer = this.#io.read(region, memory, this.#options as IoOptions);
    const piece: Piece = { sector, bytes, memory, answer, result: null, delivered: 0 };
    // A fault of the client rejects, and is thrown where the answer is awaited.
    answer.then((result) => piece.result = result, () => {});
    this.#ahead.push(piece);
    this.#next += region.count;
  }

  #deliver(piece: Piece, result: IoResult, view: Uint8Array, at: number): number {
    if (piece.memory.length === 0) throw lostPages(this.#io);
    const failure = result.failures[0];
    const good = failure === undefined ? piece.bytes : (failure.sector - piece.sector) * SECTOR_SIZE;
    const length = Math.min(good - piece.delivered, view.length - at);
    if (length === 0) throw new IoError(result);
    view.set(piece.memory.subarray(piece.delivered, piece.delivered + length), at);
    piece.delivered += length;
    if (piece.delivered === piece.bytes) {
      this.#ahead.shift();
      this.#leases.giveBack(piece.memory);
    }
    return length;
  }
}

// A stream that nobody refers to any more gives its pages back.
const abandoned = new FinalizationRegistry<RegionReader>((reader) => reader.cancel());

/**
 * Makes a stream of a region's bytes. `IoClient.readable` says what it promises.
 *
 * @param io The client.
 * @param regions The region alone.
 * @param options How.
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
