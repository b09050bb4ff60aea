/**
 * The scheduler: turns the regions of all waiting requests into few batches of SQEs, and CQEs back into requests that are done.
 *
 * @module
 */

import {
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  IOSQE_ASYNC,
  IOSQE_FIXED_FILE,
} from "../../ffi/uapi.ts";
import { type BlockDevice, whenClosed } from "../device/device.ts";
import type { Engine } from "../engine/engine.ts";
import { DmioFault } from "../fault.ts";
import { DeviceQueue } from "./device_queue.ts";
import { Transfer } from "./transfer.ts";
import { SECTOR_SIZE } from "../device/device.ts";
import type { SchedulerCounters } from "../stats.ts";
import type { RegionIo, Request } from "../request/request.ts";

/** The most bytes that one SQE carries: long enough for full speed, short enough to share a device, and a CPU's cache with its copies. */
const MAX_PIECE = 512 << 10;
/** Bytes that one lane may issue in a row: SQEs of one device cost the kernel less together than one by one. */
const TURN = 64 << 10;
/** The most iovecs that one SQE names (`UIO_MAXIOV` in linux/uio.h). */
const MAX_VECTORS = 1024;
/** A run of at least this many bytes is worth an SQE of its own, with a fixed buffer. */
const OWN_SQE = 64 << 10;

/** Drives one engine. */
export class Scheduler {
  /** What it did so far. */
  readonly counters: { -readonly [K in keyof SchedulerCounters]: SchedulerCounters[K] } = {
    regions: 0,
    sqes: 0,
    fixedSqes: 0,
    submits: 0,
    shortTransfers: 0,
    bytes: 0,
    mostInFlight: 0,
  };
  /** SQEs in flight. */
  inFlight = 0;
  /** Regions queued since the last flush. */
  gathered = 0;

  readonly #engine: Engine;
  readonly #queueDepth: number;
  readonly #finished: (request: Request) => void;
  readonly #pieces: Transfer[] = [];
  readonly #idle: Transfer[] = [];
  readonly #again: Transfer[] = [];
  readonly #lanes = new Map<BlockDevice, DeviceQueue>();
  readonly #files: number[] = [];
  readonly #ready: DeviceQueue[] = [];
  #turn = 0;

  /**
   * @param engine What to drive.
   * @param queueDepth SQEs that one device may have in flight.
   * @param finished Called when nothing of a request is left to do, from `add` or `reap`.
   */
  constructor(engine: Engine, queueDepth: number, finished: (request: Request) => void) {
    this.#engine = engine;
    this.#queueDepth = queueDepth;
    this.#finished = finished;
    for (let slot = 0; slot < engine.capacity; slot++) this.#pieces.push(new Transfer(slot));
    this.#idle = this.#pieces.toReversed();
    if (engine.features.fixedFiles) {
      for (let place = engine.tableEntries - 1; place >= 0; place--) this.#files.push(place);
    }
  }

  /** Whether something waits that could not be issued yet. */
  get waiting(): boolean {
    return this.#ready.length > 0 || this.#again.length > 0 || this.#engine.queued > 0;
  }

  /** Whether anything is in flight or waits to be. */
  get busy(): boolean {
    return this.inFlight > 0 || this.waiting;
  }

  /** The lane of a device; a device is registered with the ring when it is first named. */
  lane(device: BlockDevice): DeviceQueue {
    let lane = this.#lanes.get(device);
    if (lane === undefined) {
      lane = this.#makeLane(device);
      this.#lanes.set(device, lane);
    }
    return lane;
  }

  /** Queues all regions of a request. */
  add(request: Request): void {
    request.pending = 1;
    for (let i = 0; i < request.count; i++) {
      const region = request.regions[i]!;
      if (region.issued >= region.end) continue;
      request.pending++;
      this.counters.regions++;
      this.gathered++;
      const { lane } = region;
      lane.push(region);
      if (!lane.ready) {
        lane.ready = true;
        this.#ready.push(lane);
      }
    }
    this.#release(request);
  }

