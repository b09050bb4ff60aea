/**
 * An io_uring: SQEs filled and CQEs reaped in mapped memory, one system call a batch.
 *
 * @module
 */

import { EAGAIN, EBUSY, EINTR, ENOMEM, ETIME, SystemError } from "../../ffi/errno.ts";
import { EventFd } from "../../ffi/eventfd.ts";
import type { Completions, Engine } from "./engine.ts";
import type { EngineFeatures } from "./features.ts";
import type { Sqe } from "./sqe.ts";
import {
  __kernel_timespec,
  io_uring,
  io_uring_cqe,
  io_uring_getevents_arg,
  io_uring_sqe,
} from "../../ffi/layout.ts";
import { io_uring_params, iovec, pollfd } from "../../ffi/layout.ts";
import { libc } from "../../ffi/libc.ts";
import { liburing } from "../../ffi/liburing.ts";
import { MappedMemory, viewOf } from "../../ffi/memory.ts";
import { memlockAdvice, probePlainOpcodes, type Setup, setUp } from "./setup.ts";
import {
  IORING_CQ_EVENTFD_DISABLED,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_EXT_ARG,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SQ_CQ_OVERFLOW,
  IORING_SQ_TASKRUN,
  POLLIN,
} from "../../ffi/uapi.ts";

/** iovecs that one batch of SQEs may name: four of the longest arrays the kernel takes (`UIO_MAXIOV`, 1024). */
const VECTORS = 4096;
/** Places in the tables of fixed buffers and files. */
const TABLE_ENTRIES = 256;

// Byte offsets in the one mapping that holds what is passed by address; the struct io_uring is at 0.
const PARAMS = 256;
const GETEVENTS_ARG = 384;
const TIMESPEC = 448;
const SCRATCH = 1024;

