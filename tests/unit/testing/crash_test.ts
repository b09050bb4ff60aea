/** A small log that is crashed at each of its operations: what the kit for tests is for. Nothing here needs a permission. */

import { assert, assertEquals } from "@std/assert";
import { type BlockDevice, IoClient } from "../../../mod.ts";
import { faults, ramDevice, reopen } from "../../../src/testing/mod.ts";

const BLOCK = 512;
const RECORDS = 6;

type Append = (io: IoClient, bdev: BlockDevice, record: number) => Promise<boolean>;

const blockOf = (record: number) => new Uint8Array(BLOCK).fill(record);
const placeOf = (bdev: BlockDevice, record: number) => ({ bdev, sector: record, count: 1 });

const WAYS: Readonly<Record<string, Append>> = {
  "by FUA": async (io, bdev, record) =>
    (await io.write([placeOf(bdev, record)], blockOf(record), { fua: true })).ok,
  "by a flush": async (io, bdev, record) =>
    (await io.write([placeOf(bdev, record)], blockOf(record))).ok && (await io.flush([bdev])).ok,
  "by nothing": async (io, bdev, record) => (await io.write([placeOf(bdev, record)], blockOf(record))).ok,
};

/** Appends records until the power is cut at operation `nth`. @returns The records that were acknowledged, and those that are there. */
async function crash(
  append: Append,
  nth: number,
  seed: number,
): Promise<{ told: number[]; there: number[] }> {
  await using device = ramDevice(64 << 10);
  const cut = faults(device).powerCutAt(seed, { nth });
  const told: number[] = [];
  {
    await using io = new IoClient({ pages: 4 });
    for (let record = 1; record <= RECORDS; record++) {
      if (!await append(io, device, record)) break;
      told.push(record);
    }
  }
  if (cut.hits === 0) faults(device).powerCut(seed);
  cut.remove();
  await using again = reopen(device);
  await using io = new IoClient({ pages: 4 });
  const there: number[] = [];
  for (let record = 1; record <= RECORDS; record++) {
    const bytes = new Uint8Array(BLOCK);
    (await io.read(placeOf(again, record), bytes)).orThrow();
    assert(bytes.every((byte) => byte === bytes[0]), "a block is half written");
    if (bytes[0] === record) there.push(record);
  }
  return { told, there };
}

/** How many of many crashes lost a record that was acknowledged. */
async function losses(append: Append): Promise<number> {
  let lost = 0;
  for (let nth = 1; nth <= 2 * RECORDS + 1; nth++) {
    for (let seed = 0; seed < 10; seed++) {
      const { told, there } = await crash(append, nth, seed);
      if (told.some((record) => !there.includes(record))) lost++;
    }
  }
  return lost;
}

for (const [how, append] of Object.entries(WAYS)) {
  const durable = how !== "by nothing";
  Deno.test(`a log whose records are made durable ${how} ${durable ? "loses none" : "is found to lose some"}`, async () => {
    const lost = await losses(append);
    if (durable) assertEquals(lost, 0);
    else assert(lost > 20, `${lost}`);
  });
}
