/**
 * SQEs of block I/O, and what the kernel and the caller's own requests demand of one.
 *
 * @module
 */

import { type Disk, SECTOR } from "./disk.ts";
import type { Segment } from "./memory.ts";
import type { World } from "./world.ts";

export const READV = 1;
export const WRITEV = 2;
export const READ_FIXED = 4;
export const WRITE_FIXED = 5;
export const READ = 22;
export const WRITE = 23;

/** The opcodes that move blocks, by number. */
export const OPCODES: Readonly<Record<number, string>> = {
  [READV]: "READV",
  [WRITEV]: "WRITEV",
  [READ_FIXED]: "READ_FIXED",
  [WRITE_FIXED]: "WRITE_FIXED",
  [READ]: "READ",
  [WRITE]: "WRITE",
};

/** `MAX_RW_COUNT` in linux/fs.h. */
const MAX_RW_COUNT = 0x7ffff000;

/** An SQE, from `push` to `reap`. */
export interface Sqe {
  readonly number: number;
  readonly opcode: number;
  readonly disk: Disk;
  /** Bytes from the start of the disk's data. */
  readonly from: number;
  readonly length: number;
  readonly segments: readonly Segment[];
  readonly userData: number;
  readonly generation: number;
  /** `userData` and `generation` in one. */
  readonly key: string;
}

/** Whether an opcode writes to the device. */
export function isWrite(opcode: number): boolean {
  return opcode === WRITE || opcode === WRITEV || opcode === WRITE_FIXED;
}

/** An SQE in a line of the trace. */
export function describe({ number, opcode, disk, from, length }: Sqe): string {
  return `#${number} ${OPCODES[opcode]} ${disk.name} [${from}, ${from + length})`;
}

/** Bytes from the start of a disk's data to the offset that an SQE names, exact at any offset. */
export function dataOffset(disk: Disk, low: number, high: number): number {
  return (high * 2 ** 23 + Math.floor(low / SECTOR) - disk.base) * SECTOR + low % SECTOR;
}

/** Holds an SQE to the rules. */
export function checkSqe(world: World, sqe: Sqe): void {
  const { opcode, disk, from, length, segments } = sqe;
  const wrong = (what: string): never => world.violate(`${describe(sqe)}: ${what}`);
  if (length === 0) wrong("no bytes");
  if (length > MAX_RW_COUNT) wrong("beyond MAX_RW_COUNT");
  const write = isWrite(opcode);
  if (write && !disk.writable) wrong("the device was opened for reading");
  if (!disk.claimed(write, from, from + length)) wrong("no request names these bytes");
  if (!disk.direct) return;
  if (from % disk.logicalBlockSize !== 0) wrong("misaligned offset on a direct device");
  for (const segment of segments) {
    if (segment.length % disk.logicalBlockSize !== 0) {
      wrong(`${segment.length} bytes in a run on a direct device`);
    }
    if (segment.address % disk.memoryAlignment !== 0) {
      wrong(`memory at ${segment.address} on a direct device`);
    }
  }
}
