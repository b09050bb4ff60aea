/**
 * The plainest client there could be: one SQE at a time through one bounce buffer. It shows that the model
 * accepts what is right, and, with a fault planted, that the model finds it.
 *
 * @module
 */

import { Sqe } from "../../src/engine/sqe.ts";
import type { SimEngine } from "./engine.ts";
import { MEDIUM, NAME_OF, TRANSIENT } from "./errno.ts";
import type {
  Client,
  Deadline,
  Failure,
  Library,
  Memory,
  PageList,
  Pool,
  Region,
  Result,
} from "./library.ts";
import { PAGE } from "./loan.ts";
import { addressOf } from "./memory.ts";
import { PlainDevice, PlainPool, type Plant } from "./plain_parts.ts";

const BOUNCE = 8192 * 512;
const ALIGN = 4096;

class PlainClient implements Client {
  readonly pool: Pool;
  readonly #engine: SimEngine;
  readonly #bounce: Uint8Array;
  readonly #record = new Sqe();
  #turn: Promise<unknown> = Promise.resolve();
  #next = 1;
  readonly #results = new Map<number, number>();
  #waiting: Promise<void> | undefined;

  constructor(engine: SimEngine, pages: number, readonly plant: Plant) {
    this.#engine = engine;
    // The pool and two bounce buffers: a blocking call may come in the middle of another request.
    const bytes = pages * PAGE + 2 * BOUNCE;
    const whole = new Uint8Array(new SharedArrayBuffer(bytes + ALIGN));
    const skip = (ALIGN - addressOf(whole) % ALIGN) % ALIGN;
    this.#bounce = whole.subarray(skip, skip + 2 * BOUNCE);
    this.pool = new PlainPool(whole.subarray(skip + 2 * BOUNCE, skip + bytes), pages, plant);
    if (engine.features.fixedBuffers) engine.memory.lend(whole);
  }

  read(region: Region, memory: Memory, deadline: Deadline = {}): Promise<Result> {
    return this.#async(false, [region], memory, deadline);
  }

  write(regions: Region[], memory: Memory, deadline: Deadline = {}): Promise<Result> {
    return this.#async(true, regions, memory, deadline);
  }

  readSync(region: Region, memory: Memory): Result {
    return this.#block(this.#request(undefined, [region], memory, 1, () => false));
  }

  writeSync(regions: Region[], memory: Memory): Result {
    return this.#block(this.#request(dataOf(regions, memory), regions, memory, 1, () => false));
  }

  async close(): Promise<void> {
    if (this.plant !== "close without waiting") await this.#turn;
    this.#engine.close();
  }

