/**
 * Discard: the contents of regions become undefined, and their space becomes free (`REQ_OP_DISCARD`).
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
 * Discards regions: by `BLOCK_URING_CMD_DISCARD` (Linux 6.12), else by `BLKDISCARD`; a file gets a hole. When the last way is refused with
 * `EOPNOTSUPP`, regions of the device fail with that from then on, without any I/O.
 */
export const discard: Operation = {
  name: "discard",
  writes: true,
  data: false,
  mostRegions: MAX_REGIONS,
  locates: false,
  clears: true,
  options: [],
  span: inBytes,
  refuses: ({ device }) => abilitiesOf(device).discard === NOT ? EOPNOTSUPP : 0,
  next: ({ device, end, issued }) => Math.min(end - issued, abilitiesOf(device).mostDiscarded),
  prep(transfer, sqe) {
    transfer.fixed = false;
    // The ability changes only when the ioctl has succeeded. Until then, a transfer whose command was refused keeps its own way.
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
      // The device refuses the command and takes the ioctl: later transfers begin with the ioctl.
      if (transfer.way === BY_IOCTL) abilities.discard = BY_IOCTL;
      return DONE;
    }
    const errno = -result;
    // Kernels before 5.19 have no IORING_OP_URING_CMD (EINVAL), later ones may lack this command. The answer of the ioctl decides.
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
  // A worker of the kernel runs the command, as it may wait. On this thread it may not, and a driver that may have to wait for any discard
  // (zram) refuses it with EOPNOTSUPP.
  sqe.flags |= IOSQE_ASYNC;
  sqe.offsetLow = BLOCK_URING_CMD_DISCARD;
  sqe.address = firstByte(transfer);
  sqe.address3 = transfer.requested;
}
