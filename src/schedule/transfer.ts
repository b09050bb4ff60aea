/**
 * Pieces: the part of a region that one SQE carries, tried until it is transferred or known to have failed.
 *
 * @module
 */

import { EAGAIN, EBADMSG, EILSEQ, EINTR, EIO, ENODATA, ENOSPC, EREMOTEIO } from "../../ffi/errno.ts";
import type { RegionIo } from "../request/request.ts";
import { SECTOR_SIZE } from "../device/device.ts";

/** How often in a row an SQE may come back without progress (`EAGAIN`, `EINTR`, less than a block) before that is an error. */
const RETRIES = 16;

// Errors that a place on the medium gives. The kernel fails a whole transfer for one bad block, so the piece is tried again in
// halves until the first bad block is known. An error of the device as a whole would only be met again.
const MEDIUM_ERRORS = new Set([EIO, ENOSPC, ENODATA, EBADMSG, EILSEQ, EREMOTEIO]);

/** One of the places that SQEs in flight have. Byte offsets count from the region's start. */
export class Transfer {
  /** Its number: the SQE's user data. */
  readonly slot: number;
  /** Told apart from earlier uses of the slot: the upper half of the SQE's user data. */
  generation = 0;
  /** The region that it is of; null while the slot is free. */
  region: RegionIo | null = null;
  /** The first byte that is not transferred yet. */
  offset = 0;
  /** Where it ends. */
  end = 0;
  /** The segment that holds the byte at `offset`, and where in it that is. */
  segment = 0;
  segmentAt = 0;
  /** Bytes that the SQE in flight asks for. */
  asked = 0;
  // A bad block lies between `offset` and here; 0 when none is known of.
  #suspect = 0;
  #cause = 0;
  #retries = 0;

  constructor(slot: number) {
    this.slot = slot;
  }

  /** Takes the next bytes of a region. */
  start(region: RegionIo, length: number): void {
    this.generation = (this.generation + 1) >>> 0;
    this.region = region;
    this.offset = region.issued;
    this.end = region.issued + length;
    this.segment = region.segment;
    this.segmentAt = region.segmentAt;
    this.asked = length;
    this.#suspect = 0;
    this.#retries = 0;
  }

  /**
   * Takes in what a CQE said.
   *
   * @param result Bytes transferred, or `-errno`.
   * @returns Whether the piece is at its end, one way or the other. If not, `asked` bytes at `offset` are to be tried next.
   */
  complete(result: number): boolean {
    if (result === this.asked && this.#suspect === 0) return true;
    const done = result > 0 ? this.#transferred(result) : this.#failed(-result);
    if (!done) this.asked = this.#next();
    return done;
  }

  /** Ends without another try, as nobody waits for it any more. */
  giveUp(): void {
    if (!this.region!.request.write) this.#zeroFill();
  }

  #transferred(result: number): boolean {
    const region = this.region!;
    // Direct I/O can go on only from a block; what a short transfer moved of the last one is moved again.
    const unit = region.device.direct ? this.#block : 1;
    const moved = result === this.asked ? result : result - (result % unit);
    if (moved === 0) return this.#retry(EIO);
    this.#retries = 0;
    this.offset += moved;
    region.request.segments.advance(this, moved);
    if (this.offset >= this.#suspect) this.#suspect = 0;
    return this.offset >= this.end;
  }

  #failed(errno: number): boolean {
    // Nothing transferred, without an error: the end of a device that shrank, or a write that makes no progress.
    if (errno === 0) return this.#fail(EIO);
    if (errno === EAGAIN || errno === EINTR) return this.#retry(errno);
    const region = this.region!;
    const known = region.errno !== 0 && region.failedAt <= this.offset;
    const inOneBlock = this.offset + this.asked <= this.#nextBlock;
    if (!MEDIUM_ERRORS.has(errno)) {
      // A device that dies while it is asked where it is bad has failed for the first reason.
      return this.#fail(this.#suspect > 0 ? this.#cause : errno);
    }
    if (known || inOneBlock) return this.#fail(errno);
    if (this.#suspect === 0) this.#cause = errno;
    this.#suspect = this.offset + this.asked;
    return false;
  }

  #retry(errno: number): boolean {
    return ++this.#retries > RETRIES ? this.#fail(errno) : false;
  }

  #fail(errno: number): boolean {
    const region = this.region!;
    region.fail(errno, this.offset);
    this.giveUp();
    return true;
  }

  // What was not read reads as zeros, as the kernel's dm-io means it (zero_fill_bio), so that nobody takes old bytes for data.
  #zeroFill(): void {
    const { segments } = this.region!.request;
    let left = this.end - this.offset;
    let at = this.segmentAt;
    for (let i = this.segment; left > 0; i++, at = 0) {
      const run = Math.min(segments.length[i]! - at, left);
      segments.zeroRun(i, at, run);
      left -= run;
    }
  }

  // To the middle of what is suspect, on a block's border: a short transfer may have ended within a block.
  #next(): number {
    if (this.#suspect === 0) return this.end - this.offset;
    const block = this.#block;
    const middle = Math.floor((this.offset + this.#suspect) / 2 / block) * block;
    return Math.min(Math.max(middle, this.#nextBlock), this.end) - this.offset;
  }

  get #nextBlock(): number {
    return (Math.floor(this.offset / this.#block) + 1) * this.#block;
  }

  get #block(): number {
    const { device } = this.region!;
    return device.direct ? device.logicalBlockSize : SECTOR_SIZE;
  }
}
