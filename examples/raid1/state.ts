/**
 * The state that each leg of a mirror holds at its start. Two slots are written in turn: when a write of one is torn, the other holds.
 *
 *     slot: CRC-32 of what follows (u32), mirror (u32), changes (u64), sectors (u64), legs (u32), dirty bits; all little-endian
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { type BlockDevice, type IoResult, type IoService, SECTOR_SIZE } from "../../mod.ts";

/** Bytes of the state. */
const SLOT = 4096;
const HEAD = 28;
const LEAST_PART = 2048; // sectors
const PARTS = (SLOT - HEAD) * 8;
/** The sector of a leg where the mirror's data begins, behind the slots. */
export const DATA = 2048;

/** The state of a mirror. */
export interface State {
  /** Drawn when the mirror is made. */
  readonly mirror: number;
  /** How many legs it has, present or not. */
  readonly legs: number;
  /** Its size. */
  readonly sectors: number;
  /** How often its state changed. A leg with fewer changes than another has missed something. */
  readonly changes: number;
  /** A bit for each part that may differ between legs. */
  readonly dirty: Uint8Array;
}

/** Makes a state for a new mirror, all of which is dirty, and writes it. What an older mirror left in the slots is lost. */
export async function createState(
  io: Pick<IoService, "write">,
  devices: readonly BlockDevice[],
): Promise<void> {
  const sectors = Math.min(...devices.map((bdev) => bdev.sectors)) - DATA;
  if (!(sectors > 0)) throw new RangeError(`a leg must have more than ${DATA} sectors`);
  const mirror = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const dirty = new Uint8Array(PARTS / 8).fill(0xff);
  const slots = new Uint8Array(2 * SLOT);
  slots.set(slotOf({ mirror, legs: devices.length, sectors, changes: 0, dirty }));
  const regions = devices.map((bdev) => ({ bdev, sector: 0, count: slots.length / SECTOR_SIZE }));
  (await io.write(regions, slots, { fua: true })).orThrow();
}

/** The sectors that one dirty bit stands for: 1 MiB, or more where the bits are too few for that. */
export function partOf(sectors: number): number {
  return LEAST_PART * Math.ceil(sectors / PARTS / LEAST_PART);
}

/** Writes a state, durably. */
export function writeState(
  io: Pick<IoService, "write">,
  devices: BlockDevice[],
  state: State,
): Promise<IoResult> {
  const sector = state.changes % 2 * SLOT / SECTOR_SIZE;
  return io.write(devices.map((bdev) => ({ bdev, sector, count: SLOT / SECTOR_SIZE })), slotOf(state), {
    fua: true,
  });
}

/** The newest state that a leg holds. It rejects when the leg cannot be read, or holds none. */
export async function readState(io: Pick<IoService, "read">, bdev: BlockDevice): Promise<State> {
  const slots = new Uint8Array(2 * SLOT);
  (await io.read({ bdev, sector: 0, count: slots.length / SECTOR_SIZE }, slots)).orThrow();
  let newest: State | null = null;
  for (const slot of [slots.subarray(0, SLOT), slots.subarray(SLOT)]) {
    const view = new DataView(slot.buffer, slot.byteOffset, SLOT);
    const changes = Number(view.getBigUint64(8, true));
    if (view.getUint32(0, true) !== crc32(slot.subarray(4)) || changes < (newest?.changes ?? 0)) continue;
    const [mirror, legs] = [view.getUint32(4, true), view.getUint32(24, true)];
    newest = { mirror, legs, changes, sectors: Number(view.getBigUint64(16, true)), dirty: slot.slice(HEAD) };
  }
  if (newest === null) throw new Error(`${bdev.path} is no leg of a mirror`);
  return newest;
}

function slotOf({ mirror, changes, sectors, legs, dirty }: State): Uint8Array {
  const slot = new Uint8Array(SLOT);
  const view = new DataView(slot.buffer);
  view.setUint32(4, mirror, true);
  view.setBigUint64(8, BigInt(changes), true);
  view.setBigUint64(16, BigInt(sectors), true);
  view.setUint32(24, legs, true);
  slot.set(dirty, HEAD);
  view.setUint32(0, crc32(slot.subarray(4)), true);
  return slot;
}
