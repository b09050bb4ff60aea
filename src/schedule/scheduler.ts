/**
 * The scheduler: turns the regions of all waiting requests into few batches of SQEs, and CQEs back into regions that have ended. It knows
 * slots, turns and fairness, and no opcode.
 *
 * @module
 */

import { IOSQE_ASYNC, IOSQE_FIXED_FILE } from "../../ffi/uapi.ts";
import { type BlockDevice, whenClosed } from "../device/device.ts";
import type { Engine } from "../engine/engine.ts";
import { FreePlaces } from "../engine/free_places.ts";
import { Sqe } from "../engine/sqe.ts";
import { DmioFault } from "../fault.ts";
import type { SchedulerCounters } from "../stats.ts";
import { DeviceQueue } from "./device_queue.ts";
import { AGAIN, FAILED, type Io, type RegionIo, type Transfer } from "./io.ts";
import { SlotTable } from "./slot_table.ts";

/** Bytes that one device queue may issue in a row: SQEs of one device cost the kernel less together than one by one. */
const TURN = 64 << 10;
/** The most iovecs that one SQE names (`UIO_MAXIOV` in linux/uio.h). */
export const MAX_VECTORS = 1024;
/** A run of at least this many bytes is worth an SQE of its own, with a fixed buffer. */
const OWN_SQE = 64 << 10;
/** A list that a burst made longer than this is dropped when it is empty. */
const MOST_KEPT = 1024;

/** Schedules the SQEs of one engine. */
export class Scheduler {
  /** Counts since it was made. */
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
  readonly #sqe = new Sqe();
  readonly #slots: SlotTable;
  readonly #again: Transfer[] = [];
  readonly #queues = new Map<BlockDevice, DeviceQueue<RegionIo>>();
  // The queue that region i of the last request used: most requests name the same devices.
  readonly #recent: (DeviceQueue<RegionIo> | undefined)[] = [];
  readonly #files: FreePlaces;
  readonly #ready: DeviceQueue<RegionIo>[] = [];
  #turn = 0;
  // Regions that have ended and are not collected yet: entries from #collected on. The array keeps its length between two rounds.
  #ended: RegionIo[] = [];
  #endedCount = 0;
  #collected = 0;

  /**
   * @param engine What to drive.
   * @param queueDepth SQEs that one device may have in flight.
   */
  constructor(engine: Engine, queueDepth: number) {
    this.#engine = engine;
    this.#queueDepth = queueDepth;
    this.#slots = new SlotTable(engine.capacity);
    this.#files = new FreePlaces(engine.features.fixedFiles ? engine.tableEntries : 0);
  }

  /** Whether a region or a transfer waits for room or its share. */
  get waiting(): boolean {
    return this.#ready.length > 0 || this.#again.length > 0 || this.#engine.queued > 0;
  }

  /** Whether anything is in flight, waits to be, or has ended and is not collected. */
  get busy(): boolean {
    return this.inFlight > 0 || this.waiting || this.#endedCount > 0;
  }

  /**
   * The queue of a device; a device is registered with the ring when it is first named.
   *
   * @param device The device.
   * @param i The region's place in its request.
   */
  queueOf(device: BlockDevice, i: number): DeviceQueue<RegionIo> {
    const recent = this.#recent[i];
    if (recent !== undefined && recent.device === device) return recent;
    let queue = this.#queues.get(device);
    if (queue === undefined) {
      queue = this.#makeQueue(device);
      this.#queues.set(device, queue);
    }
    this.#recent[i] = queue;
    return queue;
  }

