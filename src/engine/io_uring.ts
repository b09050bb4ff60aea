/**
 * An io_uring: SQEs filled and CQEs reaped in mapped memory, one system call a batch.
 *
 * @module
 */

import { EAGAIN, EBUSY, EINTR, ETIME, SystemError } from "../../ffi/errno.ts";
import { EventFd } from "../../ffi/eventfd.ts";
import { io_uring_getevents_arg, pollfd } from "../../ffi/layout.ts";
import { libc } from "../../ffi/libc.ts";
import { liburing } from "../../ffi/liburing.ts";
import {
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_EXT_ARG,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IOSQE_FIXED_FILE,
  POLLIN,
} from "../../ffi/uapi.ts";
import { AsyncWait } from "./async_wait.ts";
import { CompletionQueue } from "./completion_queue.ts";
import type { Completions, Engine } from "./engine.ts";
import type { EngineFeatures } from "./features.ts";
import { allowWorkers, enterAdvice, probePlainOpcodes, registerEventFd, setUp, tearDown } from "./setup.ts";
import { OP_IOCTL, type Sqe } from "./sqe.ts";
import { Structs } from "./structs.ts";
import { SubmissionQueue } from "./submission_queue.ts";
import { ioctl } from "./system_calls.ts";
import { TABLE_ENTRIES, Tables } from "./tables.ts";
import { ThreadCalls } from "./thread_calls.ts";

/** Microseconds after which a blocking wait looks whether a system call of a thread has ended, as that wakes no ring. */
const THREADS_LOOK = 500;

/** An io_uring of one thread. `src/engine/engine.ts` says what each member promises. */
export class IoUring implements Engine {
  /** The most SQEs queued or in flight: as many as the completion queue holds. */
  readonly capacity: number;
  /** What is in use. */
  readonly features: EngineFeatures;
  /** What `reap` copied out. */
  readonly completions: Completions;
  /** Places of each table that `registerBuffer` and `registerFile` fill. */
  readonly tableEntries: number = TABLE_ENTRIES;

  readonly #enter: ReturnType<typeof liburing>["io_uring_enter"];
  readonly #yield: ReturnType<typeof libc>["sched_yield"];
  readonly #structs: Structs;
  readonly #fd: number;
  readonly #sq: SubmissionQueue;
  readonly #cq: CompletionQueue;
  readonly #tables: Tables;
  readonly #asyncWait: AsyncWait;
  // All that is to be freed, the last taken first.
  readonly #held: DisposableStack;
  readonly #event: EventFd;
  // Made for the first operation that the ring has no opcode for.
  #calls: ThreadCalls | null = null;
  // Whether an asynchronous wait is to be signalled.
  #signalled = false;
  #eventFreed: Promise<void> = Promise.resolve();
  #inFlight = 0;

