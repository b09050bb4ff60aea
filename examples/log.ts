/**
 * A write-ahead log on a raw device: a record whose `append` was answered survives a power cut.
 *
 *     log.ts                  a demonstration in a temporary file
 *     log.ts [--create] PATH  prints the records of the log on PATH, a device or a file; then appends each line of standard input, and
 *                             prints its number once it is durable. --create makes an empty log: what PATH holds is LOST
 *
 * Each write carries a group of records. One group is in flight at a time, and no write touches the blocks of an earlier one, so recovery
 * ends at the first group that is torn. The groups are in `log/groups.ts`.
 *
 * @module
 */
import { BlockDevice, IoClient, type IoService } from "../mod.ts";
import { BLOCK, GROUP, groups, MOST, pack, region } from "./log/groups.ts";

const USAGE = "usage: log.ts [[--create] PATH]   (without PATH, a demonstration; --create overwrites PATH)";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A log that is open. */
export class Log {
  #failure: unknown = null;
  #writing: Promise<void> | null = null;
  readonly #waiting: (PromiseWithResolvers<number> & { record: Uint8Array })[] = [];
  readonly #memory: Uint8Array;

  // `generation` marks the groups of this log, `end` is the byte where the next group begins, `next` the number of the next record.
  private constructor(
    readonly io: Pick<IoService, "pool" | "read" | "write" | "flush">,
    readonly bdev: BlockDevice,
    readonly generation: number,
    public end: number,
    public next: number,
  ) {
    this.#memory = io.pool.alloc(GROUP / BLOCK);
  }

  /** Makes a log without records. What the device holds is lost. */
  static async create(io: Log["io"], bdev: BlockDevice): Promise<Log> {
    const generation = crypto.getRandomValues(new Uint32Array(1))[0]!;
    const empty = new Uint8Array(BLOCK);
    const { bytes } = pack(empty, [], generation, 0);
    (await io.write([region(bdev, 0, bytes)], empty, { fua: true })).orThrow();
    return new Log(io, bdev, generation, bytes, 0);
  }

  /** Opens a log, and calls `found` with each record. It rejects when the device cannot be read, holds no log, or is damaged. */
  static async open(io: Log["io"], bdev: BlockDevice, found: (record: Uint8Array) => void): Promise<Log> {
    // What a killed program wrote last may be in the device's cache alone: a power cut must not take what is recovered here.
    (await io.flush([bdev])).orThrow();
    let [generation, end, next] = [0, 0, 0];
    for await (const group of groups(io, bdev)) {
      group.records.forEach(found);
      [generation, end, next] = [group.generation, end + group.bytes, next + group.records.length];
    }
    if (end === 0) throw new Error(`${bdev.path} holds no log`);
    return new Log(io, bdev, generation, end, next);
  }

  /**
   * Appends a record, which must not change before the answer. Records that come while a group is in flight go in the next one.
   *
   * @returns The record's number, once it is durable. When the device is full or a write fails, this and all later appends reject, and
   * recovery alone can tell which of them are there.
   */
  append(record: Uint8Array): Promise<number> {
    if (record.length > MOST) {
      throw new RangeError(`a record has ${record.length} bytes; the most is ${MOST}`);
    }
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const waiting = { record, ...Promise.withResolvers<number>() };
    this.#waiting.push(waiting);
    this.#writing ??= this.#writeAll();
    return waiting.promise;
  }

  /** Waits for the appends, and refuses others. */
  async close(): Promise<void> {
    this.#failure ??= new Error("the log is closed");
    await this.#writing;
    this.io.pool.free(this.#memory);
  }

  async #writeAll(): Promise<void> {
    await null; // the appends of this turn go together
    try {
      while (this.#waiting.length > 0) {
        const { count, bytes } = pack(this.#memory, this.#waiting, this.generation, this.next);
        if (this.end + bytes > this.bdev.size) throw new RangeError(`the log on ${this.bdev.path} is full`);
        (await this.io.write([region(this.bdev, this.end, bytes)], this.#memory, { fua: true })).orThrow();
        this.end += bytes;
        for (const { resolve } of this.#waiting.splice(0, count)) resolve(this.next++);
      }
    } catch (error) {
      this.#failure = error;
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    }
    this.#writing = null;
  }
}

async function main(args: string[]): Promise<void> {
  if (args.length === 0) return await demonstrate();
  const create = args[0] === "--create";
  const [path = "-", ...others] = create ? args.slice(1) : args;
  if (path.startsWith("-") || others.length > 0) return console.log(USAGE);
  await using io = new IoClient();
  const direct = Deno.statSync(path).isBlockDevice === true;
  await using bdev = BlockDevice.open(path, { write: true, direct });
  const show = (record: Uint8Array) => console.log(decoder.decode(record));
  const log = await (create ? Log.create(io, bdev) : Log.open(io, bdev, show));
  const append = async (line: string) => console.log(await log.append(encoder.encode(line)));
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    await Promise.all(lines.map(append));
  }
  if (rest !== "") await append(rest);
  await log.close();
}

async function demonstrate(): Promise<void> {
  const path = Deno.makeTempFileSync({ prefix: "dmio-log-" });
  try {
    await using io = new IoClient();
    await using bdev = BlockDevice.open(path, { write: true, create: 64 << 20 });
    const log = await Log.create(io, bdev);
    const began = performance.now();
    const append = async (_: unknown, appender: number) => {
      for (let i = 0; i < 500; i++) await log.append(encoder.encode(`record ${i} of appender ${appender}`));
    };
    await Promise.all(Array.from({ length: 64 }, append));
    console.log(`${log.next} durable records of 64 appenders in ${Math.round(performance.now() - began)} ms`);

    // A power cut in the middle of a write can leave this: one of the group's blocks is not there.
    await log.append(new Uint8Array(2 * BLOCK).fill(1));
    await log.close();
    (await io.write([region(bdev, log.end - 2 * BLOCK, BLOCK)], new Uint8Array(BLOCK))).orThrow();
    let count = 0;
    await (await Log.open(io, bdev, () => count++)).close();
    console.log(`${count} records are recovered: all but the one whose group is torn`);
  } finally {
    Deno.removeSync(path);
  }
}

if (import.meta.main) await main(Deno.args);