const SQE_WORDS = io_uring_sqe.size / 4;
const CQE_WORDS = io_uring_cqe.size / 4;

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

  // First of all, so that nothing is mapped yet when there is no liburing.
  readonly #enter = liburing().io_uring_enter;
  readonly #yield = libc().sched_yield;
  // One mapping holds every structure that is passed by address, so that none of them ever moves.
  readonly #structs = new MappedMemory(8192);
  readonly #view = new DataView(this.#structs.buffer);
  readonly #ring: Deno.PointerObject = this.#structs.pointer;
  readonly #scratch: Deno.PointerObject;
  readonly #iovecs = new MappedMemory(VECTORS * iovec.size);
  readonly #iovecWords = new Uint32Array(this.#iovecs.buffer);
  readonly #event: EventFd;
  readonly #fd: number;
  readonly #setup: Setup;
  readonly #sqEntries: number;
  readonly #sqTail: Uint32Array;
  readonly #sqFlags: Uint32Array;
  readonly #sqes: Uint32Array;
  readonly #cqMask: number;
  readonly #cqHead: Uint32Array;
  readonly #cqTail: Uint32Array;
  readonly #cqFlags: Uint32Array;
  readonly #cqes: Int32Array;

  #tail = 0;
  #queued = 0;
  #vectors = 0;
  #vectorStart = 0;
  #woken = false;
  #closed = false;

  /**
   * @param entries Entries of the submission queue.
   * @param completions Entries of the completion queue, no fewer. Default: twice as many.
   * @throws {SystemError} When the kernel refuses, with the cause and the way out.
   */
  constructor(entries: number, completions: number = 2 * entries) {
    try {
      this.#scratch = Deno.UnsafePointer.offset(this.#ring, SCRATCH) as Deno.PointerObject;
      const params = Deno.UnsafePointer.offset(this.#ring, PARAMS);
      this.#setup = setUp(
        entries,
        completions,
        this.#ring,
        params,
        new DataView(this.#structs.buffer, PARAMS, io_uring_params.size),
      );
    } catch (error) {
      this.#structs[Symbol.dispose]();
      this.#iovecs[Symbol.dispose]();
      throw error;
    }
    const { sqEntries, cqEntries, flags, features } = this.#setup;
    this.#fd = this.#view.getInt32(io_uring.ring_fd, true);
    this.#sqEntries = sqEntries;
    this.#cqMask = cqEntries - 1;
    this.capacity = cqEntries;
    this.#sqTail = new Uint32Array(this.#field("sq.ktail", 4));
    this.#sqFlags = new Uint32Array(this.#field("sq.kflags", 4));
    this.#sqes = new Uint32Array(this.#field("sq.sqes", sqEntries * io_uring_sqe.size));
    this.#cqHead = new Uint32Array(this.#field("cq.khead", 4));
    this.#cqTail = new Uint32Array(this.#field("cq.ktail", 4));
    this.#cqFlags = new Uint32Array(this.#field("cq.kflags", 4));
    this.#cqes = new Int32Array(this.#field("cq.cqes", cqEntries * io_uring_cqe.size));
    // The array maps queue places to SQEs; ours is the identity. A liburing that set up a ring without it leaves it null.
    if (this.#view.getBigUint64(io_uring["sq.array"], true) !== 0n) {
      const array = new Uint32Array(this.#field("sq.array", sqEntries * 4));
      for (let i = 0; i < sqEntries; i++) array[i] = i;
    }
    this.completions = {
      userData: new Uint32Array(cqEntries),
      generation: new Uint32Array(cqEntries),
      result: new Int32Array(cqEntries),
    };
    try {
      this.#event = EventFd.share();
    } catch (error) {
      this.#free();
      throw error;
    }
    Atomics.store(this.#cqFlags, 0, IORING_CQ_EVENTFD_DISABLED);
    try {
      const { io_uring_register_eventfd, io_uring_register_buffers_sparse, io_uring_register_files_sparse } =
        liburing();
      const refused = io_uring_register_eventfd(this.#ring, this.#event.fd);
      if (!taken(refused, "an eventfd")) {
        throw new SystemError(
          "io_uring_register",
          -refused,
          "the ring takes no eventfd to wake the event loop by",
        );
      }
      this.#allowWorkers();
      const scratch = new DataView(this.#structs.buffer, SCRATCH);
      this.features = {
        singleIssuer: (flags & IORING_SETUP_SINGLE_ISSUER) !== 0,
        deferTaskrun: (flags & IORING_SETUP_DEFER_TASKRUN) !== 0,
        coopTaskrun: (flags & IORING_SETUP_COOP_TASKRUN) !== 0,
        fixedBuffers: taken(io_uring_register_buffers_sparse(this.#ring, TABLE_ENTRIES), "fixed buffers"),
        fixedFiles: taken(io_uring_register_files_sparse(this.#ring, TABLE_ENTRIES), "registered files"),
        plainOpcodes: probePlainOpcodes(this.#fd, this.#scratch, scratch),
        extArg: (features & IORING_FEAT_EXT_ARG) !== 0,
      };
    } catch (error) {
      void this.close();
      throw error;
    }
  }

  /** SQEs that the kernel has not taken yet. */
  get queued(): number {
    return this.#queued;
  }

  /** SQEs that fit before a submit. */
  get room(): number {
    return this.#sqEntries - this.#queued;
  }

  /** iovecs that fit before a submit. */
  get vectorRoom(): number {
    return VECTORS - this.#vectors;
  }

  /** Copies an SQE into the queue: all 64 bytes, so that nothing of an earlier one stays. */
  push(sqe: Sqe): void {
    const sqes = this.#sqes;
    const at = (this.#tail & (this.#sqEntries - 1)) * SQE_WORDS;
    const { address } = sqe;
    sqes[at] = sqe.opcode | sqe.flags << 8 | sqe.ioprio << 16;
    sqes[at + io_uring_sqe.fd / 4] = sqe.fd;
    sqes[at + io_uring_sqe.off / 4] = sqe.offsetLow;
    sqes[at + io_uring_sqe.off / 4 + 1] = sqe.offsetHigh;
    sqes[at + io_uring_sqe.addr / 4] = address >>> 0;
    sqes[at + io_uring_sqe.addr / 4 + 1] = address / 2 ** 32;
    sqes[at + io_uring_sqe.len / 4] = sqe.length;
    sqes[at + io_uring_sqe.rw_flags / 4] = sqe.opFlags;
    sqes[at + io_uring_sqe.user_data / 4] = sqe.userData;
    sqes[at + io_uring_sqe.user_data / 4 + 1] = sqe.generation;
    // buf_index and personality share a word.
    sqes[at + io_uring_sqe.buf_index / 4] = sqe.bufferIndex;
    sqes[at + io_uring_sqe.file_index / 4] = 0;
    sqes[at + io_uring_sqe.addr3 / 4] = 0;
    sqes[at + io_uring_sqe.addr3 / 4 + 1] = 0;
    sqes[at + io_uring_sqe.__pad2 / 4] = 0;
    sqes[at + io_uring_sqe.__pad2 / 4 + 1] = 0;
    this.#tail = (this.#tail + 1) >>> 0;
    this.#queued++;
  }

  /** Adds an iovec to the array under construction. */
  vector(address: number, length: number): void {
    const words = this.#iovecWords;
    const at = this.#vectors++ * (iovec.size / 4);
    words[at] = address >>> 0;
    words[at + 1] = address / 2 ** 32;
    words[at + iovec.iov_len / 4] = length;
    words[at + iovec.iov_len / 4 + 1] = 0;
  }

  /** Points an SQE at the iovecs added since the last call. */
  useVectors(sqe: Sqe): void {
    sqe.address = this.#iovecs.address + this.#vectorStart * iovec.size;
    sqe.length = this.#vectors - this.#vectorStart;
    this.#vectorStart = this.#vectors;
  }

  /** Gives queued SQEs to the kernel, and runs the completions that it has put off. */
  submit(): number {
    if (this.#queued === 0) {
      // The kernel says in mapped memory when there is something to run: no system call to find out that there is not.
      const flags = Atomics.load(this.#sqFlags, 0);
      if ((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) === 0) return 0;
    } else {
      Atomics.store(this.#sqTail, 0, this.#tail);
    }
    return this.#taken(this.#enter(this.#fd, this.#queued, 0, IORING_ENTER_GETEVENTS, null));
  }

  /** Copies CQEs out and frees their places. */
  reap(): number {
    const head = this.#cqHead[0]!;
    const count = (Atomics.load(this.#cqTail, 0) - head) >>> 0;
    if (count === 0) return 0;
    // Whoever waits for this CQE in `waitAsync` is not to wait on: its signal comes, and nothing may come after it.
    this.#woken = true;
    const { userData, generation, result } = this.completions;
    const cqes = this.#cqes;
    for (let i = 0; i < count; i++) {
      const at = ((head + i) & this.#cqMask) * CQE_WORDS;
      userData[i] = cqes[at]!;
      generation[i] = cqes[at + 1]!;
      result[i] = cqes[at + io_uring_cqe.res / 4]!;
    }
    Atomics.store(this.#cqHead, 0, head + count);
    return count;
  }

  /** Submits and sleeps until a CQE is there, a signal comes, or the time is up. */
  wait(timeout?: number): void {
    Atomics.store(this.#sqTail, 0, this.#tail);
    if (timeout === undefined) {
      this.#taken(this.#enter(this.#fd, this.#queued, 1, IORING_ENTER_GETEVENTS, null));
    } else if (this.features.extArg) {
      const flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
      const arg = this.#timeoutArg(timeout);
      this.#taken(
        liburing().io_uring_enter2(
          this.#fd,
          this.#queued,
          1,
          flags,
          arg,
          BigInt(io_uring_getevents_arg.size),
        ),
      );
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

  /** Resolves when a CQE may be there: the kernel signals the eventfd while this is under way, and only then. */
  async waitAsync(): Promise<void> {
    this.#woken = false;
    Atomics.store(this.#cqFlags, 0, 0);
    // All rings of the thread share the eventfd: a signal may be another's.
    while (!this.#closed && !this.#woken && !this.#pending) await this.#event.wait();
    if (!this.#closed) Atomics.store(this.#cqFlags, 0, IORING_CQ_EVENTFD_DISABLED);
  }

  /** Ends a `waitAsync`. */
  wake(): void {
    this.#woken = true;
    this.#event.signal();
  }

  get #pending(): boolean {
    return Atomics.load(this.#cqTail, 0) !== this.#cqHead[0] ||
      (Atomics.load(this.#sqFlags, 0) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Fills or empties a place of the table of fixed buffers. */
  registerBuffer(index: number, address: number, length: number): number {
    const at = SCRATCH + iovec.iov_base;
    this.#view.setBigUint64(at, BigInt(address), true);
    this.#view.setBigUint64(at + iovec.iov_len, BigInt(length), true);
    const done = liburing().io_uring_register_buffers_update_tag(this.#ring, index, this.#scratch, null, 1);
    return done === 1 ? 0 : done;
  }

  /** Fills or empties a place of the table of files. */
  registerFile(index: number, fd: number): number {
    this.#view.setInt32(SCRATCH, fd, true);
    const done = liburing().io_uring_register_files_update(this.#ring, index, this.#scratch, 1);
    return done === 1 ? 0 : done;
  }

  /** Frees the ring, its memory and its eventfd. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#free();
    await this.#event.release();
  }

  #free(): void {
    liburing().io_uring_queue_exit(this.#ring);
    this.#structs[Symbol.dispose]();
    this.#iovecs[Symbol.dispose]();
  }

  // What can't be done without blocking, the kernel hands to workers, of which it allows few by default (8 on two cores): a file
  // that hangs would take them all. Linux 5.15 and later can be asked for as many as there is I/O; others do as they do.
  #allowWorkers(): void {
    this.#view.setUint32(SCRATCH, this.capacity, true);
    this.#view.setUint32(SCRATCH + 4, 0, true);
    liburing().io_uring_register_iowq_max_workers(this.#ring, this.#scratch);
    this.#view.setBigUint64(SCRATCH, 0n, true);
  }

  // What io_uring_enter returned: SQEs taken, or -errno. Nothing is lost either way: the rest stays queued.
  #taken(result: number): number {
    if (result >= 0) {
      this.#queued -= result;
      if (this.#queued === 0) this.#vectors = this.#vectorStart = 0;
      return result;
    }
    switch (-result) {
      case EINTR: // a signal came first
      case EAGAIN: // no memory for requests right now
      case EBUSY: // completions must be reaped first
      case ETIME: // the wait's time is up
        return 0;
      default:
        throw new SystemError("io_uring_enter", -result, "the ring can no longer be used");
    }
  }

  #timeoutArg(microseconds: number): Deno.PointerValue {
    const seconds = Math.floor(microseconds / 1e6);
    this.#view.setBigInt64(TIMESPEC + __kernel_timespec.tv_sec, BigInt(seconds), true);
    this.#view.setBigInt64(
      TIMESPEC + __kernel_timespec.tv_nsec,
      BigInt(Math.ceil((microseconds - seconds * 1e6) * 1000)),
      true,
    );
    this.#view.setBigUint64(
      GETEVENTS_ARG + io_uring_getevents_arg.ts,
      BigInt(this.#structs.address + TIMESPEC),
      true,
    );
    return Deno.UnsafePointer.offset(this.#ring, GETEVENTS_ARG);
  }

  #field(name: Exclude<keyof typeof io_uring, "size" | "ring_fd">, bytes: number): ArrayBuffer {
    return viewOf(Number(this.#view.getBigUint64(io_uring[name], true)), bytes);
  }
}

// Whether the kernel took what was to be registered. What it does not know is done without; for want of memory nothing is.
function taken(result: number, what: string): boolean {
  if (result === -ENOMEM) {
    throw new SystemError("io_uring_register", ENOMEM, `no memory for ${what}. ${memlockAdvice()}`);
  }
  return result >= 0;
}
