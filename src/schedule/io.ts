/**
 * What a request is to the scheduler: an operation on regions, and the transfers that carry it out (`struct io` of
 * drivers/md/dm-io.c). Byte offsets count from the start of a region.
 *
 * @module
 */

import { type BlockDevice, SECTOR_SIZE } from "../device/device.ts";
import type { Engine } from "../engine/engine.ts";
import type { Sqe } from "../engine/sqe.ts";
import type { Segments } from "../memory/segments.ts";
import type { DeviceQueue } from "./device_queue.ts";

/** The most regions one request may name: one error bit each (`BITS_PER_LONG` in drivers/md/dm-io.c). */
export const MAX_REGIONS = 64;

/** All bytes of the transfer were transferred. */
export const DONE = 0;
/** `requested` bytes at the transfer's `offset` are issued next. */
export const AGAIN = 1;
/** The transfer failed at its `offset`, with its `errno`. */
export const FAILED = 2;

/** What a CQE means for its transfer. */
export type Outcome = typeof DONE | typeof AGAIN | typeof FAILED;

/** One operation of the block layer. The files of src/op/ hold one each. */
export interface Operation {
  /** For messages. */
  readonly name: string;
  /** Whether it changes devices, which must be open for writing. */
  readonly writes: boolean;
  /** Whether it moves data between memory and devices. */
  readonly data: boolean;
  /** The most regions that one request may name. */
  readonly mostRegions: number;
  /** Whether a failed transfer is searched for its first bad block, when the request does not say. */
  readonly locates: boolean;
  /** Whether it clears ranges: discards and writes of zeroes, which take whole logical blocks of a block device, direct or not. */
  readonly clears: boolean;
  /** The names of the options that it takes, beside `timeout` and `signal`. */
  readonly options: readonly string[];
  /** The length of a region in bytes. A flush moves none. */
  span(sectors: number): number;
  /**
   * The error number with which a region fails without any I/O, as its device is known to lack the operation; 0: the device is tried. Null for
   * an operation that every device is tried for.
   */
  readonly refuses: ((region: RegionIo) => number) | null;
  /** The bytes of a region that its next SQE carries. */
  next(region: RegionIo): number;
  /** Fills an SQE, but for its file and its user data, and sets `transfer.fixed`. */
  prep(transfer: Transfer, sqe: Sqe, engine: Engine): void;
  /** Takes in `cqe.res`: bytes transferred, or `-errno`. */
  complete(transfer: Transfer, result: number): Outcome;
  /** Ends a transfer that failed or was abandoned: a read zeroes the memory that it did not fill. */
  giveUp(transfer: Transfer): void;
}

/** A region of a request. */
export class RegionIo {
  /** The operation that it is part of. */
  readonly io: Io;
  /** Its place in the request, which is its bit. */
  readonly index: number;
  /** The device; null between two requests. */
  device!: BlockDevice;
  /** The flush that is due before any transfer: the preflush, or, once all transfers have ended, the postflush. Null: none is due. */
  flush: Operation | null = null;
  /** The flush that follows the last transfer of a durable write where `RWF_DSYNC` is not enough; null for none. */
  postflush: Operation | null = null;
  /** How many syncs of its device had failed when it was accepted; for a region with data, when its first data was issued. */
  syncFailures = 0;
  /** Where its I/O queues. */
  queue!: DeviceQueue<RegionIo>;
  /** Its first sector on the device. */
  sector = 0;
  /** Its length in bytes. */
  bytes = 0;
  /** Where the bytes to transfer now end: the whole region, or a window of it. */
  end = 0;
  /** Where the bytes end that were issued. */
  issued = 0;
  /** The segment that holds the byte at `issued`, and where in it that is. */
  segment = 0;
  segmentAt = 0;
  /** Transfers in flight, or waiting for a retry. */
  transfers = 0;
  /** The error number of its failure; 0 while it has none. */
  errno = 0;
  /** The first byte that is known not to be transferred. */
  failedAt = 0;
  /** Whether it failed because its device is gone. */
  gone = false;
  /** Whether it keeps its device open. */
  holds = false;
  /** The next region that waits in the same queue. */
  next: RegionIo | null = null;

  constructor(io: Io, index: number) {
    this.io = io;
    this.index = index;
  }

  /**
   * Notes a failure. Of several, the one at the lowest byte counts.
   *
   * @param errno The error number.
   * @param byte The first byte that is not known to be transferred. While a postflush is still to come, that is the region's first byte.
   */
  fail(errno: number, byte: number): void {
    const at = this.postflush === null ? byte : 0;
    if (this.errno !== 0 && this.failedAt <= at) return;
    this.errno = errno;
    this.failedAt = at;
  }

  /** Fails the region without any I/O. */
  refuse(errno: number): void {
    this.fail(errno, 0);
    this.stop();
  }

  /** `RWF_*` flags of its reads and writes. */
  get rwFlags(): number {
    return this.postflush === null ? this.io.rwFlags : 0;
  }

  /** Ends the region where it is: no more bytes of it are issued, in this window or a later one. */
  stop(): void {
    this.flush = this.postflush = null;
    this.end = this.bytes = this.issued;
  }

