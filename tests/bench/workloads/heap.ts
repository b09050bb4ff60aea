/**
 * Bytes of JS heap that a request takes: what the heap grew by over many requests, with a young generation so
 * large that nothing is collected meanwhile, less what the awaiting program takes for itself. It has to be run
 * with such a young generation, and with `--expose-gc`.
 *
 * @module
 */
import process from "node:process";
import { median } from "../statistics.ts";
import { load, type Loads } from "./library.ts";

/** The work, as the program's one argument. */
export interface Heap extends Loads {
  readonly devices: readonly string[];
}

const QUEUE_DEPTH = 64;
const REQUESTS_EACH = 200;
const CHUNKS = 9;

async function bytesPerRequest(request: (slot: number) => Promise<{ errorBits: bigint }>): Promise<number> {
  const slot = async (_: unknown, index: number) => {
    for (let i = 0; i < REQUESTS_EACH; i++) {
      if ((await request(index)).errorBits !== 0n) throw new Error("a request failed");
    }
  };
  const chunk = () => Promise.all(Array.from({ length: QUEUE_DEPTH }, slot));
  for (let i = 0; i < CHUNKS; i++) await chunk(); // until V8 has compiled it
  (globalThis as unknown as { gc(): void }).gc();
  const grown: number[] = [];
  let before = process.memoryUsage().heapUsed;
  for (let i = 0; i < CHUNKS; i++) {
    await chunk();
    const after = process.memoryUsage().heapUsed;
    grown.push((after - before) / (QUEUE_DEPTH * REQUESTS_EACH));
    before = after;
  }
  if (grown.some((bytes) => bytes < 0)) throw new Error("the heap was collected while it was measured");
  return median(grown);
}

if (import.meta.main) {
  const work: Heap = JSON.parse(Deno.args[0]!);
  const { BlockDevice, IoClient } = await load(work);
  await using io = new IoClient({ pages: QUEUE_DEPTH, queueDepth: QUEUE_DEPTH * work.devices.length });
  const devices = work.devices.map((path) => BlockDevice.open(path, { write: true, direct: true }));
  const pages = Array.from({ length: QUEUE_DEPTH }, () => io.pool.alloc(1));
  const regions = pages.map((_, i) => devices.map((bdev) => ({ bdev, sector: i * 8, count: 8 })));

  const done = Promise.resolve({ errorBits: 0n });
  const awaiting = await bytesPerRequest(() => done);
  const read = await bytesPerRequest((slot) => io.read(regions[slot]![0]!, pages[slot]!));
  const write = await bytesPerRequest((slot) => io.write(regions[slot]!, pages[slot]!));
  for (const device of devices) await device.close();
  console.log(JSON.stringify({
    operations: QUEUE_DEPTH * REQUESTS_EACH * CHUNKS,
    seconds: 1,
    failed: 0,
    values: { awaiting, read: read - awaiting, write: write - awaiting },
  }));
}
