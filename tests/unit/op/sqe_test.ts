/** The SQE of each operation without data: what it names, and that nothing of an earlier SQE stays in it. */

import { assertEquals } from "@std/assert";
import { EINVAL, EIO, EOPNOTSUPP } from "../../../ffi/errno.ts";
import {
  BLKDISCARD,
  BLKZEROOUT,
  BLOCK_URING_CMD_DISCARD,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  IORING_FSYNC_DATASYNC,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_URING_CMD,
  IOSQE_ASYNC,
} from "../../../ffi/uapi.ts";
import { BY_HOLE, BY_IOCTL, NOT } from "../../../src/device/abilities.ts";
import { abilitiesOf, type BlockDevice, deviceOfKind } from "../../../src/device/device.ts";
import { OP_IOCTL, Sqe } from "../../../src/engine/sqe.ts";
import { discard } from "../../../src/op/discard.ts";
import { flush } from "../../../src/op/flush.ts";
import { writeZeroes } from "../../../src/op/write_zeroes.ts";
import { AGAIN, FAILED, type Operation, Transfer } from "../../../src/schedule/io.ts";
import { deviceOf, ioOf, RecordingEngine, segmentsOf } from "../parts.ts";

const SECTOR = 2 ** 44 + 3;
const BYTES = 24 * 512;

/** A device whose size is beyond 2^53 bytes. */
function device(isBlockDevice: boolean): BlockDevice {
  const facts = { ...deviceOf({ isBlockDevice }) };
  return deviceOfKind(facts, {
    makeEngine: null,
    sectorsNow: () => facts.sectors,
    inspect: () => facts,
    limits: () => ({ discardMaxBytes: null, writeZeroesMaxBytes: null }),
    sync: () => Promise.resolve(),
    close: () => {},
  });
}

function transferOf(op: Operation, bdev: BlockDevice, unmap = false): Transfer {
  const io = ioOf(op, [], 0, segmentsOf());
  io.unmap = unmap;
  io.ioprio = 3 << 13;
  io.rwFlags = 2;
  io.addRegion(bdev, SECTOR, 24);
  const transfer = new Transfer(0);
  transfer.start(io.regions[0]!, op.next(io.regions[0]!));
  return transfer;
}

/** The fields that are no zeros after an SQE was filled that an earlier one had used. */
function filled(transfer: Transfer): Record<string, unknown> {
  const sqe = new Sqe();
  for (const name of Object.keys(sqe)) if (name !== "segments") Object.assign(sqe, { [name]: 7 });
  Object.assign(sqe, {
    fd: 0,
    flags: 0,
    userData: 0,
    generation: 0,
    segment: 0,
    segmentAt: 0,
    bytes: 0,
    blocks: 0,
  });
  transfer.op.prep(transfer, sqe, new RecordingEngine());
  return Object.fromEntries(Object.entries(sqe).filter(([, value]) => value !== 0 && value !== null));
}

const OFFSET = { offsetLow: 3 * 512, offsetHigh: 2 ** 21 };
const RANGE = { address: SECTOR * 512, address3: BYTES };

Deno.test("a flush names its file, and asks for the data alone", () => {
  assertEquals(filled(transferOf(flush, device(true))), {
    opcode: IORING_OP_FSYNC,
    opFlags: IORING_FSYNC_DATASYNC,
  });
});

Deno.test("a discard is a command of the block device, on a worker; a file gets a hole", () => {
  const command = { opcode: IORING_OP_URING_CMD, flags: IOSQE_ASYNC, offsetLow: BLOCK_URING_CMD_DISCARD };
  assertEquals(filled(transferOf(discard, device(true))), { ...command, ...RANGE });
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  assertEquals(filled(transferOf(discard, device(false))), {
    opcode: IORING_OP_FALLOCATE,
    ...OFFSET,
    address: BYTES,
    length: mode,
  });
});

Deno.test("zeroes are a range, or with unmap a hole; where the device refuses both, an ioctl", () => {
  const bdev = device(true);
  const fallocate = { opcode: IORING_OP_FALLOCATE, ...OFFSET, address: BYTES };
  const hole = transferOf(writeZeroes, bdev, true);
  assertEquals(filled(hole), { ...fallocate, length: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE });
  assertEquals(writeZeroes.complete(hole, -EOPNOTSUPP), AGAIN);
  assertEquals(filled(hole), { ...fallocate, length: FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE });
  assertEquals(writeZeroes.complete(hole, -EOPNOTSUPP), AGAIN);
  const ioctl = { opcode: OP_IOCTL, opFlags: BLKZEROOUT, ...RANGE };
  assertEquals(filled(hole), ioctl);
  // It is remembered.
  assertEquals(filled(transferOf(writeZeroes, bdev, true)), ioctl);
});

Deno.test("a command that the ring lacks is an ioctl from then on, once the ioctl has done it", () => {
  for (const errno of [EOPNOTSUPP, EINVAL]) {
    const bdev = device(true);
    const transfer = transferOf(discard, bdev);
    filled(transfer);
    assertEquals(discard.complete(transfer, -errno), AGAIN);
    assertEquals(filled(transfer), { opcode: OP_IOCTL, opFlags: BLKDISCARD, ...RANGE });
    discard.complete(transfer, 0);
    assertEquals(abilitiesOf(bdev).discard, BY_IOCTL);
  }
});

Deno.test("what the ioctl refuses is remembered as refused, and any other error is the region's", () => {
  const bdev = device(true);
  const transfer = transferOf(discard, bdev);
  filled(transfer);
  assertEquals([discard.complete(transfer, -EIO), transfer.errno], [FAILED, EIO]);
  discard.complete(transfer, -EOPNOTSUPP);
  filled(transfer);
  assertEquals([discard.complete(transfer, -EOPNOTSUPP), transfer.errno], [FAILED, EOPNOTSUPP]);
  assertEquals([abilitiesOf(bdev).discard, discard.refuses!(transfer.region!)], [NOT, EOPNOTSUPP]);
  const file = device(false);
  assertEquals([abilitiesOf(file).discard, discard.refuses!(transferOf(discard, file).region!)], [
    BY_HOLE,
    0,
  ]);
});
