/**
 * `IoClient.writable`: regions as a stream that writes the same bytes to each.
 *
 * @module
 */

import { describe } from "../check.ts";
import type { StreamClient } from "./stream_client.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import { bufferOf, byteLengthOf, byteOffsetOf } from "../memory/view.ts";
import { write } from "../op/write.ts";
import { type IoOptions, isAborted } from "../request/options.ts";
import type { IoRegion } from "../request/region.ts";
import type { IoResult } from "../request/result.ts";
import { Leases, lostPages } from "./leases.ts";
import { Outcomes, type WritableResult } from "./outcomes.ts";
import {
  blockOf,
  checkedRegions,
  checkWritableOptions,
  longestBlock,
  onAbort,
  reasonOf,
  type WritableOptions,
  type WritableSettings,
} from "./stream_options.ts";

/** The stream of `IoClient.writable`. */
export interface RegionsWritable extends WritableStream<Uint8Array> {
  /**
   * The bytes and the failure of each region. It resolves once the stream is closed, aborted or errored and all its writes are answered, and
   * never rejects. When the stream was aborted or errored, regions that did not fail before have their bit set, with `ECANCELED`.
   */
  readonly result: Promise<WritableResult>;
}

/** The most writes in flight. The free pages of the pool are a bound, too. */
const MOST_IN_FLIGHT = 32;

/** A request that is in flight, or that is answered while an earlier one is not. */
interface WriteRequest {
  /** The end of its data, in bytes from the start of the stream. */
  readonly end: number;
  /** The indexes of its regions, in the order of its error bits. */
  readonly regions: readonly number[];
  /** Null while it is in flight. */
  result: IoResult | null;
}

/** Gathers a stream in pages, and writes them to each region. */
class RegionsWriter implements UnderlyingSink<Uint8Array> {
  /** The result of the stream. */
  readonly result: PromiseWithResolvers<WritableResult> = Promise.withResolvers();

  readonly #io: StreamClient;
  readonly #regions: readonly IoRegion[];
  readonly #settings: WritableSettings;
  readonly #options: IoOptions;
  readonly #capacity: number;
  readonly #leases: Leases;
  readonly #inFlight: WriteRequest[] = [];
  readonly #outcomes: Outcomes;
  // Weak, so that a stream that nothing refers to is collected, even while something refers to this writer.
  #controller: WeakRef<WritableStreamDefaultController> | undefined;
  // The lengths of the chunks in the stream's queue, which `write` did not get yet.
  readonly #announced: number[] = [];
  // The memory that is being filled, and its number of filled bytes.
  #memory: Uint8Array | null = null;
  #filled = 0;
  // Bytes of the stream that requests were made for.
  #written = 0;
  // Why the stream ended before its close.
  #ended: { readonly why: unknown } | null = null;
  #wake = () => {};
  #disarm = () => {};

  constructor(io: StreamClient, regions: readonly IoRegion[], settings: WritableSettings) {
    this.#io = io;
    this.#regions = regions;
    this.#settings = settings;
    this.#options = settings.each as IoOptions;
    this.#capacity = Math.max(...regions.map(({ count }) => count)) * SECTOR_SIZE;
    this.#leases = new Leases(io.pool, longestBlock(regions));
    this.#outcomes = new Outcomes(regions);
  }

