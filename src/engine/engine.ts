/**
 * What the scheduler drives: a queue of SQEs, a batch of CQEs, and two ways to wait. The {@linkcode
 * https://man7.org/linux/man-pages/man7/io_uring.7.html | io_uring} ring is one engine; system calls on threads, disks in RAM, and the
 * seeded simulator of the tests are others.
 *
 * @module
 */

import type { EngineFeatures } from "./features.ts";
import type { Sqe } from "./sqe.ts";

/** The most iovecs that one SQE names (`UIO_MAXIOV` in linux/uio.h). */
export const MAX_VECTORS = 1024;

/** CQEs copied out of the engine by {@linkcode Engine.reap}: entry `i` of each array belongs together. */
export interface Completions {
  /** The low 32 bits of `user_data`, as given to {@linkcode Engine.push}. */
  readonly userData: Uint32Array;
  /** The high 32 bits of `user_data`. */
  readonly generation: Uint32Array;
  /** `cqe.res`: bytes moved, or `-errno`. */
  readonly result: Int32Array;
}

/**
 * A queue of block I/O. All of it is called from one thread, and nothing in it calls back.
 *
 * An engine never loses an SQE: what a `submit` did not take stays queued for the next one. The caller keeps
 * at most {@linkcode Engine.capacity} SQEs between `push` and `reap`.
 */
export interface Engine {
  /** How many SQEs may be queued or in flight at once: no more than the completion queue holds. */
  readonly capacity: number;
  /** What is in use. */
  readonly features: EngineFeatures;
  /** Places in the table of fixed buffers, and in that of files. */
  readonly tableEntries: number;
  /** Where `reap` puts what it took. */
  readonly completions: Completions;
  /** SQEs that are queued and that the kernel has not taken yet. */
  readonly queued: number;
  /** SQEs that were submitted and not yet reaped. */
  readonly inFlight: number;
  /** Microseconds until its next CQE: 0 when there is one, `Infinity` when only the kernel knows, or none is to come. */
  readonly due: number;
  /** SQEs that can be queued before a `submit` is needed. */
  readonly room: number;

  /**
   * Queues a copy of one SQE; there must be `room`. Fields of the kernel's that {@linkcode Sqe} lacks are zeros.
   *
   * @param sqe The operation. It is the caller's again when this returns.
   */
  push(sqe: Sqe): void;

  /** iovecs that {@linkcode Engine.vector} can still hold before a `submit` is needed; with nothing queued, at least 1024. */
  readonly vectorRoom: number;
  /**
   * Adds one iovec to the array under construction; there must be `vectorRoom`. The kernel copies iovecs when it
   * takes the SQE (`IORING_FEAT_SUBMIT_STABLE`), so the array is free again once the batch is submitted.
   */
  vector(address: number, length: number): void;
  /**
   * Points an SQE at the iovecs added since the last call: sets its `address` to the first and its `length` to their number. It is
   * to be pushed next, with `IORING_OP_READV` or `IORING_OP_WRITEV`.
   */
  useVectors(sqe: Sqe): void;

  /**
   * Gives the queued SQEs to the kernel and lets it finish what it can at once; never sleeps.
   *
   * @returns How many SQEs it took. Fewer than were queued means: reap, then call again (`EAGAIN`, `EBUSY`,
   * `EINTR`, or an SQE that the kernel would not start, whose CQE says why).
   */
  submit(): number;

  /** Copies CQEs into `completions` and frees their places. @returns How many; 0 when there is none. */
  reap(): number;

  /**
   * Submits, then sleeps on this thread until a CQE is there.
   *
   * @param timeout Microseconds to sleep at most; may be rounded up, or cut short by a signal. None: no bound.
   */
  wait(timeout?: number): void;

  /** Yields this core to the kernel's threads for a moment, if one of them waits for it: for a caller that polls. */
  relax(): void;

  /**
   * Resolves when a CQE may be there, or at `wake`. One wait at a time. A wait keeps the event loop alive. It resolves in bounded time also
   * when the program blocks all threads of Deno's pool.
   */
  waitAsync(): Promise<void>;
  /** Ends a `waitAsync` that is under way. */
  wake(): void;

  /**
   * Puts memory into place `index` of the table of fixed buffers; a `length` of 0 empties the place. SQEs in
   * flight keep what they name. Blocks for a bounded time while memory that was given up still counts against the limit.
   *
   * @returns 0, or `-errno` (`-ENOMEM`: more than `RLIMIT_MEMLOCK` allows).
   */
  registerBuffer(index: number, address: number, length: number): number;
  /** Puts a file descriptor into place `index` of the table of files; -1 empties it. @returns 0, or `-errno`. */
  registerFile(index: number, fd: number): number;

  /**
   * Frees everything, and what can be freed without waiting before it returns: with nothing in flight and no `waitAsync` that is all.
   * After a fault, SQEs may be in flight.
   *
   * @returns Resolves when no thread waits and no file descriptor is left.
   */
  close(): Promise<void>;
}
