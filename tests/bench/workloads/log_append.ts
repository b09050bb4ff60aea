/**
 * Durable appends to the log of examples/log.ts, by so many appenders at a time. The peer's program runs the same log over `node:fs`.
 *
 * @module
 */
import { Log } from "../../../examples/log.ts";
import type { BlockDevice } from "../../../mod.ts";
import type { Timing } from "../sample.ts";
import { load, type Loads } from "./library.ts";
import { Meter } from "./meter.ts";

/** The work, as a program's one argument. */
export interface LogAppend extends Timing {
  readonly path: string;
  readonly appenders: number;
  /** Bytes of a record. */
  readonly bytes: number;
}

/** Where the log begins anew, before the end of its device. */
const MARGIN = 1 << 20;

/** Appends until the time is over, and prints the sample. */
export async function appendAll(work: LogAppend, io: Log["io"], bdev: BlockDevice): Promise<void> {
  const meter = new Meter(work);
  let log = await Log.create(io, bdev);
  let renewal: Promise<void> | null = null;
  const renew = async () => {
    const old = log;
    log = await Log.create(io, bdev);
    await old.close();
    renewal = null;
  };
  const appender = async (_: unknown, index: number) => {
    const record = new Uint8Array(work.bytes).fill(index);
    do {
      if (log.end > bdev.size - MARGIN) await (renewal ??= renew());
      await log.append(record);
    } while (meter.ended(true));
  };
  await Promise.all(Array.from({ length: work.appenders }, appender));
  await log.close();
  meter.print();
}

if (import.meta.main) {
  const work: LogAppend & Loads = JSON.parse(Deno.args[0]!);
  const { BlockDevice, IoClient } = await load(work);
  await using io = new IoClient();
  await using bdev = BlockDevice.open(work.path, { write: true, direct: true });
  await appendAll(work, io, bdev);
}
