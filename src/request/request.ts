/**
 * Requests: a countdown of regions, and what became of each (`struct io` and `dec_count` of drivers/md/dm-io.c).
 *
 * @module
 */

import { errnoName } from "../../ffi/errno.ts";
import type { Bounce } from "../memory/bounce.ts";
import type { DeviceQueue } from "../schedule/device_queue.ts";
import { Segments } from "../memory/segments.ts";
import { type BlockDevice, SECTOR_SIZE } from "../device/device.ts";
import { type IoFailure, type IoResult, SUCCESS } from "./result.ts";

/**
 * Told of a request's end.
 *
 * @param error Bit `i` is set when region `i` failed.
 * @param context What was given along with the function.
 */
export type IoNotifyFn<C> = (error: bigint, context: C) => void;

/** One region of a request. Byte offsets count from the region's start. */
export class RegionIo {
  /** The request that it is of. */
  readonly request: Request;
  /** Its place in the request, which is its bit. */
  readonly index: number;
  /** The device. */
  device!: BlockDevice;
  /** Where its I/O queues; that of another device until the request is accepted. */
  lane!: DeviceQueue;
  /** Its first sector on the device. */
  sector = 0;
  /** Its length in bytes. */
  bytes = 0;
  /** Where the bytes to transfer now end: the whole region, or a window of it. */
  end = 0;
  /** How far pieces were issued. */
  issued = 0;
  /** The segment that holds the byte at `issued`, and where in it that is. */
  segment = 0;
  segmentAt = 0;
  /** Pieces that are not done. */
  pieces = 0;
  /** Why it failed; 0 as long as it did not. */
  errno = 0;
  /** The first byte that is known not to be transferred. */
  failedAt = 0;
  /** The next region that waits in the same lane. */
  next: RegionIo | null = null;

  constructor(request: Request, index: number) {
    this.request = request;
    this.index = index;
  }

  /** Whether nothing more is to be done for it in this window. */
  get done(): boolean {
    return this.pieces === 0 && this.issued >= this.end;
  }

  /** Notes a failure; the first byte counts, whichever piece was answered first. */
  fail(errno: number, at: number): void {
    if (this.errno !== 0 && this.failedAt <= at) return;
    this.errno = errno;
    this.failedAt = at;
  }
}

/** A request, used again for the next one when it is done. */
export class Request {
  /** Whether it writes. */
  write = false;
  /** Its place in the roster. */
  place = 0;
  /** How many of `regions` are in use. */
  count = 0;
  /** Its regions. */
  readonly regions: RegionIo[] = [];
  /** The caller's memory. */
  readonly memory: Segments = new Segments();
  /** The memory that SQEs name: the caller's, or pool pages that stand in for it. */
  segments: Segments = this.memory;
  /** Carries it through the pool's pages, when the kernel can't be given its memory. */
  bounce: Bounce | null = null;
  /** Regions that are not done, and one while it is dispatched, so that it can't complete half submitted. */
  pending = 0;
  /** Nobody waits for it any more: it was answered, and issues nothing new. */
  abandoned = false;
  /** Everything about it is over. */
  settled = false;
  /** Its caller sleeps until it is done. */
  sync = false;
  /** When it was started, in milliseconds; 0 when it never was. */
  began = 0;
  /** Settle its promise; or else `fn` is told. */
  resolve: ((result: IoResult) => void) | null = null;
  reject: ((fault: Error) => void) | null = null;
  fn: IoNotifyFn<unknown> | null = null;
  context: unknown = undefined;
  /** Its answer, once that is known. */
  result: IoResult | null = null;
  /** Resolves `result.settled`, when it was answered before it was settled. */
  whenSettled: (() => void) | null = null;
  /** Ends its timer and its signal's listener. */
  disarm: (() => void) | null = null;

  /** Takes a region on, at the end. */
  addRegion(device: BlockDevice, sector: number, count: number): void {
    let io = this.regions[this.count];
    if (io === undefined) this.regions.push(io = new RegionIo(this, this.count));
    this.count++;
    io.device = device;
    io.sector = sector;
    io.bytes = count * SECTOR_SIZE;
    io.errno = 0;
    io.failedAt = 0;
    this.frame(io, 0, io.bytes);
  }

  /** Sets the bytes of a region to transfer next; `segments` begins at the first of them. */
  frame(region: RegionIo, start: number, end: number): void {
    region.issued = Math.min(start, region.bytes);
    region.end = Math.min(end, region.bytes);
    region.segment = 0;
    region.segmentAt = 0;
  }

  /** Whether any region failed. */
  get failed(): boolean {
    for (let i = 0; i < this.count; i++) if (this.regions[i]!.errno !== 0) return true;
    return false;
  }

  /** Bit `i` is set when region `i` failed. */
  get errorBits(): bigint {
    let bits = 0n;
    for (let i = 0; i < this.count; i++) if (this.regions[i]!.errno !== 0) bits |= 1n << BigInt(i);
    return bits;
  }

  /** The answer, from what became of its regions. */
  answer(settled: Promise<void> = SUCCESS.settled): IoResult {
    if (!this.failed) return SUCCESS;
    const failures: IoFailure[] = [];
    for (let i = 0; i < this.count; i++) {
      const { errno, failedAt, sector } = this.regions[i]!;
      if (errno === 0) continue;
      failures.push({
        region: i,
        errno,
        code: errnoName(errno),
        sector: sector + Math.floor(failedAt / SECTOR_SIZE),
      });
    }
    return { errorBits: this.errorBits, failures, settled };
  }

  /** Makes it ready for the next use, and lets go of everything it refers to. */
  clear(): void {
    for (let i = 0; i < this.count; i++) this.regions[i]!.next = null;
    this.count = 0;
    this.memory.clear();
    this.segments = this.memory;
    this.abandoned = this.settled = this.sync = false;
    this.began = 0;
    this.resolve =
      this.reject =
      this.fn =
      this.bounce =
      this.result =
      this.whenSettled =
      this.disarm =
        null;
    this.context = undefined;
  }
}
