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
import { abilitiesOf, BY_COMMAND, BY_HOLE, BY_IOCTL, NOT } from "../device/abilities.ts";
import { AGAIN, DONE, MAX_REGIONS, type Operation } from "../schedule/io.ts";
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
    const { discard } = abilitiesOf(transfer.region!.device);
    // Several transfers of one device may be in flight when the first of them is refused.
    transfer.way = discard;
    if (discard === BY_HOLE) return fallocate(transfer, sqe, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    if (discard !== BY_COMMAND) return ioctl(transfer, sqe, BLKDISCARD);
    clear(sqe);
    sqe.opcode = IORING_OP_URING_CMD;
    // On a worker of the kernel: this thread may not wait, and a driver that always may wait (zram) refuses what may not with EOPNOTSUPP.
    sqe.flags |= IOSQE_ASYNC;
    sqe.offsetLow = BLOCK_URING_CMD_DISCARD;
    sqe.address = firstByte(transfer);
    sqe.address3 = transfer.requested;
  },
  complete(transfer, result) {
    if (result >= 0) return DONE;
    const abilities = abilitiesOf(transfer.region!.device);
    const errno = -result;
    // Kernels before 5.19 know no commands of files (EINVAL); others may lack this one. The ioctl tells whether the device discards.
    if (transfer.way === BY_COMMAND && (errno === EOPNOTSUPP || errno === EINVAL)) {
      if (abilities.discard === BY_COMMAND) abilities.discard = BY_IOCTL;
      return abilities.discard === NOT ? failed(transfer, EOPNOTSUPP) : AGAIN;
    }
    if (errno === EOPNOTSUPP) abilities.discard = NOT;
    return failed(transfer, errno);
  },
  giveUp() {},
};
