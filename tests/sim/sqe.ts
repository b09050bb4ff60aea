/**
 * SQEs of block I/O, and what the kernel and the caller's own requests demand of one.
 *
 * @module
 */

import type { Sqe as PushedSqe } from "../../src/engine/sqe.ts";
import { type Disk, type Kind, SECTOR } from "./disk.ts";
import { EOPNOTSUPP } from "./errno.ts";
import type { Segment } from "./memory.ts";
import type { World } from "./world.ts";

export const READV = 1;
export const WRITEV = 2;
export const FSYNC = 3;
export const READ_FIXED = 4;
export const WRITE_FIXED = 5;
export const FALLOCATE = 17;
export const READ = 22;
export const WRITE = 23;
export const URING_CMD = 46;
/** The engine's own: an ioctl. */
export const IOCTL = 256;

/** The opcodes of block I/O, by number. */
export const OPCODES: Readonly<Record<number, string>> = {
  [READV]: "READV",
  [WRITEV]: "WRITEV",
  [FSYNC]: "FSYNC",
  [READ_FIXED]: "READ_FIXED",
  [WRITE_FIXED]: "WRITE_FIXED",
  [FALLOCATE]: "FALLOCATE",
  [READ]: "READ",
  [WRITE]: "WRITE",
  [URING_CMD]: "URING_CMD",
  [IOCTL]: "ioctl",
};

/** `MAX_RW_COUNT` in linux/fs.h. */
const MAX_RW_COUNT = 0x7ffff000;
const DATASYNC = 1;
const RWF_DSYNC = 2;
const CMD_DISCARD = 0x1200;
const BLKDISCARD = 0x1277;
const BLKZEROOUT = 0x127f;
const ZERO_RANGE = 0x11;
const PUNCH_HOLE = 0x03;

/** An SQE, from `push` to `reap`. */
export interface Sqe {
  readonly number: number;
  readonly opcode: number;
  readonly kind: Kind;
  readonly disk: Disk;
  /** Bytes from the start of the disk's data. */
  readonly from: number;
  readonly length: number;
  /** Whether it is a write with FUA. */
  readonly durable: boolean;
  readonly segments: readonly Segment[];
  /** Why the device does not know it; 0 when it does. */
  readonly refusal: number;
  readonly userData: number;
  readonly generation: number;
  /** `userData` and `generation` in one. */
  readonly key: string;
}

/** Whether an opcode moves data between memory and a device. */
export function movesData(opcode: number): boolean {
  return opcode !== FSYNC && opcode !== FALLOCATE && opcode !== URING_CMD && opcode !== IOCTL;
}

/** An SQE in a line of the trace. */
export function describe({ number, opcode, kind, disk, from, length, durable }: Sqe): string {
  const what = `${OPCODES[opcode]}${durable ? " FUA" : ""} (${kind})`;
  return `#${number} ${what} ${disk.name} [${from}, ${from + length})`;
}

/** What an SQE means to a disk. */
type Meaning = Pick<Sqe, "kind" | "from" | "length" | "durable" | "refusal">;