  /** Gives the kernel as much as it takes. @returns Whether that was anything. */
  flush(): boolean {
    this.gathered = 0;
    for (let given = false;;) {
      const full = this.#fill();
      if (this.#engine.queued > 0) {
        this.counters.submits++;
        given = true;
      }
      this.#engine.submit();
      // What the engine did not take, it takes after a reap.
      if (!full || this.#engine.queued > 0) return given;
    }
  }

  /** Takes in all CQEs that are there. @returns How many. */
  reap(): number {
    const count = this.#engine.reap();
    const { userData, generation, result } = this.#engine.completions;
    for (let i = 0; i < count; i++) this.#complete(userData[i]!, generation[i]!, result[i]!);
    return count;
  }

  /** Takes back what was not issued yet of a request that nobody waits for any more. */
  abandon(request: Request): void {
    request.abandoned = true;
    for (let i = 0; i < request.count; i++) {
      const region = request.regions[i]!;
      if (!region.lane.remove(region)) continue;
      region.issued = region.end;
      if (region.lane.head === null) this.#retire(region.lane);
      if (region.pieces === 0) this.#release(request);
    }
  }

  /** The first byte of a region that is not known to be transferred. */
  firstPending(region: RegionIo): number {
    let first = region.issued < region.bytes ? region.issued : region.bytes;
    for (const piece of this.#pieces) {
      if (piece.region === region && piece.offset < first) first = piece.offset;
    }
    return first;
  }

  // Queues SQEs while the engine has room. Returns whether it ran out of that before it ran out of work.
  #fill(): boolean {
    while (this.#again.length > 0) {
      if (!this.#hasRoom()) return true;
      const piece = this.#again.shift()!;
      if (piece.region!.request.abandoned) this.#giveUp(piece);
      else this.#prepare(piece);
    }
    for (let passed = 0; passed < this.#ready.length;) {
      if (this.#turn >= this.#ready.length) this.#turn = 0;
      const lane = this.#ready[this.#turn]!;
      passed++;
      for (let issued = 0; issued < TURN && lane.head !== null && this.#hasShare(lane);) {
        if (!this.#hasRoom()) return true;
        passed = 0;
        issued += this.#issue(lane);
      }
      if (lane.head === null) this.#retire(lane);
      else this.#turn++;
    }
    return false;
  }

  // A lane gets a slot only while it has fewer than are left: of those that hang, the fourth and each one after it takes half of what
  // is left, until nothing is after 3 + log2(queue depth) of them (dynamic thresholds, Choudhury and Hahne, 1998).
  #hasShare({ inFlight }: DeviceQueue): boolean {
    return inFlight < this.#queueDepth && inFlight < this.#engine.capacity - this.inFlight;
  }

  #hasRoom(): boolean {
    return this.#engine.room > 0 && this.#engine.vectorRoom >= MAX_VECTORS;
  }

  #retire(lane: DeviceQueue): void {
    lane.ready = false;
    const at = this.#ready.indexOf(lane);
    const last = this.#ready.pop()!;
    if (last !== lane) this.#ready[at] = last;
  }