  /** Sets the bytes to transfer next; the segments begin at the first of them. */
  frame(start: number, end: number): void {
    this.issued = Math.min(start, this.bytes);
    this.end = Math.min(end, this.bytes);
    this.segment = 0;
    this.segmentAt = 0;
  }
}

/** An operation on regions, used again for the next one when it is done. */
export class Io {
  /** The request that it is part of. The scheduler does not look at it. */
  readonly owner: unknown;
  /** The operation. */
  op!: Operation;
  /** Whether a failed transfer is searched for its first bad block. */
  locate = false;
  /** The flush before the transfers of each region; null for none. */
  preflush: Operation | null = null;
  /** `RWF_*` flags of reads and writes. */
  rwFlags = 0;
  /** The flush after the transfers of each region where `RWF_DSYNC` is not enough; null for none. */
  postflush: Operation | null = null;
  /** The I/O priority of reads and writes; 0: the process's. */
  ioprio = 0;
  /** Whether a write of zeroes may give the space back. */
  unmap = false;
  /** Whether zeroes are written as data where a device cannot make them. */
  fallback = true;
  /** The memory that SQEs name. */
  segments!: Segments;
  /** The regions; the first `count` are in use. */
  readonly regions: RegionIo[] = [];
  /** How many of `regions` are in use. */
  count = 0;
  /** Regions that have not ended (the `count` of `struct io`). */
  pending = 0;
  /** Whether its request was answered at a deadline: no more SQEs of it are issued. */
  abandoned = false;
  /** Whether the call blocks this thread until the operation is done. */
  blocks = false;

  constructor(owner: unknown) {
    this.owner = owner;
  }

  /** Takes a region on, at the end. */
  addRegion(device: BlockDevice, sector: number, count: number): void {
    let region = this.regions[this.count];
    if (region === undefined) this.regions.push(region = new RegionIo(this, this.count));
    this.count++;
    region.device = device;
    region.sector = sector;
    region.bytes = this.op.span(count);
    region.flush = this.preflush;
    // Through the page cache, RWF_DSYNC would sync beside the syncs that take turns (see syncs.ts), and one could get the other's error.
    region.postflush = !device.direct || device.ignoresDsync === true ? this.postflush : null;
    region.errno = 0;
    region.failedAt = 0;
    region.gone = false;
    region.frame(0, region.bytes);
  }

  /** Whether any region failed. */
  get failed(): boolean {
    for (let i = 0; i < this.count; i++) if (this.regions[i]!.errno !== 0) return true;
    return false;
  }

  /** Makes it ready for the next use, and drops its references to devices. */
  clear(): void {
    for (let i = 0; i < this.count; i++) {
      const region = this.regions[i]!;
      region.device = null!;
      region.queue = null!;
      region.next = null;
    }
    this.count = 0;
    this.abandoned = false;
    this.preflush = this.postflush = null;
    this.rwFlags = this.ioprio = 0;
    this.unmap = false;
    this.fallback = true;
  }
}

/** The part of a region that one SQE carries, tried until it is transferred or known to have failed. */
export class Transfer {
  /** Its number: the low half of the SQE's user data. */
  readonly slot: number;
  /** The use of the slot, counted: the upper half of the SQE's user data. */
  generation = 0;
  /** Its region; null while the slot is free. */
  region: RegionIo | null = null;
  /** The operation of its region, or the flush that is due. */
  op!: Operation;
  /** The first byte that is not transferred yet. */
  offset = 0;
  /** Where it ends. */
  end = 0;
  /** The segment that holds the byte at `offset`, and where in it that is. */
  segment = 0;
  segmentAt = 0;
  /** Bytes that the SQE in flight is to move. */
  requested = 0;
  /** Whether the SQE in flight names a registered buffer. */
  fixed = false;
  /** The way (`BY_*` of src/device/abilities.ts) of the SQE in flight, for an operation that has several; 0 before the first SQE. */
  way = 0;
  /** The error number of its failure, once it failed. */
  errno = 0;
  /** SQEs in a row that completed without progress and without an error of the device. */
  retries = 0;
  /** Whether the next SQE is submitted in a batch of its own, so that no neighbour's error can fail it. */
  alone = false;
  /** Where the bytes end that are known to hold a bad block; 0 when none are. */
  suspect = 0;
  /** The error that made them suspect. */
  cause = 0;

  constructor(slot: number) {
    this.slot = slot;
  }

  /** Takes the next `length` bytes of a region. */
  start(region: RegionIo, length: number): void {
    this.generation = (this.generation + 1) >>> 0;
    this.region = region;
    this.op = region.flush ?? region.io.op;
    // When a flush fails, no byte of the region is known to be on the medium: it fails at its start.
    this.offset = region.flush === null ? region.issued : 0;
    this.end = region.issued + length;
    this.segment = region.segment;
    this.segmentAt = region.segmentAt;
    this.requested = length;
    this.retries = 0;
    this.alone = false;
    this.suspect = 0;
    this.way = 0;
  }

  /** The logical block that I/O on its device moves whole, in bytes. */
  get block(): number {
    const { device } = this.region!;
    return device.direct ? device.logicalBlockSize : SECTOR_SIZE;
  }
}
