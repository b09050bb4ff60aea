/**
 * Parts for tests of single modules: a device without a file, memory without an address space, an engine without a kernel.
 *
 * @module
 */

import { BlockDevice, type OpenDevice } from "../../src/device/device.ts";
import type { Completions, Engine } from "../../src/engine/engine.ts";
import type { EngineFeatures } from "../../src/engine/features.ts";
import { Sqe } from "../../src/engine/sqe.ts";
import { type Arena, Segments } from "../../src/memory/segments.ts";
import { nextRun } from "../../src/op/data.ts";
import { AGAIN, DONE, FAILED, Io, type Operation, type Transfer } from "../../src/schedule/io.ts";

/** A device that no file is behind. */
export function deviceOf(facts: Partial<OpenDevice> = {}): BlockDevice {
  return new BlockDevice({
    path: "/dev/none",
    fd: 7,
    isBlockDevice: false,
    writable: true,
    direct: false,
    sectors: 2 ** 50,
    tailBytes: 0,
    logicalBlockSize: 512,
    physicalBlockSize: 512,
    memoryAlignment: 512,
    readOnly: false,
    mayBlock: false,
    closeFd: () => {},
    syncFd: () => Promise.resolve(),
    ...facts,
  });
}

/** Memory that claims to lie at an address. */
export function arenaOf(bytes: number, address: number, index = -1): Arena {
  return { address, bytes: new Uint8Array(bytes), index };
}

/** Segments of these lengths, each in an arena of its own; only their addresses are used. */
export function segmentsOf(...lengths: number[]): Segments {
  const segments = new Segments();
  lengths.forEach((length, i) => {
    const arena = { address: (i + 1) * 2 ** 32, bytes: new Uint8Array(0), index: i };
    segments.add(arena, arena.bytes, 0, length);
  });
  return segments;
}

/** An operation that takes every CQE at its word: 0 is to be tried again, an error ends it, all else is whole. */
export function plainOperation(
  { mostBytes = 2 ** 20, ...parts }: Partial<Operation> & { mostBytes?: number } = {},
): Operation {
  return {
    name: "test",
    writes: false,
    data: true,
    mostRegions: 64,
    locates: false,
    clears: false,
    options: [],
    span: (sectors) => sectors * 512,
    refuses: null,
    next: (region) => nextRun(region, mostBytes),
    prep: (transfer, sqe) => {
      sqe.length = transfer.requested;
    },
    complete: (transfer: Transfer, result) => {
      if (result === 0) return AGAIN;
      transfer.errno = Math.max(-result, 0);
      return result < 0 ? FAILED : DONE;
    },
    giveUp: () => {},
    ...parts,
  };
}

/** A request for the first `sectors` of each device, in memory of these segments. */
export function ioOf(op: Operation, devices: BlockDevice[], sectors: number, segments: Segments): Io {
  const io = new Io(null);
  io.op = op;
  io.segments = segments;
  for (const device of devices) io.addRegion(device, 0, sectors);
  return io;
}

const FEATURES: EngineFeatures = {
  engine: "io_uring",
  singleIssuer: true,
  deferTaskrun: true,
  coopTaskrun: true,
  fixedBuffers: true,
  fixedFiles: true,
  plainOpcodes: true,
  extArg: true,
};

/** An engine that writes down what it is given, and answers what a test tells it to. */
export class RecordingEngine implements Engine {
  readonly capacity: number;
  readonly features: EngineFeatures;
  readonly tableEntries = 8;
  readonly completions: Completions;
  /** SQEs that were submitted, a list for each batch. */
  readonly batches: Sqe[][] = [];
  /** iovecs as `[address, length]`. */
  readonly vectors: [number, number][] = [];
  /** Files by their place in the table; -1 where one was taken out. */
  readonly files: number[] = [];
  readonly due = Infinity;
  readonly vectorRoom = 1024;
  readonly inFlight = 0;
  /** How many SQEs can be queued. */
  entries = 256;
  /** How many SQEs one submit takes. */
  takes = Infinity;
  #queue: Sqe[] = [];
  #vectorsUsed = 0;
  #answers = 0;

  constructor({ capacity = 64, ...features }: Partial<EngineFeatures> & { capacity?: number } = {}) {
    this.capacity = capacity;
    this.features = { ...FEATURES, ...features };
    this.completions = {
      userData: new Uint32Array(capacity),
      generation: new Uint32Array(capacity),
      result: new Int32Array(capacity),
    };
  }

  /** All that were submitted. */
  get sqes(): Sqe[] {
    return this.batches.flat();
  }

  get queued(): number {
    return this.#queue.length;
  }

  get room(): number {
    return this.entries - this.#queue.length;
  }

  push(sqe: Sqe): void {
    if (this.room === 0) throw new Error("an SQE without room");
    this.#queue.push(Object.assign(new Sqe(), sqe));
  }

  vector(address: number, length: number): void {
    this.vectors.push([address, length]);
  }

  useVectors(sqe: Sqe): void {
    sqe.address = this.#vectorsUsed;
    sqe.length = this.vectors.length - this.#vectorsUsed;
    this.#vectorsUsed = this.vectors.length;
  }

  submit(): number {
    const batch = this.#queue.splice(0, this.takes);
    if (batch.length > 0) this.batches.push(batch);
    return batch.length;
  }

  /** Puts a CQE where the next reap finds it. */
  answer({ userData, generation }: Pick<Sqe, "userData" | "generation">, result: number): void {
    this.completions.userData[this.#answers] = userData;
    this.completions.generation[this.#answers] = generation;
    this.completions.result[this.#answers++] = result;
  }

  reap(): number {
    const count = this.#answers;
    this.#answers = 0;
    return count;
  }

  registerFile(index: number, fd: number): number {
    this.files[index] = fd;
    return 0;
  }

  registerBuffer(): number {
    return 0;
  }

  wait(): void {}
  relax(): void {}
  wake(): void {}

  waitAsync(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