/** Reads an SQE as the kernel does. @param bytes Bytes of its memory. */
export function meaningOf(world: World, disk: Disk, sqe: PushedSqe, bytes: number): Meaning {
  const { opcode, opFlags, length: mode } = sqe;
  const { facts } = disk;
  const from = dataOffset(disk, sqe.offsetLow, sqe.offsetHigh);
  const plain = { durable: false, refusal: 0 };
  switch (opcode) {
    case FSYNC:
      if (opFlags !== DATASYNC) world.violate(`fsync_flags ${opFlags}, not IORING_FSYNC_DATASYNC`);
      return { ...plain, kind: "flush", from: 0, length: 0 };
    case FALLOCATE: {
      const to = from + sqe.address;
      if (mode === ZERO_RANGE) {
        return {
          ...plain,
          kind: "zeroes",
          from,
          length: sqe.address,
          refusal: facts.zeroes === "range" ? 0 : EOPNOTSUPP,
        };
      }
      if (mode !== PUNCH_HOLE) world.violate(`fallocate mode ${mode}`);
      // A hole is the discard of a file; what the request wants tells it from zeroes with unmap.
      const kind = disk.claim("discard", from, to) ? "discard" : "zeroes";
      const able = kind === "discard" ? facts.discards !== "not" : facts.holes;
      return { ...plain, kind, from, length: sqe.address, refusal: able ? 0 : EOPNOTSUPP };
    }
    case URING_CMD: {
      if (sqe.offsetLow !== CMD_DISCARD || sqe.offsetHigh !== 0) world.violate(`command ${sqe.offsetLow}`);
      const refusal = facts.discards === "command" ? 0 : EOPNOTSUPP;
      return {
        ...plain,
        kind: "discard",
        from: sqe.address - disk.base * SECTOR,
        length: sqe.address3,
        refusal,
      };
    }
    case IOCTL: {
      const kind = opFlags === BLKDISCARD ? "discard" : "zeroes";
      if (opFlags !== BLKDISCARD && opFlags !== BLKZEROOUT) world.violate(`ioctl ${opFlags}`);
      const refusal = (kind === "discard" ? facts.discards : facts.zeroes) === "not" ? EOPNOTSUPP : 0;
      return { ...plain, kind, from: sqe.address - disk.base * SECTOR, length: sqe.address3, refusal };
    }
  }
  const reads = opcode === READ || opcode === READV || opcode === READ_FIXED;
  if (opFlags !== 0 && (reads || opFlags !== RWF_DSYNC)) {
    world.violate(`rw_flags ${opFlags} with ${OPCODES[opcode]}`);
  }
  // Zeros are written where a device makes none.
  const kind = reads ? "read" : disk.claim("zeroes", from, from + bytes) ? "zeroes" : "write";
  return { kind, from, length: bytes, durable: opFlags === RWF_DSYNC, refusal: 0 };
}

/** Bytes from the start of a disk's data to the offset that an SQE names, exact at any offset. */
function dataOffset(disk: Disk, low: number, high: number): number {
  return (high * 2 ** 23 + Math.floor(low / SECTOR) - disk.base) * SECTOR + low % SECTOR;
}

/** Holds an SQE to the rules. */
export function checkSqe(world: World, sqe: Sqe): void {
  const { kind, opcode, disk, from, length, segments, durable } = sqe;
  const { facts } = disk;
  const wrong = (what: string): never => world.violate(`${describe(sqe)}: ${what}`);
  if (kind !== "read" && kind !== "flush" && !facts.writable) wrong("the device was opened for reading");
  const claim = disk.claim(kind, from, from + length);
  if (claim === undefined) return wrong("no request names these bytes");
  if (kind === "flush") return;
  if (length === 0) wrong("no bytes");
  if (durable && !claim.fua) wrong("no request wants FUA");
  if (durable && !facts.direct) wrong("a sync of the page cache beside those that take turns");
  if (claim.preflush && !claim.flushed) wrong("the data comes before the end of its preflush");
  if (!movesData(opcode)) {
    if (from % facts.logicalBlockSize !== 0 || length % facts.logicalBlockSize !== 0) {
      wrong("no whole blocks");
    }
    if (kind === "discard" && facts.discardMaxBytes !== null && length > facts.discardMaxBytes) {
      wrong("beyond the limit");
    }
    return;
  }
  if (length > MAX_RW_COUNT) wrong("beyond MAX_RW_COUNT");
  if (!facts.direct) return;
  if (from % facts.logicalBlockSize !== 0) wrong("misaligned offset on a direct device");
  for (const segment of segments) {
    if (segment.length % facts.logicalBlockSize !== 0) {
      wrong(`${segment.length} bytes in a run on a direct device`);
    }
    if (segment.address % facts.memoryAlignment !== 0) {
      wrong(`memory at ${segment.address} on a direct device`);
    }
  }
}