  /** Queues all regions. One with nothing to transfer ends at once. */
  add(io: Io): void {
    io.pending = io.count;
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      if (region.issued >= region.end) {
        this.#ended[this.#endedCount++] = region;
        continue;
      }
      this.counters.regions++;
      this.gathered++;
      const { queue } = region;
      queue.push(region);
      if (queue.place < 0) queue.place = this.#ready.push(queue) - 1;
    }
  }

  /** Submits as many SQEs as the kernel takes. @returns Whether there were any. */
  flush(): boolean {
    this.gathered = 0;
    for (let given = false;;) {
      const full = this.#fill();
      given = this.#submit() || given;
      // SQEs that the kernel did not take are submitted again after a reap.
      if (!full || this.#engine.queued > 0) return given;
    }
  }

  /** Takes in all CQEs of the ring. `collect` then gives the regions that they ended. @returns How many CQEs. */
  reap(): number {
    const count = this.#engine.reap();
    const { userData, generation, result } = this.#engine.completions;
    for (let i = 0; i < count; i++) this.#complete(userData[i]!, generation[i]!, result[i]!);
    return count;
  }

  /** Gives the next region that has ended: its window is done, or it failed or was abandoned. Each is given once; null when none is left. */
  collect(): RegionIo | null {
    if (this.#collected < this.#endedCount) return this.#ended[this.#collected++]!;
    if (this.#endedCount > MOST_KEPT) this.#ended = [];
    this.#collected = this.#endedCount = 0;
    return null;
  }

  /** Removes the part of an operation that was not issued yet: its request was answered at a deadline. */
  abandon(io: Io): void {
    io.abandoned = true;
    for (let i = 0; i < io.count; i++) {
      const region = io.regions[i]!;
      const { queue } = region;
      if (!queue.remove(region)) continue;
      region.issued = region.end;
      if (queue.head === null) this.#retire(queue);
      if (region.transfers === 0) this.#ended[this.#endedCount++] = region;
    }
  }

  /** The lowest byte of a region that is not known to be transferred. */
  firstPending(region: RegionIo): number {
    let first = region.issued < region.bytes ? region.issued : region.bytes;
    for (const transfer of this.#slots.all) {
      if (transfer.region === region && transfer.offset < first) first = transfer.offset;
    }
    return first;
  }

  /** Drops the device queues, and regions that were not collected. The engine is closed next. */
  close(): void {
    this.#ended = [];
    this.#collected = this.#endedCount = 0;
    for (const queue of this.#queues.values()) queue.forget();
    this.#queues.clear();
    this.#recent.length = 0;
  }

  #submit(): boolean {
    const given = this.#engine.queued > 0;
    if (given) this.counters.submits++;
    this.#engine.submit();
    return given;
  }

  // Queues SQEs while the engine has room. Returns whether work is left, for which there is no room.
  #fill(): boolean {
    while (this.#again.length > 0) {
      if (!this.#hasRoom()) return true;
      const transfer = this.#again.shift()!;
      if (transfer.region!.io.abandoned) this.#giveUp(transfer);
      else if (transfer.alone) this.#pushAlone(transfer);
      else this.#push(transfer);
    }
    for (let passed = 0; passed < this.#ready.length;) {
      if (this.#turn >= this.#ready.length) this.#turn = 0;
      const queue = this.#ready[this.#turn]!;
      passed++;
      for (let issued = 0; issued < TURN && queue.head !== null && this.#hasShare(queue);) {
        if (!this.#hasRoom()) return true;
        passed = 0;
        issued += this.#issue(queue);
      }
      if (queue.head === null) this.#retire(queue);
      else this.#turn++;
    }
    return false;
  }

  // A device may take a slot only while it holds fewer than are free. So hung devices cannot take all of them: the first three fill their
  // depth, each later one gets at most half of the rest, until nothing is left after 3 + log2(queue depth) of them (dynamic
  // thresholds, Choudhury and Hahne, 1998).
  #hasShare({ inFlight }: DeviceQueue<RegionIo>): boolean {
    return inFlight < this.#queueDepth && inFlight < this.#slots.free;
  }

  #hasRoom(): boolean {
    return this.#engine.room > 0 && this.#engine.vectorRoom >= MAX_VECTORS;
  }

  #retire(queue: DeviceQueue<RegionIo>): void {
    const last = this.#ready.pop()!;
    if (last !== queue) {
      this.#ready[queue.place] = last;
      last.place = queue.place;
    }
    queue.place = -1;
  }

  // Issues the next transfer of a device. Returns its length.
  #issue(queue: DeviceQueue<RegionIo>): number {
    const region = queue.head!;
    const transfer = this.#slots.take();
    const length = this.#nextLength(region);
    if (!(length > 0)) throw new DmioFault(`an SQE of ${length} bytes for ${queue.device.path}`);
    transfer.start(region, length);
    region.transfers++;
    queue.inFlight++;
    this.inFlight++;
    if (this.inFlight > this.counters.mostInFlight) this.counters.mostInFlight = this.inFlight;
    region.issued += length;
    region.io.segments.advance(region, length);
    if (region.issued >= region.end) queue.shift();
    this.#push(transfer);
    return length;
  }

  // The bytes of a region that the next SQE carries: one long run of memory, or as many short ones as an iovec array holds.
  #nextLength(region: RegionIo): number {
    const { segments, op } = region.io;
    const { length } = segments;
    const { direct, logicalBlockSize } = region.device;
    // A direct device takes whole blocks, which may be longer than an operation's most bytes: those of ZFS have up to 16 MiB.
    const block = direct ? logicalBlockSize : 1;
    const most = Math.min(region.end - region.issued, Math.max(op.mostBytes, block));
    let total = length[region.segment]! - region.segmentAt;
    if (total < most && total < Math.max(OWN_SQE, block)) {
      for (let i = 1; i < MAX_VECTORS && total < most; i++) total += length[region.segment + i]!;
    }
    // A block that is longer than a page may not end where a run of pages does.
    return total >= most ? most : total - total % block;
  }

  #push(transfer: Transfer): void {
    const sqe = this.#sqe;
    const { io, queue } = transfer.region!;
    sqe.fd = queue.fd;
    sqe.flags = queue.flags;
    sqe.userData = transfer.slot;
    sqe.generation = transfer.generation;
    io.op.prep(transfer, sqe, this.#engine);
    this.counters.sqes++;
    if (transfer.fixed) this.counters.fixedSqes++;
    this.#engine.push(sqe);
  }

  // The kernel merges neighbours of one batch into one command, so this batch holds one SQE.
  #pushAlone(transfer: Transfer): void {
    if (this.#engine.queued > 0) this.#submit();
    this.#push(transfer);
    this.#submit();
  }

  #complete(slot: number, generation: number, result: number): void {
    const transfer = this.#slots.find(slot, generation);
    const region = transfer.region!;
    const { io } = region;
    if (result > 0) this.counters.bytes += result;
    if (result >= 0 && result < transfer.requested) this.counters.shortTransfers++;
    switch (io.op.complete(transfer, result)) {
      case AGAIN:
        if (io.abandoned) this.#giveUp(transfer);
        else this.#again.push(transfer);
        return;
      case FAILED:
        region.fail(transfer.errno, transfer.offset);
        return this.#giveUp(transfer);
    }
    this.#end(transfer);
  }

  #giveUp(transfer: Transfer): void {
    transfer.region!.io.op.giveUp(transfer);
    this.#end(transfer);
  }

  #end(transfer: Transfer): void {
    const region = transfer.region!;
    const { queue } = region;
    this.#slots.release(transfer);
    this.inFlight--;
    queue.inFlight--;
    region.transfers--;
    if (this.inFlight < 0 || queue.inFlight < 0 || region.transfers < 0) {
      throw new DmioFault(`more completions than SQEs for ${queue.device.path}`);
    }
    if (region.transfers === 0 && region.issued >= region.end) this.#ended[this.#endedCount++] = region;
  }

  #makeQueue(device: BlockDevice): DeviceQueue<RegionIo> {
    const place = this.#files.take();
    const registered = place >= 0 && this.#engine.registerFile(place, device.fd) === 0;
    const forget = whenClosed(device, () => {
      this.#queues.delete(device);
      this.#recent.length = 0;
      if (registered) this.#engine.registerFile(place, -1);
      this.#files.give(place);
    });
    const flags = (registered ? IOSQE_FIXED_FILE : 0) | (device.mayBlock ? IOSQE_ASYNC : 0);
    return new DeviceQueue(device, registered ? place : device.fd, flags, forget);
  }
}
