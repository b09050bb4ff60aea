/**
 * Partition tables, as the bytes of a disk.
 *
 * @module
 */

import { crc32 } from "node:zlib";

const SECTOR = 512;
const LINUX = 0x83;
const PROTECTIVE = 0xee;
/** The type of a partition of Linux data in a GPT, 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as its bytes are on the disk. */
const LINUX_DATA = [
  0xaf,
  0x3d,
  0xc6,
  0x0f,
  0x83,
  0x84,
  0x72,
  0x47,
  0x8e,
  0x79,
  0x3d,
  0x69,
  0xd8,
  0x47,
  0x7d,
  0xe4,
];
const GPT_ENTRIES = 128;
const GPT_ENTRY_BYTES = 128;

/** A partition's first sector, and how many it has. */
export type Extent = readonly [start: number, sectors: number];

/**
 * The first sector of a disk with a table of up to four primary partitions.
 *
 * @param partitions The partitions.
 * @param type Their type.
 */
export function mbr(partitions: readonly Extent[], type = LINUX): Uint8Array<ArrayBuffer> {
  const sector = new Uint8Array(SECTOR);
  const view = new DataView(sector.buffer);
  for (const [i, [start, sectors]] of partitions.entries()) {
    const at = 446 + 16 * i;
    view.setUint8(at + 4, type);
    view.setUint32(at + 8, start, true);
    view.setUint32(at + 12, sectors, true);
  }
  view.setUint16(510, 0xaa55, true);
  return sector;
}

/**
 * The head of a disk with a GPT: the protective table, the primary header, the entries. The copy at the disk's end is left out, which
 * the kernel reports in its log and allows.
 *
 * @param disk Sectors of the disk, which has logical blocks of 512 bytes.
 * @param partitions The partitions.
 */
export function gpt(disk: number, partitions: readonly Extent[]): Uint8Array<ArrayBuffer> {
  const first = 2 + GPT_ENTRIES * GPT_ENTRY_BYTES / SECTOR;
  const head = new Uint8Array(first * SECTOR);
  head.set(mbr([[1, disk - 1]], PROTECTIVE));
  const entries = head.subarray(2 * SECTOR);
  for (const [i, [start, sectors]] of partitions.entries()) {
    const entry = entries.subarray(i * GPT_ENTRY_BYTES, (i + 1) * GPT_ENTRY_BYTES);
    entry.set(LINUX_DATA);
    crypto.getRandomValues(entry.subarray(16, 32));
    const view = new DataView(entry.buffer, entry.byteOffset);
    view.setBigUint64(32, BigInt(start), true);
    view.setBigUint64(40, BigInt(start + sectors - 1), true);
  }
  const header = head.subarray(SECTOR, SECTOR + 92);
  const view = new DataView(header.buffer, header.byteOffset);
  header.set(new TextEncoder().encode("EFI PART"));
  view.setUint32(8, 0x10000, true);
  view.setUint32(12, header.length, true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, BigInt(disk - 1), true);
  view.setBigUint64(40, BigInt(first), true);
  view.setBigUint64(48, BigInt(disk - 34), true);
  crypto.getRandomValues(header.subarray(56, 72));
  view.setBigUint64(72, 2n, true);
  view.setUint32(80, GPT_ENTRIES, true);
  view.setUint32(84, GPT_ENTRY_BYTES, true);
  view.setUint32(88, crc32(entries), true);
  view.setUint32(16, crc32(header), true);
  return head;
}
