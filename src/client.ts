/**
 * The client: what new code uses.
 *
 * @module
 */

import { mayCallC } from "../ffi/library.ts";
import { Calls } from "./calls.ts";
import { checkInteger, checkObject, describe } from "./check.ts";
import type { Blocking, CloseOptions, IoClientOptions } from "./client_options.ts";
import { ClientPool } from "./client_pool.ts";
import { Core } from "./drive/core.ts";
import type { BlockDevice } from "./device/device.ts";
import { Engines } from "./engine/engines.ts";
import { type EngineFeatures, NO_FEATURES } from "./engine/features.ts";
import { checkEngine, makeEngine } from "./engine/choose.ts";
import type { Engine } from "./engine/engine.ts";
import { readable } from "./jobs/readable.ts";
import type { StreamOptions, WritableOptions } from "./jobs/stream_options.ts";
import { type RegionsWritable, writable } from "./jobs/writable.ts";
import type { IoMemory } from "./memory/memory.ts";
import { discard } from "./op/discard.ts";
import { flush } from "./op/flush.ts";
import { operationOf } from "./op/operations.ts";
import { read } from "./op/read.ts";
import { write } from "./op/write.ts";
import { writeZeroes } from "./op/write_zeroes.ts";
import type { Pool } from "./pool/pool.ts";
import {
  type AnyOptions,
  type CheckedOptions,
  checkOptions,
  type DeadlineOptions,
  type IoOptions,
  MAX_TIMEOUT,
  type WriteOptions,
  type ZeroOptions,
} from "./request/options.ts";
import type { IoRegion } from "./request/region.ts";
import type { IoNotifyFn } from "./request/request.ts";
import type { IoResult } from "./request/result.ts";
import { flushed, sameOf } from "./request/targets.ts";
import type { Operation } from "./schedule/io.ts";
import type { IoStats } from "./stats.ts";

const MAX_QUEUE_DEPTH = 4096;
/** A client's engine holds this many times the SQEs of one device. */
const FULL_DEVICES = 4;

