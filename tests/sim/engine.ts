/**
 * An engine whose kernel and devices are made up from a seed. It moves the bytes of a read only when the read ends, and those
 * of a write at some moment while it is in flight, so that memory that is used too early or freed too early shows.
 * It holds the caller to the contract of {@linkcode Engine} and to what the kernel asks of an SQE.
 *
 * @module
 */

import type { EngineFeatures } from "../../src/engine/features.ts";
import type { Completions, Engine } from "../../src/engine/engine.ts";
import type { Sqe as PushedSqe } from "../../src/engine/sqe.ts";
import type { Disk, Weather } from "./disk.ts";
import { Files } from "./files.ts";
import { Hardware } from "./hardware.ts";
import { AddressSpace } from "./memory.ts";
import type { Random } from "../../src/testing/random.ts";
import {
  checkSqe,
  describe,
  meaningOf,
  OPCODES,
  READ,
  READ_FIXED,
  type Sqe,
  WRITE,
  WRITE_FIXED,
} from "./sqe.ts";
import { Vectors } from "./vectors.ts";
import { chanceOf, type World } from "./world.ts";

/** Times in a row that `submit` takes nothing though it could. */
const REFUSALS_IN_A_ROW = 3;
/** Calls without an end of any SQE and without a turn of the event loop. */
const BUSY_CALLS = 100_000;
const ENOMEM = 12;

/** What an engine of a run looks like. */
export interface EngineShape {
  readonly capacity: number;
  /** SQEs that can be queued. */
  readonly submissionEntries: number;
  /** iovecs that can be queued: at least `UIO_MAXIOV`. */
  readonly vectors: number;
  /** CQEs that one `reap` copies. */
  readonly batch: number;
  readonly features: EngineFeatures;
  readonly tableEntries: number;
}

interface Cqe {
  readonly sqe: Sqe;
  readonly result: number;
}

/** The simulated engine. */
export class SimEngine implements Engine {
  readonly due = Infinity;
  readonly capacity: number;
  readonly features: EngineFeatures;
  readonly tableEntries: number;
  readonly completions: Completions;
  readonly memory: AddressSpace;
  readonly files: Files;
  /** SQEs that have ended, over the engine's life. */
  completed = 0;
  /** SQEs that were in flight at `close`: a client that has found a fault of its own gives up so, and says why first. */
  leftInFlight = 0;
  /** Whether `registerBuffer` finds memory beyond the limit now and then. */
  lockedMemoryRunsOut = false;
  readonly #chance: Random;
  readonly #queue: Sqe[] = [];
  readonly #ready: Cqe[] = [];
  readonly #outstanding = new Map<string, Sqe>();
  readonly #vectors: Vectors;
  readonly #hardware: Hardware;
  #refusals = 0;
  #sqes = 0;
  #calls = 0;
  #waiter: (() => void) | undefined;
  #woken = false;
  #closed = false;

