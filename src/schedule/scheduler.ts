/**
 * The scheduler: turns the regions of all waiting requests into few batches of SQEs, and CQEs back into regions that have ended. It knows
 * slots, turns and fairness, and no opcode.
 *
 * @module
 */

import { IOSQE_ASYNC, IOSQE_FIXED_FILE } from "../../ffi/uapi.ts";
import { type BlockDevice, kindOf, whenClosed } from "../device/device.ts";
import { type Engine, MAX_VECTORS } from "../engine/engine.ts";
import type { Engines } from "../engine/engines.ts";
import { FreePlaces } from "../engine/free_places.ts";
import { Sqe } from "../engine/sqe.ts";
import { DmioFault } from "../fault.ts";
import type { SchedulerCounters } from "../stats.ts";
import { DeviceQueue } from "./device_queue.ts";
import { AGAIN, FAILED, type Io, type RegionIo, type Transfer } from "./io.ts";
import { SlotTable } from "./slot_table.ts";
import type { Syncs } from "./syncs.ts";

/** Bytes that one device queue may issue in a row: SQEs of one device cost the kernel less together than one by one. */
const TURN = 64 << 10;
/** A list that a burst made longer than this is dropped when it is empty. */
const MOST_KEPT = 1024;

/** Schedules the SQEs of one client. */
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

  readonly #engines: Engines;
  readonly #queueDepth: number;
  readonly #sqe = new Sqe();
  readonly #slots: SlotTable;
  readonly #again: Transfer[] = [];
  readonly #queues = new Map<BlockDevice, DeviceQueue<RegionIo>>();
  // The queue that region i of the last request used: most requests name the same devices.
  readonly #recent: (DeviceQueue<RegionIo> | undefined)[] = [];
  #files: FreePlaces | null = null;
  readonly #ready: DeviceQueue<RegionIo>[] = [];
  #turn = 0;
  // Regions that have ended and are not collected yet: entries from #collected on. The array keeps its length between two rounds.
  #ended: RegionIo[] = [];
  #endedCount = 0;
  #collected = 0;

  /**
   * @param engines What to drive.
   * @param queueDepth SQEs that one device may have in flight.
   */
  constructor(engines: Engines, queueDepth: number) {
    this.#engines = engines;
    this.#queueDepth = queueDepth;
    this.#slots = new SlotTable(engines.capacity);
  }

  /** Whether a region or a transfer waits for room in its engine, or for its device's share of the slots. */
  get waiting(): boolean {
    return this.#ready.length > 0 || this.#again.length > 0 || this.#engines.queued > 0;
  }

  /** Whether anything is in flight, waits to be, or has ended and is not collected. */
  get busy(): boolean {
    return this.inFlight > 0 || this.waiting || this.#endedCount > 0;
  }

  /**
   * The queue of a device. When a request first names a device, its file is put into the table of files of the client's engine.
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
      if (region.issued >= region.end && region.flush === null) {
        this.#ended[this.#endedCount++] = region;
        continue;
      }
      this.counters.regions++;
      this.gathered++;
      this.#enqueue(region);
    }
  }

  /** Submits as many SQEs as the kernel takes. @returns Whether there were any. */
  flush(): boolean {
    this.gathered = 0;
    for (let given = false;;) {
      const full = this.#fill();
      given = this.#submit() || given;
      // SQEs that the kernel did not take are submitted again after a reap.
      if (!full || this.#engines.queued > 0) return given;
    }
  }

  /** Takes in the CQEs of all engines. `collect` then gives the regions that have ended. @returns How many CQEs. */
  reap(): number {
    const { all: engines } = this.#engines;
    let all = 0;
    for (let e = 0; e < engines.length; e++) {
      const engine = engines[e]!;
      const count = engine.reap();
      const { userData, generation, result } = engine.completions;
      for (let i = 0; i < count; i++) this.#complete(userData[i]!, generation[i]!, result[i]!);
      all += count;
    }
    return all;
  }

  /** The next region that has ended: its window is done, or it failed or was abandoned. Each is returned once; null when none is left. */
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
      const queued = queue.remove(region);
      if (!queued && queue.syncs?.remove(region) !== true) continue;
      const due = queued && region.flush !== null;
      region.issued = region.end;
      region.flush = null;
      if (queue.head === null && queue.place >= 0) this.#retire(queue);
      if (region.transfers === 0) this.#ended[this.#endedCount++] = region;
      // Its flush may have been due on behalf of the regions that wait. Another region's flush takes its place.
      if (due && queue.syncs !== null) this.#nextSync(queue.syncs);
    }
  }

  /** The lowest byte of a region that is not known to be transferred. */
  firstPending(region: RegionIo): number {
    if (region.flush !== null) return 0;
    let first = region.issued < region.bytes ? region.issued : region.bytes;
    for (const transfer of this.#slots.all) {
      if (transfer.region === region && transfer.offset < first) first = transfer.offset;
    }
    return first;
  }

  /** Drops the device queues, and regions that were not collected. The engines are closed next. */
  close(): void {
    this.#ended = [];
    this.#collected = this.#endedCount = 0;
    for (const queue of this.#queues.values()) queue.forget();
    this.#queues.clear();
    this.#recent.length = 0;
  }

  #submit(): boolean {
    const given = this.#engines.queued > 0;
    if (given) this.counters.submits++;
    this.#engines.submit();
    return given;
  }

  // Queues SQEs while their engines have room. Returns whether work is left, for which there is no room.
  #fill(): boolean {
    while (this.#again.length > 0) {
      const transfer = this.#again[0]!;
      if (!hasRoom(transfer.region!.queue.engine)) return true;
      this.#again.shift();
      if (transfer.region!.io.abandoned) this.#giveUp(transfer);
      else if (transfer.alone) this.#pushAlone(transfer);
      else this.#push(transfer);
    }
    for (let passed = 0; passed < this.#ready.length;) {
      if (this.#turn >= this.#ready.length) this.#turn = 0;
      const queue = this.#ready[this.#turn]!;
      passed++;
      for (let issued = 0; issued < TURN && queue.head !== null && this.#hasShare(queue);) {
        if (!hasRoom(queue.engine)) return true;
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

  #retire(queue: DeviceQueue<RegionIo>): void {
    const last = this.#ready.pop()!;
    if (last !== queue) {
      this.#ready[queue.place] = last;
      last.place = queue.place;
    }
    queue.place = -1;
  }

  // Issues the next transfer of a device. Returns its length; 0 when it is a flush that waits for its turn.
  #issue(queue: DeviceQueue<RegionIo>): number {
    const region = queue.head!;
    if (region.flush !== null) {
      queue.shift();
      if (queue.syncs !== null && !queue.syncs.admit(region)) return 0;
    }
    const transfer = this.#slots.take();
    // A flush is one transfer. The region comes back to its queue when the flush is done.
    const length = region.flush === null ? region.io.op.next(region) : 1;
    if (!(length > 0)) throw new DmioFault(`an SQE of ${length} bytes for ${queue.device.path}`);
    // A sync that failed before its first data was issued lost none of that data.
    if (region.flush === null && region.issued === 0) region.syncFailures = queue.syncs?.failures ?? 0;
    transfer.start(region, length);
    region.transfers++;
    queue.inFlight++;
    if (transfer.op.clears) queue.clearing++;
    this.inFlight++;
    if (this.inFlight > this.counters.mostInFlight) this.counters.mostInFlight = this.inFlight;
    if (region.flush === null) {
      region.issued += length;
      region.io.segments.advance(region, length);
      if (region.issued >= region.end) queue.shift();
    }
    this.#push(transfer);
    return length;
  }

  #push(transfer: Transfer): void {
    const sqe = this.#sqe;
    const { queue, io } = transfer.region!;
    sqe.fd = queue.fd;
    sqe.blocks = io.blocks;
    sqe.flags = queue.flags;
    sqe.userData = transfer.slot;
    sqe.generation = transfer.generation;
    transfer.op.prep(transfer, sqe, queue.engine);
    this.counters.sqes++;
    if (transfer.fixed) this.counters.fixedSqes++;
    queue.engine.push(sqe);
  }

  // The kernel merges neighbours of one batch into one command, so this batch holds one SQE.
  #pushAlone(transfer: Transfer): void {
    if (this.#engines.queued > 0) this.#submit();
    this.#push(transfer);
    this.#submit();
  }

  #complete(slot: number, generation: number, result: number): void {
    const transfer = this.#slots.find(slot, generation);
    const region = transfer.region!;
    const { io } = region;
    if (result > 0) this.counters.bytes += result;
    const { op } = transfer;
    if (op.data && result >= 0 && result < transfer.requested) this.counters.shortTransfers++;
    switch (op.complete(transfer, result)) {
      case AGAIN:
        if (io.abandoned) this.#giveUp(transfer);
        else this.#again.push(transfer);
        return;
      case FAILED:
        region.fail(transfer.errno, transfer.offset);
        if (region.flush !== null) region.queue.syncs?.fail(transfer.errno, region.gone);
        return this.#giveUp(transfer);
    }
    this.#end(transfer);
  }

  #giveUp(transfer: Transfer): void {
    transfer.op.giveUp(transfer);
    this.#end(transfer);
  }

  #end(transfer: Transfer): void {
    const region = transfer.region!;
    const { queue } = region;
    this.#slots.release(transfer);
    this.inFlight--;
    queue.inFlight--;
    if (transfer.op.clears) queue.clearing--;
    region.transfers--;
    if (this.inFlight < 0 || queue.inFlight < 0 || region.transfers < 0) {
      throw new DmioFault(`more completions than SQEs for ${queue.device.path}`);
    }
    if (region.flush !== null) this.#flushEnded(region);
    else if (region.transfers === 0 && region.issued >= region.end) this.#transferred(region);
  }

  #flushEnded(region: RegionIo): void {
    const { syncs } = region.queue;
    if (syncs === null) return this.#flushed(region);
    for (const served of syncs.end()) this.#flushed(served);
    this.#nextSync(syncs);
  }

  #nextSync(syncs: Syncs<RegionIo>): void {
    const next = syncs.next();
    if (next !== undefined) this.#enqueue(next);
  }

  // A flush of a region has ended. After a preflush the region's own transfers follow, unless the flush failed or the request was abandoned.
  #flushed(region: RegionIo): void {
    region.flush = null;
    const { syncs } = region.queue;
    if (syncs !== null && syncs.failures !== region.syncFailures) {
      region.fail(syncs.errno, 0);
      region.gone = syncs.gone;
    }
    if (region.errno !== 0 || region.io.abandoned) region.stop();
    if (region.issued >= region.end) this.#ended[this.#endedCount++] = region;
    else this.#enqueue(region);
  }

  // All transfers of a region, or of its window, have ended. After the last window of a region that did not fail, its postflush is due.
  #transferred(region: RegionIo): void {
    const last = region.end >= region.bytes && region.errno === 0 && !region.io.abandoned;
    if (!last || region.postflush === null) {
      this.#ended[this.#endedCount++] = region;
      return;
    }
    region.flush = region.postflush;
    region.postflush = null;
    this.#enqueue(region);
  }

  #enqueue(region: RegionIo): void {
    const { queue } = region;
    queue.push(region);
    if (queue.place < 0) queue.place = this.#ready.push(queue) - 1;
  }

  #makeQueue(device: BlockDevice): DeviceQueue<RegionIo> {
    const engine = this.#engines.of(kindOf(device).makeEngine);
    // Only the client's own engine has a table of files.
    const files = engine === this.#engines.main ? this.#filesOf(engine) : null;
    const place = files?.take() ?? -1;
    const registered = place >= 0 && engine.registerFile(place, device.fd) === 0;
    const forget = whenClosed(device, () => {
      this.#queues.delete(device);
      this.#recent.length = 0;
      if (registered) engine.registerFile(place, -1);
      files?.give(place);
    });
    const flags = (registered ? IOSQE_FIXED_FILE : 0) | (device.mayBlock ? IOSQE_ASYNC : 0);
    return new DeviceQueue(device, engine, registered ? place : device.fd, flags, forget);
  }

  #filesOf({ features, tableEntries }: Engine): FreePlaces {
    return this.#files ??= new FreePlaces(features.fixedFiles ? tableEntries : 0);
  }
}

function hasRoom(engine: Engine): boolean {
  return engine.room > 0 && engine.vectorRoom >= MAX_VECTORS;
}