  /**
   * @param entries Entries of the submission queue.
   * @param completions Entries of the completion queue, no fewer. Default: twice as many.
   * @throws {SystemError} When the kernel refuses, with the cause and the way out.
   */
  constructor(entries: number, completions: number = 2 * entries) {
    // First of all, so that nothing is held yet when there is no liburing.
    this.#enter = liburing().io_uring_enter;
    this.#yield = libc().sched_yield;
    using held = new DisposableStack();
    const structs = this.#structs = held.use(new Structs());
    const setup = held.adopt(setUp(entries, completions, structs), (setup) => tearDown(structs, setup));
    const event = this.#event = EventFd.share();
    held.defer(() => this.#eventFreed = event.release());
    held.defer(() => this.#calls?.close());
    this.#fd = structs.fd;
    this.capacity = setup.cqEntries;
    this.#cq = new CompletionQueue(structs, setup.cqEntries);
    this.#sq = held.use(new SubmissionQueue(structs, setup.sqEntries));
    this.completions = this.#cq.completions;
    registerEventFd(structs, event.fd);
    this.#asyncWait = new AsyncWait(event, {
      ready: () => this.#ready,
      signal: (on) => this.#signals = on,
    });
    held.defer(() => this.#asyncWait.end());
    allowWorkers(structs, this.capacity);
    const tables = this.#tables = held.adopt(new Tables(structs), (it) => it.clear(this.#inFlight > 0));
    this.features = {
      engine: "io_uring",
      singleIssuer: (setup.flags & IORING_SETUP_SINGLE_ISSUER) !== 0,
      deferTaskrun: (setup.flags & IORING_SETUP_DEFER_TASKRUN) !== 0,
      coopTaskrun: (setup.flags & IORING_SETUP_COOP_TASKRUN) !== 0,
      fixedBuffers: tables.fixedBuffers,
      fixedFiles: tables.fixedFiles,
      plainOpcodes: probePlainOpcodes(structs),
      extArg: (setup.features & IORING_FEAT_EXT_ARG) !== 0,
    };
    // A seccomp filter may allow io_uring_setup and refuse io_uring_enter: then the set-up fails here.
    this.#taken(this.#enter(this.#fd, 0, 0, IORING_ENTER_GETEVENTS, null));
    this.#held = held.move();
  }

  /** Only the kernel knows when its next CQE comes. */
  readonly due: number = Infinity;

  /** SQEs that the kernel has taken, and whose CQEs were not reaped. */
  get inFlight(): number {
    return this.#inFlight + (this.#calls?.inFlight ?? 0);
  }

  /** SQEs that the kernel has not taken yet. */
  get queued(): number {
    return this.#sq.queued;
  }

  /** SQEs that fit before a submit. */
  get room(): number {
    return this.#sq.room;
  }

  /** iovecs that fit before a submit. */
  get vectorRoom(): number {
    return this.#sq.vectorRoom;
  }

  /** Copies an SQE into the queue. An `OP_IOCTL`, for which the ring has no opcode, is given to a thread at once. */
  push(sqe: Sqe): void {
    if (sqe.opcode === OP_IOCTL) this.#ioctl(sqe);
    else this.#sq.push(sqe);
  }

  /** Adds an iovec to the array under construction. */
  vector(address: number, length: number): void {
    this.#sq.vector(address, length);
  }

  /** Points an SQE at the iovecs added since the last call. */
  useVectors(sqe: Sqe): void {
    this.#sq.useVectors(sqe);
  }

  /** Gives queued SQEs to the kernel, and runs the completions that it has put off. */
  submit(): number {
    if (this.#sq.queued > 0) this.#sq.publish();
    else if (!this.#sq.kernelHasWork) return 0; // no system call to find out that there is nothing to run
    return this.#taken(this.#enter(this.#fd, this.#sq.queued, 0, IORING_ENTER_GETEVENTS, null));
  }

  /** Copies CQEs out and frees their places. */
  reap(): number {
    let count = this.#cq.reap();
    this.#inFlight -= count;
    if (this.#calls !== null) count += this.#calls.reap(this.completions, count);
    // An asynchronous wait for one of these CQEs is to end: its signal comes, and no other may come after it.
    if (count > 0) this.#asyncWait.reaped = true;
    return count;
  }

  /** Submits and sleeps until a CQE is there, a signal comes, or the time is up. */
  wait(timeout?: number): void {
    if (this.#calls !== null && this.#calls.inFlight > 0) {
      this.#calls.serve();
      if (this.#calls.ready) return void this.submit();
      timeout = Math.min(timeout ?? Infinity, THREADS_LOOK);
    }
    this.#sq.publish();
    const { queued } = this.#sq;
    if (timeout === undefined) {
      this.#taken(this.#enter(this.#fd, queued, 1, IORING_ENTER_GETEVENTS, null));
    } else if (this.features.extArg) {
      const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
      const arg = this.#structs.timeoutArg(timeout);
      const bytes = BigInt(io_uring_getevents_arg.size);
      this.#taken(liburing().io_uring_enter2(this.#fd, queued, 1, flags, arg, bytes));
    } else {
      // A kernel without EXT_ARG (5.10) has no deferred task work either, so poll(2) on the ring sees every completion.
      this.submit();
      const poll = new DataView(new ArrayBuffer(pollfd.size));
      poll.setInt32(pollfd.fd, this.#fd, true);
      poll.setInt16(pollfd.events, POLLIN, true);
      libc().poll(new Uint8Array(poll.buffer), 1n, Math.ceil(timeout / 1000));
    }
  }

  /** Lets others have this core, if they wait for it. */
  relax(): void {
    this.#yield();
  }

  /** Resolves when a CQE may be there. */
  waitAsync(): Promise<void> {
    return this.#asyncWait.begin();
  }

  /** Ends a `waitAsync`. */
  wake(): void {
    this.#asyncWait.end();
  }

  /** Fills or empties a place of the table of fixed buffers. */
  registerBuffer(index: number, address: number, length: number): number {
    return this.#tables.setBuffer(index, address, length);
  }

  /** Fills or empties a place of the table of files. */
  registerFile(index: number, fd: number): number {
    return this.#tables.setFile(index, fd);
  }

  /** Frees the ring, its memory and its eventfd. A second call does nothing more. */
  close(): Promise<void> {
    this.#held.dispose();
    return this.#eventFreed;
  }

  #ioctl(sqe: Sqe): void {
    if (this.#calls === null) {
      this.#calls = new ThreadCalls(this.capacity);
      this.#signals = this.#signalled;
    }
    const calls = this.#calls;
    const fd = (sqe.flags & IOSQE_FIXED_FILE) !== 0 ? this.#tables.fdAt(sqe.fd) : sqe.fd;
    const i = calls.take(sqe);
    ioctl(calls, i, sqe, sqe.opFlags);
    const refused = calls.use(i, fd, 0);
    if (refused < 0) calls.refuse(i, refused);
    else calls.begin(i);
  }

  get #ready(): boolean {
    this.#calls?.serve();
    return this.#cq.ready || this.#sq.kernelHasWork || this.#calls !== null && this.#calls.ready;
  }

  set #signals(on: boolean) {
    this.#signalled = this.#cq.signals = on;
    if (this.#calls !== null) this.#calls.signals = on ? this.#event.fd : -1;
  }

  // What io_uring_enter returned: SQEs taken, or -errno. Nothing is lost either way: the rest stays queued.
  #taken(result: number): number {
    if (result >= 0) {
      this.#sq.took(result);
      this.#inFlight += result;
      return result;
    }
    switch (-result) {
      case EINTR: // a signal came first
      case EAGAIN: // no memory for requests right now
      case EBUSY: // completions must be reaped first
      case ETIME: // the wait's time is up
        return 0;
      default:
        throw new SystemError("io_uring_enter", -result, enterAdvice(-result));
    }
  }
}
