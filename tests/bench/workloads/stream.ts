/**
 * Sequential transfers of a whole device, again and again: by a stream, or by direct calls and one `set()` a chunk.
 *
 * @module
 */
import type { BlockDevice, IoClient, IoRegion } from "../../../mod.ts";
import type { Timing } from "../sample.ts";
import { load, type Loads } from "./library.ts";
import { Meter } from "./meter.ts";

/** The work, as the program's one argument. */
export interface Stream extends Timing, Loads {
  readonly devices: readonly string[];
  /** Bytes of a chunk. */
  readonly bytes: number;
  readonly way: Way;
}

/** Reading is from the first device, writing to all. */
export type Way =
  | "read and set()"
  | "read and slice()"
  | "readable, BYOB"
  | "readable, default reader"
  | "set() and write"
  | "writable";

/** What every way works on. */
interface Bed {
  readonly io: IoClient;
  readonly devices: readonly BlockDevice[];
  readonly bytes: number;
  readonly chunks: number;
  readonly meter: Meter;
}

/** Chunks under way by direct calls: as many as the default pool holds of 1 MiB. */
const QUEUE_DEPTH = 4;
const PAGE = 4096;

/** Reads the chunks in order, several under way, and copies each. */
async function readDirectly(
  { io, devices: [bdev], bytes, chunks, meter }: Bed,
  fresh: boolean,
): Promise<void> {
  const pages = Array.from({ length: QUEUE_DEPTH }, () => io.pool.alloc(bytes / PAGE));
  const copy = new Uint8Array(bytes);
  let next = 0;
  const read = (data: Uint8Array) => {
    const region = { bdev: bdev!, sector: next++ % chunks * bytes / 512, count: bytes / 512 };
    return { data, answer: io.read(region, data) };
  };
  const underWay = pages.map(read);
  for (;;) {
    const { data, answer } = underWay.shift()!;
    const { ok } = await answer;
    if (fresh) data.slice();
    else copy.set(data);
    if (!meter.ended(ok)) break;
    underWay.push(read(data));
  }
  await Promise.all(underWay.map(({ answer }) => answer));
}

async function readByob({ io, devices: [bdev], bytes, chunks, meter }: Bed): Promise<void> {
  const region = { bdev: bdev!, sector: 0, count: chunks * bytes / 512 };
  let view = new Uint8Array(bytes);
  for (let running = true; running;) {
    const reader = io.readable(region, { chunk: bytes }).getReader({ mode: "byob" });
    while (running) {
      const { done, value } = await reader.read(view);
      view = new Uint8Array(value!.buffer);
      if (done) break;
      running = meter.ended(value!.length === bytes);
    }
    await reader.cancel();
  }
}

async function readByDefault({ io, devices: [bdev], bytes, chunks, meter }: Bed): Promise<void> {
  const region = { bdev: bdev!, sector: 0, count: chunks * bytes / 512 };
  for (let running = true; running;) {
    for await (const { length } of io.readable(region, { chunk: bytes })) {
      running = meter.ended(length === bytes);
      if (!running) break;
    }
  }
}

/** Writes the chunks, several under way, each from a copy in pages. */
async function writeDirectly({ io, devices, bytes, chunks, meter }: Bed): Promise<void> {
  const data = new Uint8Array(bytes).fill(1);
  let next = 0;
  const writer = async () => {
    const pages = io.pool.alloc(bytes / PAGE);
    for (let running = true; running;) {
      const sector = next++ % chunks * bytes / 512;
      pages.set(data);
      const regions = devices.map((bdev): IoRegion => ({ bdev, sector, count: bytes / 512 }));
      running = meter.ended((await io.write(regions, pages)).ok);
    }
  };
  await Promise.all(Array.from({ length: QUEUE_DEPTH }, writer));
}

async function writeStream({ io, devices, bytes, chunks, meter }: Bed): Promise<void> {
  const data = new Uint8Array(bytes).fill(1);
  const regions = devices.map((bdev) => ({ bdev, sector: 0, count: chunks * bytes / 512 }));
  for (let running = true; running;) {
    const stream = io.writable(regions, { chunk: bytes });
    const writer = stream.getWriter();
    for (let i = 0; i < chunks && running; i++) {
      await writer.write(data);
      running = meter.ended(true);
    }
    await writer.close();
    if (!(await stream.result).ok) throw new Error("a region failed");
  }
}

const WAYS: Record<Way, (bed: Bed) => Promise<void>> = {
  "read and set()": (bed) => readDirectly(bed, false),
  "read and slice()": (bed) => readDirectly(bed, true),
  "readable, BYOB": readByob,
  "readable, default reader": readByDefault,
  "set() and write": writeDirectly,
  "writable": writeStream,
};

if (import.meta.main) {
  const work: Stream = JSON.parse(Deno.args[0]!);
  const { BlockDevice, IoClient } = await load(work);
  await using io = new IoClient();
  const write = work.way === "writable" || work.way === "set() and write";
  const devices = work.devices.map((path) => BlockDevice.open(path, { write, direct: true }));
  const { bytes } = work;
  const chunks = Math.floor(Math.min(...devices.map(({ sectors }) => sectors)) * 512 / bytes);
  const meter = new Meter(work);
  await WAYS[work.way]({ io, devices, bytes, chunks, meter });
  for (const device of devices) await device.close();
  meter.print();
}
