/**
 * Read: fills memory from one region (`REQ_OP_READ`).
 *
 * @module
 */

import { IORING_OP_READ, IORING_OP_READ_FIXED, IORING_OP_READV } from "../../ffi/uapi.ts";
import type { Operation } from "../schedule/io.ts";
import { completeData, inBytes, nextRun, prepData } from "./data.ts";

const OPCODES = { fixed: IORING_OP_READ_FIXED, plain: IORING_OP_READ, vectored: IORING_OP_READV };

/** Fills memory from one region: the memory can hold only one. */
export const read: Operation = {
  name: "read",
  writes: false,
  mostRegions: 1,
  locates: true,
  data: true,
  clears: false,
  options: ["locate", "ioprio"],
  span: inBytes,
  refuses: null,
  next: (region) => nextRun(region),
  prep: (transfer, sqe, engine) => prepData(OPCODES, transfer, sqe, engine),
  complete: completeData,
  // Bytes that were not read become zeros (zero_fill_bio in the kernel's dm-io), so that old bytes are not taken for data.
  giveUp(transfer) {
    const { segments } = transfer.region!.io;
    let left = transfer.end - transfer.offset;
    let at = transfer.segmentAt;
    for (let i = transfer.segment; left > 0; i++, at = 0) {
      const run = Math.min(segments.length[i]! - at, left);
      segments.zeroRun(i, at, run);
      left -= run;
    }
  },
};
