/**
 * A write-ahead log on a raw device: a record whose `append` was answered survives a power cut.
 *
 *     log.ts                  a demonstration in a temporary file
 *     log.ts [--create] PATH  prints the records of the log on PATH, a device or a file; then appends each line of standard input, and
 *                             prints how many records are durable. --create makes an empty log: what PATH holds is LOST
 *
 * Each write carries a group of records (`log/groups.ts`). One group is in flight at a time, and no write touches the blocks of an earlier
 * one. So recovery ends at the first group that is torn.
 *
 * @module
 */
import { BlockDevice, IoClient, type IoService } from "../mod.ts";
import { BLOCK, GROUP, groups, MOST, pack, region } from "./log/groups.ts";

const encoder = new TextEncoder();

/** A log that is open. */
export class Log {
  #closed = false;
  #failure: unknown = null;
  #writing: Promise<void> | null = null;
  #waiting: Uint8Array[] = [];
  #answer = Promise.withResolvers<void>(); // to all that wait
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
    pack(empty, [], 0, generation, 0);
    (await io.write([region(bdev, 0, BLOCK)], empty, { fua: true })).orThrow();
    return new Log(io, bdev, generation, BLOCK, 0);
  }

  /** Opens a log, and calls `found` with each record. It rejects when the device cannot be read, holds no log, or is damaged. */
  static async open(io: Log["io"], bdev: BlockDevice, found: (record: Uint8Array) => void): Promise<Log> {
    // The last writes of a killed program may be in the device's cache alone. After the flush, no power cut takes a record that is found here.
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
   * Appends a record, which must not change before the answer. Records that come while others are written share the next write.
   *
   * @returns Resolves when the record is durable. When the device is full or a write fails, this and all later appends reject, and recovery
   * alone can tell which of them are there.
   */
  append(record: Uint8Array): Promise<void> {
    if (record.length > MOST) throw new RangeError(`${record.length} bytes are more than a record's ${MOST}`);
    if (this.#closed) return Promise.reject(new Error("the log is closed"));
    this.#waiting.push(record);
    this.#writing ??= this.#writeAll();
    return this.#answer.promise;
  }

  /** Waits for the appends, and refuses others. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    this.io.pool.free(this.#memory);
  }

  async #writeAll(): Promise<void> {
    await null; // the appends of this turn go together
    while (this.#waiting.length > 0) {
      const [records, { resolve, reject }] = [this.#waiting, this.#answer];
      [this.#waiting, this.#answer] = [[], Promise.withResolvers()];
      try {
        for (let done = 0; done < records.length;) done += await this.#writeGroup(records, done);
        resolve();
      } catch (error) {
        this.#failure = error;
        reject(error);
      }
    }
    this.#writing = null;
  }

  // Writes as many of the records as one group holds, and gives their number.
  async #writeGroup(records: readonly Uint8Array[], from: number): Promise<number> {
    if (this.#failure !== null) throw this.#failure;
    const { count, bytes } = pack(this.#memory, records, from, this.generation, this.next);
    if (this.end + bytes > this.bdev.size) throw new RangeError(`the log on ${this.bdev.path} is full`);
    (await this.io.write([region(this.bdev, this.end, bytes)], this.#memory, { fua: true })).orThrow();
    [this.end, this.next] = [this.end + bytes, this.next + count];
    return count;
  }
}

async function main(args: string[]): Promise<void> {
  if (args.length === 0) return await demonstrate();
  const create = args[0] === "--create";
  const [path = "-", ...others] = create ? args.slice(1) : args;
  if (path.startsWith("-") || others.length > 0) return console.log("usage: log.ts [[--create] PATH]");
  await using io = new IoClient();
  const direct = Deno.statSync(path).isBlockDevice === true;
  await using bdev = BlockDevice.open(path, { write: true, direct });
  const show = (record: Uint8Array) => console.log(new TextDecoder().decode(record));
  const log = await (create ? Log.create(io, bdev) : Log.open(io, bdev, show));
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    await Promise.all(lines.map((line) => log.append(encoder.encode(line))));
    console.log(log.next);
  }
  if (rest !== "") await log.append(encoder.encode(rest));
  await log.close();
}

async function demonstrate(): Promise<void> {
  await using held = new AsyncDisposableStack();
  const path = held.adopt(Deno.makeTempFileSync({ prefix: "dmio-log-" }), (path) => Deno.removeSync(path));
  const io = held.use(new IoClient());
  const bdev = held.use(BlockDevice.open(path, { write: true, create: 64 << 20 }));
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
  const recovered = await Log.open(io, bdev, () => {});
  console.log(`${recovered.next} records are recovered: all but the one whose group is torn`);
}

if (import.meta.main) await main(Deno.args);
