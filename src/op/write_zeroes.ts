/**
 * Write zeroes: regions read as zeros, without data from memory (`REQ_OP_WRITE_ZEROES`).
 *
 * @module
 */

import { EINVAL, EIO, ENOTTY, EOPNOTSUPP } from "../../ffi/errno.ts";
import {
  BLKZEROOUT,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  IORING_OP_WRITEV,
} from "../../ffi/uapi.ts";
import { abilitiesOf } from "../device/device.ts";
import { type Abilities, BY_HOLE, BY_IOCTL, BY_WRITES, BY_ZERO_RANGE } from "../device/abilities.ts";
import type { Engine } from "../engine/engine.ts";
import type { Sqe } from "../engine/sqe.ts";
import { zeros } from "../memory/zeros.ts";
import { AGAIN, DONE, MAX_REGIONS, type Operation, type Outcome, type Transfer } from "../schedule/io.ts";
import { inBytes, MOST_BYTES } from "./data.ts";
import { clear, failed, fallocate, ioctl, place, wholeBlocks } from "./range.ts";

/** The most bytes of one call. The kernel writes zeros as data where a device makes none, and a call over a whole disk would take hours. */
const MOST_ZEROED = 64 << 20;

/**
 * Makes regions read as zeros: by `fallocate(2)`; by `BLKZEROOUT` where a block device refuses `fallocate` (ZFS volumes); by writing zeros as
 * data where a block device refuses both, or a file system refuses `fallocate` (tmpfs).
 */
export const writeZeroes: Operation = {
  name: "write of zeroes",
  writes: true,
  data: false,
  mostRegions: MAX_REGIONS,
  locates: false,
  clears: true,
  options: ["unmap", "fallback"],
  span: inBytes,
  refuses: ({ device, io }) => {
    if (io.fallback) return 0;
    const { makesZeroes, zeroes } = abilitiesOf(device);
    return makesZeroes && zeroes === BY_ZERO_RANGE ? 0 : EOPNOTSUPP;
  },
  next: ({ end, issued }) => Math.min(end - issued, MOST_ZEROED),
  prep(transfer, sqe, engine) {
    transfer.fixed = false;
    const { device, io } = transfer.region!;
    const way = transfer.way = wayOf(abilitiesOf(device), io.unmap);
    switch (way) {
      case BY_HOLE:
        return fallocate(transfer, sqe, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
      case BY_ZERO_RANGE:
        return fallocate(transfer, sqe, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
      case BY_IOCTL:
        return ioctl(transfer, sqe, BLKZEROOUT);
      default:
        return writeZeros(transfer, sqe, engine);
    }
  },
  complete(transfer, result) {
    if (result < 0) return refused(transfer, -result);
    return transfer.way === BY_WRITES ? written(transfer, result) : DONE;
  },
  giveUp() {},
};

function wayOf({ zeroes, holes }: Abilities, unmap: boolean): Abilities["zeroes"] | typeof BY_HOLE {
  return unmap && holes && zeroes === BY_ZERO_RANGE ? BY_HOLE : zeroes;
}

// Chooses the next way when a device refuses this one. Several transfers of this way may be in flight: only the first one to be refused
// changes the ability.
function refused(transfer: Transfer, errno: number): Outcome {
  const { device, io } = transfer.region!;
  const unknown = errno === EOPNOTSUPP || errno === ENOTTY || errno === EINVAL && transfer.way === BY_IOCTL;
  if (!unknown || !io.fallback || transfer.way === BY_WRITES) return failed(transfer, errno);
  const abilities = abilitiesOf(device);
  if (transfer.way === BY_HOLE) abilities.holes = false;
  else if (transfer.way === abilities.zeroes) {
    abilities.zeroes = device.isBlockDevice && transfer.way === BY_ZERO_RANGE ? BY_IOCTL : BY_WRITES;
  }
  return AGAIN;
}

function writeZeros(transfer: Transfer, sqe: Sqe, engine: Engine): void {
  transfer.requested = Math.min(transfer.end - transfer.offset, Math.max(MOST_BYTES, transfer.block));
  clear(sqe);
  sqe.opcode = IORING_OP_WRITEV;
  sqe.segments = zeros(transfer.requested);
  sqe.segment = sqe.segmentAt = 0;
  sqe.bytes = transfer.requested;
  place(transfer, sqe);
  const { arena, length } = sqe.segments;
  for (let left = transfer.requested, i = 0; left > 0; left -= length[i++]!) {
    engine.vector(arena[i]!.address, Math.min(left, length[i]!));
  }
  engine.useVectors(sqe);
}

// Takes in a write of zeros. A short one is continued.
function written(transfer: Transfer, result: number): Outcome {
  const whole = wholeBlocks(transfer, result);
  if (whole === 0) return failed(transfer, EIO);
  transfer.offset += whole;
  transfer.requested = transfer.end - transfer.offset;
  return transfer.requested === 0 ? DONE : AGAIN;
}
