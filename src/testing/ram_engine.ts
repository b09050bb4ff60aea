/**
 * The engine of disks in RAM: it needs no kernel, and uses no addresses.
 *
 * @module
 */

import { DmioFault } from "../fault.ts";
import { type Completions, type Engine, MAX_VECTORS } from "../engine/engine.ts";
import { type EngineFeatures, NO_FEATURES } from "../engine/features.ts";
import type { Sqe } from "../engine/sqe.ts";
import type { RamDisk } from "./ram_disk.ts";
import { type Carrier, RamOp } from "./ram_op.ts";

const FEATURES: EngineFeatures = { ...NO_FEATURES, plainOpcodes: true, extArg: true };

/** CQEs that one `reap` copies out at most. */
const BATCH = 256;

interface Done {
  readonly op: RamOp;
  readonly result: number;
}

/** The word that a blocking wait sleeps on. Nothing wakes the wait before its time. */
const bed = new Int32Array(new SharedArrayBuffer(4));

/** The engine of the disks in RAM of one client. `src/engine/engine.ts` is the contract of each member. */
export class RamEngine implements Engine, Carrier {
  readonly capacity: number;
  readonly features: EngineFeatures = FEATURES;
  readonly tableEntries = 0;
  readonly completions: Completions = {
    userData: new Uint32Array(BATCH),
    generation: new Uint32Array(BATCH),
    result: new Int32Array(BATCH),
  };
  readonly vectorRoom: number = MAX_VECTORS;

  readonly #diskOf: (fd: number) => RamDisk;
  readonly #queue: { readonly op: RamOp; readonly disk: RamDisk }[] = [];
  readonly #underWay = new Map<RamOp, RamDisk>();
  readonly #done: Done[] = [];
  #resolve: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param capacity How many SQEs may be queued or in flight at once.
   * @param diskOf Finds the disk that an SQE's `fd` names.
   */
  constructor(capacity: number, diskOf: (fd: number) => RamDisk) {
    this.capacity = capacity;
    this.#diskOf = diskOf;
  }

  get inFlight(): number {
    return this.#underWay.size + this.#done.length;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get room(): number {
    return this.capacity - this.#queue.length;
  }

  get due(): number {
    if (this.#done.length > 0) return 0;
    let first = Infinity;
    for (const op of this.#underWay.keys()) if (op.hangs.size === 0 && op.due < first) first = op.due;
    return Math.max((first - performance.now()) * 1000, 0);
  }

  push(sqe: Sqe): void {
    this.#queue.push({ op: new RamOp(sqe, this), disk: this.#diskOf(sqe.fd) });
  }

  vector(): void {}
  useVectors(): void {}

  submit(): number {
    const batch = this.#queue.splice(0);
    for (const { op, disk } of batch) {
      this.#underWay.set(op, disk);
      disk.begin(op);
    }
    this.#finishDue();
    // A wait that is under way may have to end earlier now.
    if (batch.length > 0) this.#end();
    return batch.length;
  }

  reap(): number {
    this.#finishDue();
    const batch = this.#done.splice(0, BATCH);
    const { userData, generation, result } = this.completions;
    for (const [i, done] of batch.entries()) {
      userData[i] = done.op.userData;
      generation[i] = done.op.generation;
      result[i] = done.result;
    }
    return batch.length;
  }

  wait(timeout: number = Infinity): void {
    this.submit();
    const time = Math.min(this.due, timeout);
    if (time === Infinity) {
      throw new DmioFault(
        "a blocking call waits for a RAM device that hangs, and nothing can end that while this thread is blocked",
      );
    }
    if (time > 0) Atomics.wait(bed, 0, 0, time / 1000);
  }

  relax(): void {}

  waitAsync(): Promise<void> {
    const { due } = this;
    if (due === 0) return Promise.resolve();
    // A timer for an operation that hangs would keep alive a program in which nothing else can happen.
    if (due < Infinity) this.#timer = setTimeout(this.#end, Math.ceil(due / 1000));
    return new Promise((resolve) => this.#resolve = resolve);
  }

  wake(): void {
    this.#end();
  }

  /** Notes that a disk lets an operation go on that it held up: the wait may have to end at another time. */
  released(): void {
    this.#end();
  }

  registerBuffer(): number {
    return 0;
  }

  registerFile(): number {
    return 0;
  }

  close(): Promise<void> {
    for (const [op, disk] of this.#underWay) disk.forget(op);
    this.#underWay.clear();
    this.#queue.length = this.#done.length = 0;
    this.#end();
    return Promise.resolve();
  }

  // Carries out the operations that are due, in the order of their times.
  #finishDue(): void {
    if (this.#underWay.size === 0) return;
    const now = performance.now();
    const due = [...this.#underWay.keys()].filter((op) => op.hangs.size === 0 && op.due <= now);
    due.sort((a, b) => a.due - b.due);
    for (const op of due) {
      this.#done.push({ op, result: this.#underWay.get(op)!.finish(op) });
      this.#underWay.delete(op);
    }
  }

  readonly #end = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const resolve = this.#resolve;
    this.#resolve = null;
    resolve?.();
  };
}