  #async(write: boolean, regions: Region[], memory: Memory, deadline: Deadline): Promise<Result> {
    for (const { bdev } of regions) (bdev as PlainDevice).held++;
    let late = false;
    const data = write ? dataOf(regions, memory) : undefined;
    const work = this.#turn.then(() => this.#pump(this.#request(data, regions, memory, 0, () => late)));
    const settled = work.then(() => {
      for (const { bdev } of regions) (bdev as PlainDevice).release();
    });
    this.#turn = settled.catch(() => {});
    const answer = Promise.withResolvers<Result>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let done = false;
    const giveUp = (errno: number) => {
      if (done) return;
      done = late = true;
      if (!write) copyOut(new Uint8Array(regions[0]!.count * 512), piecesOf(memory));
      const failures = regions.flatMap(({ sector, count }, region) =>
        count > 0 ? [{ region, errno, code: NAME_OF[errno]!, sector }] : []
      );
      answer.resolve({ ...resultOf(failures), settled });
    };
    if (deadline.timeout !== undefined) timer = setTimeout(() => giveUp(110), deadline.timeout);
    deadline.signal?.addEventListener("abort", () => giveUp(125));
    work.then((result) => {
      done = true;
      answer.resolve({ ...result, settled });
    }, answer.reject);
    return answer.promise.finally(() => clearTimeout(timer));
  }

  /** One request, as a generator that yields while it waits for the engine. */
  *#request(
    data: Uint8Array | undefined,
    regions: Region[],
    memory: Memory,
    slot: number,
    late: () => boolean,
  ): Generator<void, Result> {
    const bounce = this.#bounce.subarray(slot * BOUNCE, (slot + 1) * BOUNCE);
    const parts = piecesOf(memory);
    const failures: Failure[] = [];
    const write = data !== undefined;
    if (data) bounce.set(data);
    for (const [i, region] of regions.entries()) {
      if (region.count === 0) continue;
      const bad = yield* this.#transfer(write, region, bounce, 0, region.count * 512);
      if (!write) {
        const good = bad ? bad.at : region.count * 512;
        if (this.plant !== "no zero-fill") bounce.fill(0, good, region.count * 512);
        if (!late()) copyOut(bounce.subarray(0, region.count * 512), parts);
      }
      if (!bad || (this.plant === "a lost bit" && i > 0)) continue;
      const at = this.plant === "the wrong region's bit" && i > 0 ? i - 1 : i;
      if (failures.some((failure) => failure.region === at)) continue;
      failures.push({
        region: at,
        errno: bad.errno,
        code: NAME_OF[bad.errno]!,
        sector: region.sector + Math.floor(bad.at / 512),
      });
    }
    return { ...resultOf(failures), settled: Promise.resolve() };
  }

  /** Moves `[from, to)` of a region. @returns Its first bad byte. */
  *#transfer(
    write: boolean,
    region: Region,
    bounce: Uint8Array,
    from: number,
    to: number,
  ): Generator<void, { at: number; errno: number } | undefined> {
    const { disk } = region.bdev as PlainDevice;
    const block = Math.max(512, disk.facts.logicalBlockSize);
    let at = from;
    while (at < to) {
      const result = yield* this.#sqe(write, region, bounce, at, to - at);
      if (result > 0) {
        at += this.plant === "a resume at the wrong offset" && result < to - at ? result + block : result;
        continue;
      }
      const errno = -result || 5;
      if ((TRANSIENT as readonly number[]).includes(errno) && this.plant !== "no retry") continue;
      const narrow = (MEDIUM as readonly number[]).includes(errno) && this.plant !== "no narrowing";
      const start = Math.floor((region.sector * 512 + at) / block);
      const end = Math.ceil((region.sector * 512 + to) / block);
      if (!narrow || end - start <= 1) return { at, errno };
      const middle = Math.floor((start + end) / 2) * block - region.sector * 512;
      return (yield* this.#transfer(write, region, bounce, at, middle)) ??
        (yield* this.#transfer(write, region, bounce, middle, to));
    }
    return undefined;
  }

  *#sqe(
    write: boolean,
    region: Region,
    bounce: Uint8Array,
    at: number,
    length: number,
  ): Generator<void, number> {
    const engine = this.#engine;
    while (engine.room === 0 || engine.vectorRoom === 0 || engine.outstanding >= engine.capacity) {
      engine.submit();
      this.#reap();
      if (engine.outstanding > 0) yield;
    }
    const id = this.#next++;
    const { fd } = region.bdev as PlainDevice;
    const sector = region.sector + Math.floor(at / 512);
    const extra = this.plant === "one sector too many" && at > 0 ? 512 : 0;
    engine.vector(addressOf(bounce) + at, length + extra);
    const sqe = this.#record;
    sqe.opcode = write ? 2 : 1;
    sqe.fd = fd;
    sqe.offsetLow = sector % 2 ** 23 * 512 + at % 512;
    sqe.offsetHigh = Math.floor(sector / 2 ** 23);
    sqe.userData = id;
    engine.useVectors(sqe);
    engine.push(sqe);
    while (!this.#results.has(id)) {
      while (engine.queued > 0) {
        engine.submit();
        this.#reap();
      }
      this.#reap();
      if (!this.#results.has(id)) yield;
    }
    const result = this.#results.get(id)!;
    this.#results.delete(id);
    return result;
  }

  #reap(): void {
    for (let count = 0; (count = this.#engine.reap()) > 0;) {
      const { userData, result } = this.#engine.completions;
      for (let i = 0; i < count; i++) this.#results.set(userData[i]!, result[i]!);
    }
  }

  #block(request: Generator<void, Result>): Result {
    while (true) {
      const step = request.next();
      if (step.done) {
        this.#engine.wake();
        return step.value;
      }
      this.#engine.wait();
      this.#reap();
    }
  }

  async #pump(request: Generator<void, Result>): Promise<Result> {
    while (true) {
      const step = request.next();
      if (step.done) return step.value;
      if (this.plant === "a lost wake-up") this.#waiting ??= this.#engine.waitAsync();
      else this.#waiting = this.#engine.waitAsync();
      await this.#waiting;
      this.#reap();
    }
  }
}

function resultOf(failures: readonly Failure[]): Pick<Result, "errorBits" | "failures"> {
  return { errorBits: failures.reduce((bits, { region }) => bits | 1n << BigInt(region), 0n), failures };
}

function piecesOf(memory: Memory): Uint8Array[] {
  if (memory instanceof Uint8Array) return [memory];
  if ("bvecs" in memory) {
    return memory.bvecs.map(({ page, offset, len }) => page.subarray(offset, offset + len));
  }
  const pieces: Uint8Array[] = [];
  for (let node: PageList | null = memory.pageList; node; node = node.next) pieces.push(node.page);
  pieces[0] = pieces[0]!.subarray(memory.offset ?? 0);
  return pieces;
}

/** The bytes of the longest region. */
function dataOf(regions: readonly Region[], memory: Memory): Uint8Array {
  const data = new Uint8Array(Math.max(...regions.map(({ count }) => count)) * 512);
  let at = 0;
  for (const piece of piecesOf(memory)) {
    data.set(piece.subarray(0, data.length - at), at);
    at = Math.min(data.length, at + piece.length);
  }
  return data;
}

function copyOut(from: Uint8Array, parts: readonly Uint8Array[]): void {
  let at = 0;
  for (const part of parts) {
    const piece = from.subarray(at, at + part.length);
    part.set(piece);
    at += piece.length;
  }
}

/** The plain client with one fault, or none. */
export function plainLibrary(plant: Plant): Library {
  return {
    client: (engine, pages) => new PlainClient(engine, pages, plant),
    device: (disk, fd, onClose) => new PlainDevice(disk, fd, onClose, plant),
  };
}
