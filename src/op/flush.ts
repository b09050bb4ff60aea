/**
 * Flush: puts all data that was written before on the medium (`REQ_OP_FLUSH`).
 *
 * @module
 */

import { IORING_FSYNC_DATASYNC, IORING_OP_FSYNC } from "../../ffi/uapi.ts";
import { DONE, MAX_REGIONS, type Operation } from "../schedule/io.ts";
import { clear, ended } from "./range.ts";

/**
 * Flushes the device of each region (`fdatasync(2)`): first the dirty pages of the page cache, then the device's cache. A flush is never tried
 * twice, whatever its error number: the kernel reports once that it could not write a page (errseq_t), with any number that a driver or a
 * file system gave. A second flush would succeed though the data is lost.
 */
export const flush: Operation = {
  name: "flush",
  writes: false,
  data: false,
  mostRegions: MAX_REGIONS,
  locates: false,
  clears: false,
  options: [],
  span: () => 0,
  refuses: null,
  next: () => 0,
  prep(transfer, sqe) {
    clear(sqe);
    sqe.opcode = IORING_OP_FSYNC;
    sqe.opFlags = IORING_FSYNC_DATASYNC;
    transfer.fixed = false;
  },
  complete: (transfer, result) => result >= 0 ? DONE : ended(transfer, -result),
  giveUp() {},
};