  start(controller: WritableStreamDefaultController): void {
    this.#controller = new WeakRef(controller);
    const { signal } = controller;
    // The signal tells of an abort at once. The sink's `abort` would be called only after a write that may wait for pages.
    signal.addEventListener("abort", () => this.#end(signal.reason));
    const { each } = this.#settings;
    if (isAborted(each)) this.fail(reasonOf(each));
    else this.#disarm = onAbort(each, (reason) => this.fail(reason));
  }

  /** The size of a chunk, for the queue of the stream. It must not throw: the stream would error without calling its sink. */
  size(chunk: Uint8Array): number {
    let size = 0;
    try {
      size = byteLengthOf(chunk);
    } catch {
      // `write` refuses a chunk that is no Uint8Array.
    }
    this.#announced.push(size);
    return size;
  }

  /** Copies bytes into pages, and writes the pages when they are full. It waits while there is no page for the stream. */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      await this.#gather(chunk);
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Writes the last bytes, waits for all writes, and flushes the devices. */
  async close(): Promise<void> {
    try {
      if (this.#memory !== null) this.#submit(this.#memory);
      await this.#drained();
      if (this.#settings.flush) {
        this.#flush();
        await this.#drained();
      }
    } catch (error) {
      this.fail(error);
      throw error;
    }
    this.#disarm();
    this.#answer();
  }

  /** Errors the stream, and gives all pages back. */
  fail(why: unknown): void {
    this.#end(why);
    this.#controller?.deref()?.error(why);
  }

  // The result follows when all writes are answered.
  #end(why: unknown): void {
    if (this.#ended !== null) return;
    this.#ended = { why };
    this.#disarm();
    this.#memory = null;
    this.#leases.giveBackAll();
    this.#wake();
    if (this.#inFlight.length === 0) this.#answer();
  }

  async #gather(chunk: unknown): Promise<void> {
    const announced = this.#announced.shift();
    if (!(chunk instanceof Uint8Array)) {
      throw new TypeError(`the stream was given ${describe(chunk)}; it takes Uint8Array`);
    }
    const length = byteLengthOf(chunk);
    if (length !== announced) {
      throw new TypeError(`a chunk of ${announced} bytes had ${length} when it was to be written`);
    }
    const end = this.#written + this.#filled + length;
    if (end > this.#capacity) {
      throw new RangeError(`the stream has ${end} bytes or more; its longest region holds ${this.#capacity}`);
    }
    for (let at = 0; at < length;) {
      const memory = this.#memory ?? await this.#lease();
      // The stream may have ended after the lease was taken. All leases were given back then.
      if (memory === null || this.#ended !== null) return;
      this.#memory = memory;
      const room = Math.min(memory.length, this.#settings.chunk) - this.#filled;
      if (room <= 0) throw lostPages(this.#io);
      const count = Math.min(room, length - at);
      memory.set(new Uint8Array(bufferOf(chunk), byteOffsetOf(chunk) + at, count), this.#filled);
      at += count;
      this.#filled += count;
      if (count === room) this.#submit(memory);
    }
  }

  /** @returns Null when the stream ended meanwhile. */
  async #lease(): Promise<Uint8Array | null> {
    while (this.#ended === null) {
      const memory = this.#inFlight.length < MOST_IN_FLIGHT ? this.#leases.take(this.#settings.chunk) : null;
      if (memory !== null) return memory;
      await this.#next();
    }
    return null;
  }

  #submit(memory: Uint8Array): void {
    if (memory.length === 0) throw lostPages(this.#io);
    const start = this.#written;
    const bytes = this.#filled;
    const blocks = (block: number) => Math.ceil(bytes / block) * block;
    const regions: number[] = [];
    const where: IoRegion[] = [];
    for (const [i, region] of this.#regions.entries()) {
      const { bdev, sector, count } = region;
      const sectors = Math.min(count - start / SECTOR_SIZE, blocks(blockOf(region)) / SECTOR_SIZE);
      if (sectors <= 0 || this.#outcomes.failed(i)) continue;
      regions.push(i);
      where.push({ bdev, sector: sector + start / SECTOR_SIZE, count: sectors });
    }
    // Only the last bytes of the stream may be no whole block.
    memory.fill(0, bytes, blocks(longestBlock(this.#regions)));
    this.#memory = null;
    this.#filled = 0;
    this.#written += bytes;
    // All regions that did not fail may end before these bytes.
    if (where.length === 0) return this.#leases.giveBack(memory);
    this.#expect(regions, this.#io.write(where, memory, this.#options), memory);
  }

  #flush(): void {
    const regions = [...this.#regions.keys()].filter((i) => !this.#outcomes.failed(i));
    const { timeout, signal } = this.#options;
    const where = regions.map((i) => this.#regions[i]!);
    this.#expect(regions, this.#io.flush(where, { timeout, signal } as IoOptions), null);
  }

  #expect(regions: readonly number[], answer: Promise<IoResult>, memory: Uint8Array | null): void {
    const request: WriteRequest = { end: this.#written, regions, result: null };
    this.#inFlight.push(request);
    answer.then((result) => {
      if (memory !== null) this.#leases.giveBack(memory);
      request.result = result;
      this.#collect();
    }, (fault) => {
      // The client broke: none of its requests will be answered.
      this.#inFlight.length = 0;
      this.fail(fault);
    });
  }

  // Takes the answers in the order of the stream, so that a region's bytes have no gap.
  #collect(): void {
    for (let request = this.#inFlight[0]; request?.result; request = this.#inFlight[0]) {
      this.#inFlight.shift();
      this.#outcomes.take(request.end, request.regions, request.result);
      if (!request.result.ok && (this.#settings.onFailure === "abort" || this.#outcomes.allFailed)) {
        this.fail(this.#outcomes.error);
      }
    }
    this.#wake();
    if (this.#ended !== null && this.#inFlight.length === 0) this.#answer();
  }

  async #drained(): Promise<void> {
    while (this.#inFlight.length > 0 && this.#ended === null) await this.#next();
    if (this.#ended !== null) throw this.#ended.why;
  }

  // Resolves at the next answer, or when the stream ends.
  #next(): Promise<void> {
    return new Promise((resolve) => this.#wake = resolve);
  }

  #answer(): void {
    this.result.resolve(this.#outcomes.result(this.#ended === null));
  }
}

// A stream that nothing refers to any more gives its pages back.
const abandoned = new FinalizationRegistry<RegionsWriter>((writer) =>
  writer.fail(new Error("the stream was dropped before its close"))
);

/**
 * Makes a stream that writes regions: see `IoClient.writable`.
 *
 * @param io The client.
 * @param regions The regions.
 * @param options The options.
 * @returns The stream, with its result.
 */
export function writable(
  io: StreamClient,
  regions: readonly IoRegion[],
  options: WritableOptions,
): RegionsWritable {
  const checked = checkedRegions(regions, write);
  const settings = checkWritableOptions(options, longestBlock(checked));
  const writer = new RegionsWriter(io, checked, settings);
  const stream = new WritableStream(writer, {
    highWaterMark: settings.chunk,
    size: (chunk) => writer.size(chunk),
  });
  abandoned.register(stream, writer);
  return Object.assign(stream, { result: writer.result.promise });
}
