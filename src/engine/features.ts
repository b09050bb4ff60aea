/**
 * The engine that runs, and what a kernel may offer to a ring.
 *
 * @module
 */

/** What the kernel offers and the engine uses; what is `false` was refused and is done without. */
export interface EngineFeatures {
  /** What carries the I/O: a ring; threads that make system calls; or nothing yet, as no device of the client needs it. */
  readonly engine: "io_uring" | "threads" | "none";
  /** Why there is no ring, and what to do about it. */
  readonly ioUringRefused?: string;
  /** Why system calls wait: all threads are in calls that have not returned, as those of hung devices do not. */
  readonly threadsBusy?: string;
  /** Without a ring: the kernel's asynchronous I/O (`io_submit`) for devices that are open with `direct`; no thread makes those calls. */
  readonly kernelAio?: boolean;
  /** `IORING_SETUP_SINGLE_ISSUER`: only this thread submits (Linux 6.0). */
  readonly singleIssuer: boolean;
  /** `IORING_SETUP_DEFER_TASKRUN`: completions are made when asked for, not by interrupt (Linux 6.1). */
  readonly deferTaskrun: boolean;
  /** `IORING_SETUP_COOP_TASKRUN`: no interrupt to run completions (Linux 5.19). */
  readonly coopTaskrun: boolean;
  /** A sparse table of fixed buffers, so that the pool's pages are mapped once (Linux 5.19). */
  readonly fixedBuffers: boolean;
  /** Why the pool's pages, or some of them, are not fixed buffers though the kernel has such: what limits locked memory. */
  readonly fixedBuffersRefused?: string;
  /** A sparse table of registered files (Linux 5.19). */
  readonly fixedFiles: boolean;
  /** `IORING_OP_READ` and `IORING_OP_WRITE` (Linux 5.6); without them every SQE carries an iovec. */
  readonly plainOpcodes: boolean;
  /** `IORING_FEAT_EXT_ARG`: a wait can carry a timeout (Linux 5.11). */
  readonly extArg: boolean;
}

/** The features of a client without an engine of its own: none of its devices needs one yet. */
export const NO_FEATURES: EngineFeatures = {
  engine: "none",
  singleIssuer: false,
  deferTaskrun: false,
  coopTaskrun: false,
  fixedBuffers: false,
  fixedFiles: false,
  plainOpcodes: false,
  extArg: false,
};
