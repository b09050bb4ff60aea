/**
 * The engine that runs, and what a kernel may offer to a ring.
 *
 * @module
 */

/** Which engine a client has, and what it uses of the kernel. A feature that is `false` is not there, and the client works without it. */
export interface EngineFeatures {
  /** What carries the I/O: a ring (`"io_uring"`), system calls (`"threads"`), or `"none"`, while no page or device of the client needs either. */
  readonly engine: "io_uring" | "threads" | "none";
  /** Why there is no ring, and what to do about it. */
  readonly ioUringRefused?: string;
  /** Why system calls wait for a thread, while they do: all threads are in calls that have not returned, as to hung devices. */
  readonly threadsBusy?: string;
  /** Without a ring: whether reads and writes of `direct` devices go by the kernel's asynchronous I/O (`io_submit`), which needs no thread. */
  readonly kernelAio?: boolean;
  /** `IORING_SETUP_SINGLE_ISSUER`: only this thread submits (Linux 6.0). */
  readonly singleIssuer: boolean;
  /** `IORING_SETUP_DEFER_TASKRUN`: completions are made when the program enters the kernel, not by interrupt (Linux 6.1). */
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

/** The features of a client that has no engine of its own, as none of its pages or devices needs one. */
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
