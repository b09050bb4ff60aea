/**
 * Writes of one buffer to several regions, round robin over the devices, `queueDepth` requests at a time.
 *
 * @module
 */
import type { Timing } from "../sample.ts";
import { load, type Loads } from "./library.ts";
import { Meter } from "./meter.ts";
import { Places } from "./places.ts";

/** The work, as the program's one argument. */
export interface MirroredWrite extends Timing, Loads {
  readonly devices: readonly string[];
  readonly queueDepth: number;
  /** Regions a request, at most 64. */
  readonly regions: number;
  /** Bytes a region. */
  readonly bytes: number;
  readonly order: "random" | "sequential";
  /** The pool's pages; an ordinary `Uint8Array`, which is copied. */
  readonly memory: "pool" | "ordinary";
}

if (import.meta.main) {
  const work: MirroredWrite = JSON.parse(Deno.args[0]!);
  const { BlockDevice, IoClient } = await load(work);
  const pages = Math.ceil(work.bytes / 4096);
  await using io = new IoClient({
    pages: pages * work.queueDepth,
    // All regions of all requests may be in flight, as in the C program.
    queueDepth: Math.min(Math.ceil(work.queueDepth * work.regions / work.devices.length), 4096),
  });
  const devices = work.devices.map((path) => BlockDevice.open(path, { write: true, direct: true }));
  const places = new Places(devices, work);
  const meter = new Meter(work);

  const memory = () => work.memory === "pool" ? io.pool.alloc(pages) : new Uint8Array(work.bytes);
  const writer = async (_: unknown, index: number) => {
    const data = memory().fill(index);
    const regions = places.regions();
    do places.next(regions); while (meter.ended((await io.write(regions, data)).errorBits === 0n));
  };
  await Promise.all(Array.from({ length: work.queueDepth }, writer));
  for (const device of devices) await device.close();
  meter.print();
}