  constructor(readonly world: World, readonly weather: Weather, readonly shape: EngineShape) {
    this.capacity = shape.capacity;
    this.tableEntries = shape.tableEntries;
    this.features = shape.features;
    this.memory = new AddressSpace(world, shape.features.fixedBuffers ? shape.tableEntries : 0);
    this.files = new Files(world, shape.tableEntries);
    this.#vectors = new Vectors(world, this.memory, shape.vectors);
    this.#hardware = new Hardware(
      world,
      weather,
      this.memory,
      this.files,
      (sqe, result) => this.#ended(sqe, result),
    );
    this.completions = {
      userData: new Uint32Array(shape.batch),
      generation: new Uint32Array(shape.batch),
      result: new Int32Array(shape.batch),
    };
    this.#chance = chanceOf(world, 1);
    world.onTurn = () => this.#endWait();
  }

  /** SQEs pushed and not yet reaped. */
  get outstanding(): number {
    return this.#outstanding.size;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get inFlight(): number {
    return this.#outstanding.size - this.#queue.length;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get room(): number {
    return this.shape.submissionEntries - this.#queue.length;
  }

  get vectorRoom(): number {
    return this.#vectors.room;
  }

  push(pushed: PushedSqe): void {
    const { opcode, fd, flags, bufferIndex, userData, generation } = pushed;
    this.#checkFields(pushed);
    if (!this.features.plainOpcodes && (opcode === READ || opcode === WRITE)) {
      this.#violate(`${OPCODES[opcode]} on a kernel that does not know it`);
    }
    const fixed = opcode === READ_FIXED || opcode === WRITE_FIXED;
    if (!fixed && bufferIndex !== 0) this.#violate(`buffer index ${bufferIndex} with ${OPCODES[opcode]}`);
    const segments = this.#vectors.segmentsOf(pushed, fixed);
    const disk = this.files.named(fd, (flags & 1) !== 0);
    const key = `${userData}/${generation}`;
    if (this.#outstanding.has(key)) this.#violate(`user_data ${key} is in flight already`);
    if (this.#outstanding.size >= this.capacity) this.#violate(`more than ${this.capacity} SQEs in flight`);
    const number = this.#sqes++;
    const bytes = segments.reduce((sum, segment) => sum + segment.length, 0);
    const meaning = meaningOf(this.world, disk, pushed, bytes);
    const sqe = { number, opcode, disk, ...meaning, segments, userData, generation, key };
    checkSqe(this.world, sqe);
    this.#outstanding.set(key, sqe);
    this.#queue.push(sqe);
  }

  #checkFields({ opcode, ioprio, ...fields }: PushedSqe): void {
    this.#assertOpen("push");
    if (this.room <= 0) this.#violate("push without room");
    if (!(opcode in OPCODES)) this.#violate(`opcode ${opcode} is none of block I/O`);
    if (ioprio !== 0) this.#violate(`ioprio ${ioprio}, which no request set`);
    for (const name of ["offsetLow", "offsetHigh", "userData", "generation", "length", "opFlags"] as const) {
      const value = fields[name];
      if (value !== value >>> 0) this.#violate(`${name} ${value} is not 32 bits without a sign`);
    }
  }

  vector(address: number, length: number): void {
    this.#vectors.add(address, length);
  }

  useVectors(sqe: PushedSqe): void {
    this.#vectors.use(sqe);
  }

  submit(): number {
    this.#assertOpen("submit");
    if (this.#vectors.pending) this.#violate("submit with iovecs that no SQE has yet");
    this.world.pass(1);
    if (this.#queue.length === 0) return 0;
    if (this.#refusals < REFUSALS_IN_A_ROW && this.#chance.chance(this.weather.refusedSubmit)) {
      this.#refusals++;
      this.world.log(() => "submit takes nothing");
      return 0;
    }
    this.#refusals = 0;
    let take = this.#queue.length;
    if (this.#chance.chance(this.weather.partialSubmit)) take = this.#chance.between(1, take);
    for (const sqe of this.#queue.splice(0, take)) this.#hardware.start(sqe);
    if (this.#queue.length === 0) this.#vectors.submitted();
    return take;
  }

  // Its CQE is there.
  #ended(sqe: Sqe, result: number): void {
    this.#calls = 0;
    this.completed++;
    this.#ready.push({ sqe, result });
  }

  reap(): number {
    this.#assertOpen("reap");
    this.world.pass(1);
    const count = Math.min(this.#ready.length, this.shape.batch);
    const { userData, generation, result } = this.completions;
    for (let i = 0; i < count; i++) {
      const cqe = this.#ready.shift()!;
      userData[i] = cqe.sqe.userData;
      generation[i] = cqe.sqe.generation;
      result[i] = cqe.result;
      this.#outstanding.delete(cqe.sqe.key);
      this.#hardware.reaped(cqe.sqe, cqe.result);
    }
    // What was copied out last time is gone.
    userData.fill(0xffffffff, count);
    return count;
  }

  wait(timeout?: number): void {
    this.submit(); // which also sees to it that the engine is open
    if (this.#ready.length > 0 || this.#chance.chance(this.weather.spurious)) return;
    const until = timeout === undefined ? Infinity : this.world.now + timeout;
    while (this.#ready.length === 0 && this.world.nextHardware(until));
    if (this.#ready.length > 0) return;
    if (timeout !== undefined) return this.world.pass(Math.max(0, until - this.world.now));
    // EAGAIN may have kept every SQE out: then the call comes back at once.
    if (this.#queue.length === 0) this.#violate("wait sleeps forever: nothing is in flight");
  }

  /** Each poll lets a little time pass. */
  relax(): void {
    this.world.pass(1);
  }

  waitAsync(): Promise<void> {
    this.#assertOpen("waitAsync");
    if (this.#waiter) this.#violate("a second waitAsync at once");
    return new Promise((resolve) => this.#waiter = resolve);
  }

  wake(): void {
    this.#woken = this.#waiter !== undefined;
  }

  /** Ends an asynchronous wait that has a reason to end. */
  #endWait(): boolean {
    this.#calls = 0;
    if (!this.#waiter) return false;
    const spurious = this.#outstanding.size > 0 && this.#chance.chance(this.weather.spurious);
    if (!this.#woken && !spurious && this.#ready.length === 0) return false;
    const resolve = this.#waiter;
    this.#waiter = undefined;
    this.#woken = false;
    resolve();
    return true;
  }

  registerBuffer(index: number, address: number, length: number): number {
    this.#assertOpen("registerBuffer");
    if (!this.features.fixedBuffers) this.#violate("registerBuffer without fixed buffers");
    if (length > 2 ** 30) this.#violate(`registerBuffer of ${length} bytes: the kernel takes 1 GiB`);
    if (length > 0 && this.lockedMemoryRunsOut && this.#chance.chance(0.3)) {
      this.memory.refuse(address, length);
      return -ENOMEM;
    }
    this.memory.register(index, address, length);
    return 0;
  }

  registerFile(index: number, fd: number): number {
    this.#assertOpen("registerFile");
    if (!this.features.fixedFiles) this.#violate("registerFile without registered files");
    this.files.register(index, fd);
    return 0;
  }

  /** Cuts the power of a disk, under whatever is in flight. */
  cutPower(disk: Disk): void {
    this.#hardware.cutPower(disk);
  }

  /** Whether the kernel may still touch any byte of `[address, address + length)`. */
  userOf(address: number, length: number): string | undefined {
    for (const sqe of this.#outstanding.values()) {
      for (const segment of sqe.segments) {
        if (segment.address < address + length && address < segment.address + segment.length) {
          return describe(sqe);
        }
      }
    }
    return undefined;
  }

  close(): Promise<void> {
    this.#assertOpen("close");
    this.leftInFlight = this.#outstanding.size;
    this.files.unregisterAll();
    this.#closed = true;
    this.wake();
    return Promise.resolve();
  }

  #assertOpen(call: string): void {
    if (this.world.violation) throw this.world.violation;
    if (++this.#calls > BUSY_CALLS) {
      this.#violate(`${BUSY_CALLS} calls while nothing happened: a loop that never ends`);
    }
    if (this.#closed) this.#violate(`${call} after close`);
  }

  #violate(what: string): never {
    this.world.violate(what);
  }
}