/**
 * Reads, writes, flushes, discards and zeroes regions of any number of devices. A client has one pool of pages and one engine: a ring of
 * io_uring, or system calls where there is no io_uring.
 *
 * A client belongs to the thread that made it. Nothing orders its requests: a program that needs an order awaits the first request before
 * it makes the second.
 *
 * Close a client, or its engine and its pool last as long as the process. At `unload`, which `deno run --watch` fires before each restart,
 * an open client frees what it holds. A program whose own `unload` listener still does I/O must add that listener before it makes its first
 * client. A Worker fires nothing when it ends, by `terminate()` or `self.close()`: close its clients before, and await that.
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
  /** The pages of the client. */
  readonly pool: Pool;

  readonly #engines: Engines;
  readonly #core: Core;
  readonly #calls: Calls;
  // One array serves all reads, so that a read allocates none. A getter of the caller's options may start another read: so the array is
  // filled after the options were read, and the intake reads the array before any property of the region.
  readonly #one: IoRegion[] = [];

  /**
   * Makes a client with its engine and its pool. Without `--allow-ffi` it has no engine, and the pool is memory of JavaScript: such a client
   * serves devices in RAM (`ramDevice` of `@dmio/dmio/testing`) alone.
   *
   * @param options Its pool, queue depth, polling and engine.
   * @throws {RangeError} When `pages` or `queueDepth` is out of its range.
   * @throws {TypeError} When `engine` is none of its three values.
   * @throws {SystemError} When the system lacks memory or file descriptors; with `engine: "io_uring"` also when the kernel has no io_uring,
   * forbids it, or has no memory for it. The message says which, and what to do.
   * @throws {Error} With `engine: "io_uring"` when liburing is missing. The message says what to install.
   */
  constructor(options: IoClientOptions = {}) {
    checkObject("options", options, "{ pages, queueDepth, poll, engine }");
    const { pages = 1024, queueDepth = 128, poll = true, engine, [ENGINE]: given }: Options = options;
    const choice = checkEngine(engine);
    checkInteger("options.queueDepth", queueDepth, 1, MAX_QUEUE_DEPTH);
    checkInteger("options.pages", pages, 0, Number.MAX_SAFE_INTEGER);
    const capacity = queueDepth * FULL_DEVICES;
    // Without FFI, a client can still serve devices that bring their own engines.
    const main = given ?? (mayCallC() ? makeEngine(choice, queueDepth, capacity) : refuseRealDevices);
    this.#engines = new Engines(main, capacity);
    this.#core = new Core(this.#engines, queueDepth, poll);
    this.#calls = new Calls(this.#core);
    this.pool = new ClientPool(this.#core.pool, this.#core.driver);
    try {
      this.pool.get(pages);
    } catch (error) {
      this.#core.driver.abandon();
      throw error;
    }
  }

  /** Which engine the client has, and which features of the kernel it uses. The client works without those that are `false`. */
  get features(): EngineFeatures {
    const features = this.#engines.main?.features ?? NO_FEATURES;
    const refused = this.#core.pool.registrationRefused;
    return refused === null ? features : { ...features, fixedBuffers: false, fixedBuffersRefused: refused };
  }

  /** Whether the client was closed, or broke: it takes no more requests. */
  get closed(): boolean {
    return this.#core.intake.refusal !== null;
  }

  /** Requests that are accepted and not yet settled. */
  get outstanding(): number {
    return this.#core.intake.outstanding.size;
  }

  /**
   * Fills memory from one region (`REQ_OP_READ`). A read has one region, as in dm-io: its memory can hold only one.
   *
   * @param region Where from.
   * @param memory Where to; at least as long as the region.
   * @param options How, and when to stop waiting.
   * @returns The answer: bit 0 is set when the region failed. Memory that was not filled is zeros then (`zero_fill_bio` in dm-io.c).
   * @throws {TypeError | RangeError | SystemError} At once, before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const data = new Uint8Array(4096);
   * const result = await io.read({ bdev: device, sector: 0, count: 8 }, data);
   * if (!result.ok) console.error(result.failures); // [{ region: 0, errno: 5, code: "EIO", sector: 3 }]
   * ```
   */
  read(region: IoRegion, memory: IoMemory, options?: IoOptions): Promise<IoResult> {
    const how = checked(options, read);
    return this.#calls.promise(read, this.#alone(region), memory, how);
  }

  /**
   * Writes memory to each region (`REQ_OP_WRITE`): each gets the bytes from the start of the memory on, as many as its own count says.
   *
   * @param regions Where to, 1 to 64.
   * @param memory Where from; at least as long as the longest region.
   * @param options How, whether it is durable when it is answered, and when to stop waiting.
   * @returns The answer: bit `i` is set when region `i` failed. It never rejects for what a device does.
   * @throws {TypeError} At once, before any I/O: for a closed client or device, a device that is not open for writing, a value that is no
   * region or no memory, pages that were freed, an option of another operation.
   * @throws {RangeError} At once, before any I/O: for 0 or more than 64 regions, a region outside its device or off a direct
   * device's logical blocks, memory that is too short, an offset or bvec outside its page, a bad timeout.
   * @throws {SystemError} `EPERM` at once, for a realtime `ioprio` without the capability.
   *
   * @example A record that survives a power cut
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const record = new Uint8Array(4096).fill(1);
   * (await io.write([{ bdev: device, sector: 0, count: 8 }], record, { fua: true })).orThrow();
   * ```
   */
  write(regions: readonly IoRegion[], memory: IoMemory, options?: WriteOptions): Promise<IoResult> {
    return this.#calls.promise(write, regions, memory, checked(options, write));
  }

  /**
   * Flushes devices (`REQ_OP_FLUSH`, by `fdatasync(2)`): when the flush is answered, all writes to them that were answered before it began are
   * on the medium. A file, or a device that is not open for direct I/O, first gets its dirty pages written.
   *
   * @param targets The devices, or regions of them, 1 to 64. The whole device is flushed, whatever the region.
   * @param options When to stop waiting.
   * @returns The answer: bit `i` is set when flush `i` failed. Then it is not known which of the writes before are on the medium, and another
   * flush does not tell: write them again.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}. A device may be open for reading only.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * await io.write([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096));
   * (await io.flush([device])).orThrow();
   * ```
   */
  flush(targets: readonly (BlockDevice | IoRegion)[], options?: DeadlineOptions): Promise<IoResult> {
    return this.#calls.promise(flush, flushed(targets), null, checked(options, flush));
  }

  /**
   * Discards regions (`REQ_OP_DISCARD`): their contents are undefined from then on, and the device may use their space for other data. A
   * file gets a hole.
   *
   * @param regions The regions, 1 to 64, in whole logical blocks on a block device. A long one is split at the device's limits.
   * @param options When to stop waiting.
   * @returns The answer: bit `i` is set when region `i` failed, with `EOPNOTSUPP` where the device cannot discard.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * (await io.discard([{ bdev: device, sector: 0, count: device.sectors }])).orThrow();
   * ```
   */
  discard(regions: readonly IoRegion[], options?: DeadlineOptions): Promise<IoResult> {
    return this.#calls.promise(discard, regions, null, checked(options, discard));
  }

  /**
   * Makes regions read as zeros (`REQ_OP_WRITE_ZEROES`), without data from memory. The zeros are durable after a flush, as a write is.
   *
   * @param regions The regions, 1 to 64, in whole logical blocks on a block device.
   * @param options Whether the space may be given back, whether zeroes are written as data where the device cannot make them, and when to
   * stop waiting.
   * @returns The answer: bit `i` is set when region `i` failed.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * (await io.writeZeroes([{ bdev: device, sector: 8, count: 8 }], { unmap: true })).orThrow();
   * ```
   */
  writeZeroes(regions: readonly IoRegion[], options?: ZeroOptions): Promise<IoResult> {
    return this.#calls.promise(writeZeroes, regions, null, checked(options, writeZeroes));
  }

  /**
   * Writes one block again and again, until each region is full (`REQ_OP_WRITE_SAME` of kernels before 5.18). A block of zeros becomes a
   * {@linkcode IoClient.writeZeroes}, unless `preflush` or `fua` is set.
   *
   * @param regions Where to, 1 to 64; each holds a whole number of blocks.
   * @param block The block: 512 bytes to 16 MiB, whole sectors. It is copied before this returns.
   * @param options As for a write.
   * @returns The answer: bit `i` is set when region `i` failed.
   * @throws {TypeError | RangeError} At once, before any I/O: see {@linkcode IoClient.write}; and for a block of another length.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const block = new Uint8Array(512).fill(0xe5);
   * (await io.writeSame([{ bdev: device, sector: 0, count: device.sectors }], block)).orThrow();
   * ```
   */
  writeSame(regions: readonly IoRegion[], block: Uint8Array, options?: WriteOptions): Promise<IoResult> {
    const same = sameOf(regions, block, checked(options, write));
    return this.#calls.promise(same.op, same.regions, same.memory, same.options);
  }

  /**
   * As {@linkcode IoClient.read}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param region Where from.
   * @param memory Where to. Aligned memory of a `SharedArrayBuffer` is used where it lies.
   * @param options How.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const data = new Uint8Array(4096);
   * io.readSync({ bdev: device, sector: 0, count: 8 }, data).orThrow();
   * ```
   */
  readSync(region: IoRegion, memory: IoMemory, options?: Blocking<IoOptions>): IoResult {
    const how = checked(options, read);
    return this.#calls.block(read, this.#alone(region), memory, how);
  }

  /**
   * As {@linkcode IoClient.write}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param regions Where to.
   * @param memory Where from. Aligned memory of a `SharedArrayBuffer` is used where it lies.
   * @param options How.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * io.writeSync([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096).fill(1)).orThrow();
   * ```
   */
  writeSync(regions: readonly IoRegion[], memory: IoMemory, options?: Blocking<WriteOptions>): IoResult {
    return this.#calls.block(write, regions, memory, checked(options, write));
  }

  /**
   * As {@linkcode IoClient.flush}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param targets The devices, or regions of them.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * io.writeSync([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096).fill(1)).orThrow();
   * io.flushSync([device]).orThrow();
   * ```
   */
  flushSync(targets: readonly (BlockDevice | IoRegion)[]): IoResult {
    return this.#calls.block(flush, flushed(targets), null, undefined);
  }

  /**
   * As {@linkcode IoClient.discard}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param regions The regions.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * io.discardSync([{ bdev: device, sector: 0, count: device.sectors }]).orThrow();
   * ```
   */
  discardSync(regions: readonly IoRegion[]): IoResult {
    return this.#calls.block(discard, regions, null, undefined);
  }

  /**
   * As {@linkcode IoClient.writeZeroes}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param regions The regions.
   * @param options How.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * io.writeZeroesSync([{ bdev: device, sector: 8, count: 8 }]).orThrow();
   * ```
   */
  writeZeroesSync(regions: readonly IoRegion[], options?: Blocking<ZeroOptions>): IoResult {
    return this.#calls.block(writeZeroes, regions, null, checked(options, writeZeroes));
  }

  /**
   * As {@linkcode IoClient.writeSame}, blocking: this thread stands still until the kernel is done. There is no deadline.
   *
   * @param regions The regions.
   * @param block The block.
   * @param options How.
   * @returns The answer.
   * @throws {TypeError | RangeError | SystemError} Before any I/O: see {@linkcode IoClient.write}.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const block = new Uint8Array(512).fill(0xe5);
   * io.writeSameSync([{ bdev: device, sector: 0, count: device.sectors }], block).orThrow();
   * ```
   */
  writeSameSync(
    regions: readonly IoRegion[],
    block: Uint8Array,
    options?: Blocking<WriteOptions>,
  ): IoResult {
    const same = sameOf(regions, block, checked(options, write));
    return this.#calls.block(same.op, same.regions, same.memory, same.options);
  }

  /**
   * The callback form of all operations, without a promise.
   *
   * @param op `REQ_OP_READ` (`READ`), `REQ_OP_WRITE` (`WRITE`), `REQ_OP_FLUSH`, `REQ_OP_DISCARD` or `REQ_OP_WRITE_ZEROES`.
   * @param regions The regions.
   * @param memory The memory of a read or a write; null for the others.
   * @param fn Called once, from the event loop, never before `notify` has returned. An error that `fn` throws is an uncaught error.
   * @param context Passed to `fn`.
   * @param options How, and when to stop waiting: those of the operation.
   * @throws {TypeError | RangeError | SystemError} As {@linkcode IoClient.write}; `fn` is not called then.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient, REQ_OP_WRITE } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const regions = [{ bdev: device, sector: 0, count: 8 }];
   * const fn = (errorBits: bigint, name: string) => console.log(name, errorBits); // journal 0n
   * io.notify(REQ_OP_WRITE, regions, new Uint8Array(4096), fn, "journal", { fua: true });
   * ```
   */
  notify<C>(
    op: number,
    regions: readonly IoRegion[],
    memory: IoMemory | null,
    fn: IoNotifyFn<C>,
    context: C,
    options?: WriteOptions & ZeroOptions,
  ): void {
    const operation = operationOf(op, "op");
    if (typeof fn !== "function") throw new TypeError(`fn is ${describe(fn)}; it must be a function`);
    this.#calls.notify(operation, regions, memory, checked(options, operation), fn, context);
  }

  /**
   * A region as a stream of bytes, in their order. The stream reads ahead, up to 32 chunks, into pages of the pool: at most half of the pages
   * that are free or its own. The bytes are copied from there into memory of the consumer: the view of a BYOB reader, or `chunk` bytes for
   * each read. The stream gives its pages back at its end, when it is canceled or errors, and when nothing refers to it any more. A pool
   * without free pages makes the stream slower, and never stops it.
   *
   * A sector that cannot be read errors the stream with an {@linkcode IoError} that names the sector, after all bytes before it. A client or
   * a device that is closed while the stream is open errors it with a `TypeError`, after the bytes that were read.
   *
   * @param region Where from.
   * @param options How, and when to give up.
   * @returns The stream. Nothing is read before its first read.
   * @throws {TypeError | RangeError | SystemError} At once: for a closed client, a wrong option, and a region that {@linkcode IoClient.read}
   * refuses.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * const region = { bdev: device, sector: 0, count: device.sectors };
   * const packed = new Response(io.readable(region).pipeThrough(new CompressionStream("gzip")));
   * console.log((await packed.bytes()).length);
   * ```
   */
  readable(region: IoRegion, options: StreamOptions = {}): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#assertOpen();
    return readable(this, this.#alone(region), options);
  }

  /**
   * A stream that writes its bytes to each region, from the region's start, to each as many as it holds. The bytes are gathered in pages of
   * the pool and written in chunks, up to 32 at a time. A write to the stream is done when its bytes are copied: their memory may be used
   * again then. The write waits while the pool has no page for it. Closing the stream waits for all writes, then flushes the devices.
   *
   * The stream takes chunks of any length. At the close, the last block is filled up with zeros: to a sector, or to a logical block of a
   * direct device. More bytes than the longest region holds error the stream with a `RangeError`; nothing is written of the chunk that would
   * pass the region's end.
   *
   * A region that fails errors the stream with an {@linkcode IoError}, or drops out: see `onFailure`. `result` says how many bytes each
   * region has, however the stream ended.
   *
   * @param regions Where to, 1 to 64.
   * @param options How, and when to give up.
   * @returns The stream, with its `result`.
   * @throws {TypeError | RangeError | SystemError} At once: for a closed client, a wrong option, and regions that
   * {@linkcode IoClient.write} refuses.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using a = BlockDevice.open("/tmp/a.img", { write: true, create: 1 << 20 });
   * await using b = BlockDevice.open("/tmp/b.img", { write: true, create: 1 << 20 });
   * const regions = [a, b].map((bdev) => ({ bdev, sector: 0, count: bdev.sectors }));
   * const target = io.writable(regions, { onFailure: "continue" });
   * await new Blob(["an image"]).stream().pipeTo(target);
   * const { bytes, failures } = await target.result;
   * console.log(bytes, failures);
   * ```
   */
  writable(regions: readonly IoRegion[], options: WritableOptions = {}): RegionsWritable {
    this.#assertOpen();
    return writable(this, regions, options);
  }

  /**
   * Closes the client: waits for all requests, then frees the engine and the pool. Views of its pages have length 0 from then on, so use
   * their data before.
   *
   * @param options How long to wait.
   * @returns Resolves when everything is freed. With a timeout, rejects when a device does not answer in time, and names the device. The
   * client closes when the device answers, and frees no memory before.
   * @throws {RangeError} At once, for a bad timeout.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * const io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * await io.write([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096));
   * await io.close({ timeout: 5000 });
   * ```
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
   * What the client did so far: counts, and how long requests took in microseconds.
   *
   * @returns The figures as they are now.
   *
   * @example
   * ```ts
   * import { BlockDevice, IoClient } from "@dmio/dmio";
   *
   * await using io = new IoClient();
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * await io.write([{ bdev: device, sector: 0, count: 8 }], new Uint8Array(4096));
   * const { sqes, bounces, latency } = io.stats();
   * console.log(sqes, bounces, latency.p99); // 1 1 and some microseconds: the memory was copied through the pool
   * ```
   */
  stats(): IoStats {
    return this.#core.stats;
  }

  /** As {@linkcode IoClient.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(): void {
    const { refusal } = this.#core.intake;
    if (refusal !== null) throw refusal;
  }

  #alone(region: IoRegion): readonly IoRegion[] {
    if (Array.isArray(region)) throw new TypeError("region is an Array; read takes one region");
    this.#one[0] = region;
    return this.#one;
  }
}

function checked(options: AnyOptions | undefined, op: Operation): CheckedOptions | undefined {
  return options === undefined ? undefined : checkOptions(options, op);
}

function refuseRealDevices(): never {
  throw new TypeError(
    "the client was made without --allow-ffi, so its pool is memory of JavaScript, which no device of the system can use; make the client " +
      "after the permission was granted",
  );
}

const ENGINE = Symbol("engine");
type Options = IoClientOptions & { [ENGINE]?: Engine };

/** A client that drives and closes a given engine. For the simulator, and for tests with an engine of their own. */
export function clientOn(engine: Engine, options: IoClientOptions = {}): IoClient {
  const all: Options = { ...options, [ENGINE]: engine };
  return new IoClient(all);
}