  // Issues the next piece of a lane. Returns its length.
  #issue(lane: DeviceQueue): number {
    const region = lane.head!;
    const piece = this.#idle.pop();
    if (piece === undefined) throw new DmioFault("no slot is left, though one was counted");
    const length = this.#pieceLength(region);
    piece.start(region, length);
    region.pieces++;
    lane.inFlight++;
    this.inFlight++;
    if (this.inFlight > this.counters.mostInFlight) this.counters.mostInFlight = this.inFlight;
    region.issued += length;
    region.request.segments.advance(region, length);
    if (region.issued >= region.end) lane.shift();
    this.#prepare(piece);
    return length;
  }

  // How much of what is left of a region the next SQE carries: one long run, or as many short ones as an iovec array holds.
  #pieceLength(region: RegionIo): number {
    const { length } = region.request.segments;
    // Blocks may be longer than what is otherwise best: ZFS has them of up to 16 MiB.
    const block = region.device.logicalBlockSize;
    const most = Math.min(region.end - region.issued, Math.max(MAX_PIECE, block));
    let total = length[region.segment]! - region.segmentAt;
    if (total >= most || total >= Math.max(OWN_SQE, block)) {
      return this.#whole(region, Math.min(total, most), most);
    }
    for (let i = 1; i < MAX_VECTORS && total < most; i++) total += length[region.segment + i]!;
    return this.#whole(region, Math.min(total, most), most);
  }

  // A direct device takes whole blocks; one that is longer than a page may not end where a run of pages does.
  #whole({ device }: RegionIo, length: number, most: number): number {
    return device.direct && length < most ? length - length % device.logicalBlockSize : length;
  }

  #prepare(piece: Transfer): void {
    const engine = this.#engine;
    const region = piece.region!;
    const { segments, write } = region.request;
    const { fd, flags, takesFixed } = region.lane;
    // A byte offset may pass 2^53, its two halves do not; a sector is a safe integer, so its low 32 bits survive the shift.
    const sector = region.sector + Math.floor(piece.offset / SECTOR_SIZE);
    const low = ((sector << 9) | (piece.offset % SECTOR_SIZE)) >>> 0;
    const high = Math.floor(sector / 2 ** 23);
    const { asked, slot, generation } = piece;
    const arena = segments.arena[piece.segment]!;
    const at = segments.at[piece.segment]! + piece.segmentAt;
    this.counters.sqes++;
    if (piece.segmentAt + asked <= segments.length[piece.segment]! && engine.features.plainOpcodes) {
      const fixed = takesFixed && arena.index >= 0;
      const opcode = write
        ? (fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE)
        : (fixed ? IORING_OP_READ_FIXED : IORING_OP_READ);
      if (fixed) this.counters.fixedSqes++;
      const place = fixed ? arena.index : 0;
      engine.prepare(opcode, fd, low, high, arena.address + at, asked, place, flags, slot, generation);
      return;
    }
    let left = asked;
    let from = piece.segmentAt;
    for (let i = piece.segment; left > 0; i++, from = 0) {
      const run = Math.min(segments.length[i]! - from, left);
      engine.vector(segments.arena[i]!.address + segments.at[i]! + from, run);
      left -= run;
    }
    const opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
    engine.prepareVectored(opcode, fd, low, high, flags, slot, generation);
  }

  #complete(slot: number, generation: number, result: number): void {
    const piece = this.#pieces[slot];
    if (piece === undefined || piece.region === null || piece.generation !== generation) {
      throw new DmioFault(`a CQE for slot ${slot}, use ${generation}, which has nothing in flight`);
    }
    if (result > 0) this.counters.bytes += result;
    if (result >= 0 && result < piece.asked) this.counters.shortTransfers++;
    if (piece.complete(result)) this.#end(piece);
    else if (piece.region.request.abandoned) this.#giveUp(piece);
    else this.#again.push(piece);
  }

  #giveUp(piece: Transfer): void {
    piece.giveUp();
    this.#end(piece);
  }

  #end(piece: Transfer): void {
    const region = piece.region!;
    const { lane, request } = region;
    piece.region = null;
    this.#idle.push(piece);
    this.inFlight--;
    lane.inFlight--;
    region.pieces--;
    if (this.inFlight < 0 || lane.inFlight < 0 || region.pieces < 0) {
      throw new DmioFault(`more completions than SQEs for ${lane.device.path}`);
    }
    if (region.done) this.#release(request);
  }

  // dec_count of drivers/md/dm-io.c.
  #release(request: Request): void {
    if (--request.pending === 0) this.#finished(request);
    else if (request.pending < 0) throw new DmioFault("a request completed twice");
  }

  #makeLane(device: BlockDevice): DeviceQueue {
    const place = this.#files.pop();
    const registered = place !== undefined && this.#engine.registerFile(place, device.fd) === 0;
    const forget = whenClosed(device, () => {
      this.#lanes.delete(device);
      if (registered) this.#engine.registerFile(place, -1);
      if (place !== undefined) this.#files.push(place);
    });
    const flags = (registered ? IOSQE_FIXED_FILE : 0) | (device.mayBlock ? IOSQE_ASYNC : 0);
    return new DeviceQueue(device, registered ? place : device.fd, flags, forget);
  }

  /** Lets go of the devices: the engine is about to be closed. */
  close(): void {
    for (const lane of this.#lanes.values()) lane.forget();
    this.#lanes.clear();
  }
}
