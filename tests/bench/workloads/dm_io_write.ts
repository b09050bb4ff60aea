/**
 * Mirrored 4 KiB writes by `dmIoAsyncVm`, one callback a request, `queueDepth` requests at a time.
 *
 * @module
 */
import type { IoRegion } from "../../../mod.ts";
import type { Timing } from "../sample.ts";
import { load, type Loads } from "./library.ts";
import { Meter } from "./meter.ts";
import { Places } from "./places.ts";

/** The work, as the program's one argument. */
export interface DmIoWrite extends Timing, Loads {
  readonly devices: readonly string[];
  readonly queueDepth: number;
}

interface Slot {
  readonly data: Uint8Array;
  readonly regions: IoRegion[];
}

if (import.meta.main) {
  const work: DmIoWrite = JSON.parse(Deno.args[0]!);
  const { BlockDevice, dmIoAsyncVm, dmIoClient, dmIoGet, dmIoPut, WRITE } = await load(work);
  const devices = work.devices.map((path) => BlockDevice.open(path, { write: true, direct: true }));
  const places = new Places(devices, { regions: devices.length, bytes: 4096, order: "random" });
  const meter = new Meter(work);
  dmIoGet(work.queueDepth);
  const { pool } = dmIoClient();
  const over = Promise.withResolvers<void>();
  let running = work.queueDepth;

  const start = (slot: Slot): void => {
    places.next(slot.regions);
    dmIoAsyncVm(slot.regions.length, slot.regions, WRITE, slot.data, ended, slot);
  };
  const ended = (errorBits: bigint, slot: Slot): void => {
    if (meter.ended(errorBits === 0n)) return start(slot);
    pool.free(slot.data);
    if (--running === 0) over.resolve();
  };
  for (let i = 0; i < work.queueDepth; i++) start({ data: pool.alloc(1).fill(i), regions: places.regions() });
  await over.promise;
  dmIoPut(work.queueDepth);
  for (const device of devices) await device.close();
  meter.print();
}
