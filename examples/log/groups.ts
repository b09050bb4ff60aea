/**
 * Groups of records on a device, as a log writes them. Each begins in a block of its own:
 *
 *     group:  CRC-32 of what follows (u32), generation (u32), number of the first record (u64), bytes of the records (u32), records
 *     record: its length (u32), its bytes; all numbers little-endian
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { type BlockDevice, type IoRegion, type IoService, SECTOR_SIZE } from "../../mod.ts";

/** Groups begin at multiples of this many bytes. Disks have no longer physical blocks, so a write never touches a block of another group. */
export const BLOCK = 4096;
/** The most bytes of a group. */
export const GROUP: number = 64 * BLOCK;
/** Bytes of one read. */
const WINDOW = 256 * BLOCK;
const HEAD = 20;
const LENGTH = 4;
/** The most bytes of a record. */
export const MOST: number = GROUP - HEAD - LENGTH;

/** A group that is not torn. */
export interface Group {
  readonly generation: number;
  readonly number: number;
  readonly records: readonly Uint8Array[];
  /** Its bytes on the device, whole blocks. */
  readonly bytes: number;
}

/** The region of some bytes. */
export function region(bdev: BlockDevice, at: number, bytes: number): IoRegion {
  return { bdev, sector: at / SECTOR_SIZE, count: bytes / SECTOR_SIZE };
}

/**
 * Makes a group in memory of as many records as fit.
 *
 * @param from The first of the records that goes in.
 * @param number The number that it has in the log.
 * @returns How many they are, and the bytes to write.
 */
export function pack(
  memory: Uint8Array,
  records: readonly Uint8Array[],
  from: number,
  generation: number,
  number: number,
): { count: number; bytes: number } {
  const view = viewOf(memory);
  let [count, used] = [0, HEAD];
  for (let record = records[from]; record !== undefined; record = records[from + count]) {
    if (used + LENGTH + record.length > GROUP) break;
    view.setUint32(used, record.length, true);
    memory.set(record, used + LENGTH);
    used += LENGTH + record.length;
    count++;
  }
  view.setUint32(4, generation, true);
  view.setBigUint64(8, BigInt(number), true);
  view.setUint32(16, used - HEAD, true);
  view.setUint32(0, crc32(memory.subarray(4, used)), true);
  const bytes = roundUp(used);
  memory.fill(0, used, bytes);
  return { count, bytes };
}

/**
 * Reads the groups of a log, up to the first that is torn: the end, as one group is in flight at a time.
 *
 * @throws {IoError} When the device cannot be read.
 * @throws {Error} When a group follows a torn one: the earlier group was durable before the later one was written, so the device lost it.
 */
export async function* groups(
  io: Pick<IoService, "read" | "pool">,
  bdev: BlockDevice,
): AsyncGenerator<Group> {
  const size = Math.floor(bdev.sectors * SECTOR_SIZE / BLOCK) * BLOCK;
  const window = io.pool.alloc(WINDOW / BLOCK);
  let [from, to] = [0, 0]; // the bytes of the device that the window holds
  const groupAt = async (at: number): Promise<Group | null> => {
    const most = Math.min(GROUP, size - at);
    if (most <= 0) return null;
    if (at + most > to) {
      [from, to] = [at, Math.min(at + WINDOW, size)];
      (await io.read(region(bdev, from, to - from), window)).orThrow();
    }
    return unpack(window.subarray(at - from, at - from + most));
  };
  try {
    const first = await groupAt(0);
    let [end, next] = [0, 0];
    const follows = (group: Group | null) =>
      group !== null && group.generation === first!.generation && group.number >= next;
    for (let group = first; group !== null && follows(group); group = await groupAt(end)) {
      yield group;
      end += group.bytes;
      next = group.number + group.records.length;
    }
    for (let at = end + BLOCK; first !== null && at < end + GROUP; at += BLOCK) {
      if (follows(await groupAt(at))) {
        throw new Error(`${bdev.path}: the group at byte ${end} is damaged, as one at ${at} follows`);
      }
    }
  } finally {
    io.pool.free(window);
  }
}

// Null when the group is torn, and when there is none.
function unpack(memory: Uint8Array): Group | null {
  const view = viewOf(memory);
  const end = HEAD + view.getUint32(16, true);
  if (end > memory.length || view.getUint32(0, true) !== crc32(memory.subarray(4, end))) return null;
  const records: Uint8Array[] = [];
  for (let at = HEAD; at < end; at += LENGTH + records.at(-1)!.length) {
    records.push(memory.slice(at + LENGTH, at + LENGTH + view.getUint32(at, true)));
  }
  return {
    generation: view.getUint32(4, true),
    number: Number(view.getBigUint64(8, true)),
    records,
    bytes: roundUp(end),
  };
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, length);
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / BLOCK) * BLOCK;
}
