/**
 * Write: the same memory to each region (`REQ_OP_WRITE`).
 *
 * @module
 */

import { IORING_OP_WRITE, IORING_OP_WRITE_FIXED, IORING_OP_WRITEV } from "../../ffi/uapi.ts";
import { MAX_REGIONS, type Operation } from "../schedule/io.ts";
import { completeData, inBytes, nextRun, prepData } from "./data.ts";

const OPCODES = { fixed: IORING_OP_WRITE_FIXED, plain: IORING_OP_WRITE, vectored: IORING_OP_WRITEV };

/** Writes memory to each region, from the memory's start. A dying device gets no search for its bad block. */
export const write: Operation = {
  name: "write",
  writes: true,
  mostRegions: MAX_REGIONS,
  locates: false,
  data: true,
  clears: false,
  options: ["locate", "ioprio", "preflush", "fua"],
  span: inBytes,
  refuses: null,
  next: (region) => nextRun(region),
  prep: (transfer, sqe, engine) => prepData(OPCODES, transfer, sqe, engine),
  complete: completeData,
  giveUp() {},
};
