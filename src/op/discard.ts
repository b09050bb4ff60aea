/**
 * Discard: the contents of regions become undefined, and their space is free (`REQ_OP_DISCARD`).
 *
 * @module
 */

import { EINVAL, EOPNOTSUPP } from "../../ffi/errno.ts";
import {
  BLKDISCARD,
  BLOCK_URING_CMD_DISCARD,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  IORING_OP_URING_CMD,
  IOSQE_ASYNC,
} from "../../ffi/uapi.ts";
import { abilitiesOf } from "../device/device.ts";
import { BY_COMMAND, BY_HOLE, BY_IOCTL, NOT } from "../device/abilities.ts";
import type { Sqe } from "../engine/sqe.ts";
import { AGAIN, DONE, MAX_REGIONS, type Operation, type Transfer } from "../schedule/io.ts";
import { inBytes } from "./data.ts";
import { clear, failed, fallocate, firstByte, ioctl } from "./range.ts";

/**
 * Discards regions: by the ring's command (Linux 6.12), else by `BLKDISCARD`; a file gets a hole. A device that cannot is remembered, and
 * answers `EOPNOTSUPP` without being asked again.
 */
export const discard: Operation = {
  name: "discard",
  writes: true,
  data: false,
  mostRegions: MAX_REGIONS,
  locates: false,
  wholeBlocks: true,
  options: [],
  span: inBytes,
  refuses: ({ device }) => abilitiesOf(device).discard === NOT ? EOPNOTSUPP : 0,
  next: ({ device, end, issued }) => Math.min(end - issued, abilitiesOf(device).mostDiscarded),
  prep(transfer, sqe) {
    transfer.fixed = false;
    // Several transfers of one device may be in flight when the first of them is refused, and one may try another way alone.
    if (transfer.way !== BY_IOCTL) transfer.way = abilitiesOf(transfer.region!.device).discard;
    switch (transfer.way) {
      case BY_HOLE:
        return fallocate(transfer, sqe, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
      case BY_COMMAND:
        return command(transfer, sqe);
      default:
        return ioctl(transfer, sqe, BLKDISCARD);
    }
  },
  complete(transfer, result) {
    const abilities = abilitiesOf(transfer.region!.device);
    if (result >= 0) {
      // The ioctl does what the command refused.
      if (transfer.way === BY_IOCTL) abilities.discard = BY_IOCTL;
      return DONE;
    }
    const errno = -result;
    // Kernels before 5.19 know no commands of files (EINVAL); later ones may lack this one. The ioctl tells what it is.
    if (transfer.way === BY_COMMAND && (errno === EOPNOTSUPP || errno === EINVAL)) {
      transfer.way = BY_IOCTL;
      return AGAIN;
    }
    if (errno === EOPNOTSUPP) abilities.discard = NOT;
    return failed(transfer, errno);
  },
  giveUp() {},
};

function command(transfer: Transfer, sqe: Sqe): void {
  clear(sqe);
  sqe.opcode = IORING_OP_URING_CMD;
  // On a worker of the kernel: this thread may not wait, and a driver that always may wait (zram) refuses what may not with EOPNOTSUPP.
  sqe.flags |= IOSQE_ASYNC;
  sqe.offsetLow = BLOCK_URING_CMD_DISCARD;
  sqe.address = firstByte(transfer);
  sqe.address3 = transfer.requested;
}
