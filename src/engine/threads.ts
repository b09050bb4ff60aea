/**
 * The engine for systems without io_uring. Each operation is a system call. A thread makes the call, or this thread where the call does not
 * wait.
 *
 * @module
 */

import { EAGAIN, EOPNOTSUPP } from "../../ffi/errno.ts";
import { BlockingEventFd, EventFd } from "../../ffi/eventfd.ts";
import { libc } from "../../ffi/libc.ts";
import {
  F_GETFL,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IOSQE_ASYNC,
  IOSQE_FIXED_FILE,
  O_DIRECT,
  RWF_NOWAIT,
} from "../../ffi/uapi.ts";
import { AsyncWait } from "./async_wait.ts";
import { type Completions, type Engine, MAX_VECTORS } from "./engine.ts";
import { type EngineFeatures, NO_FEATURES } from "./features.ts";
import { isAioOpcode, KernelAio } from "./kernel_aio.ts";
import { FILE_ENTRIES } from "./open_files.ts";
import type { Sqe } from "./sqe.ts";
import { RW_FLAGS, translate } from "./system_calls.ts";
import { ThreadCalls } from "./thread_calls.ts";
import { type Vectors, VectorStore } from "./vectors.ts";

/**
 * Microseconds after which a blocking wait looks for events that do not end its sleep: threads that came free, while calls wait for one;
 * completions of asynchronous I/O, while threads are in calls.
 */
const LOOK = 500;

/** The way of a queued call: a thread makes it. */
const BY_THREAD = 0;
/** This thread makes it with `RWF_NOWAIT`: the data is in the page cache, or the answer is `EAGAIN`, and a thread makes the call again. */
const WITHOUT_WAIT = 1;
/** This thread makes it, and stands still until the result is there. */
const BLOCKING = 2;
/** The kernel's asynchronous I/O carries it out. */
const BY_AIO = 3;

/** System calls instead of a ring. `src/engine/engine.ts` says what each member promises. */
export class ThreadsEngine implements Engine {
  readonly capacity: number;
  readonly completions: Completions;
  readonly tableEntries: number = FILE_ENTRIES;
  readonly due: number = Infinity;

  readonly #ioUringRefused: string;
  readonly #calls: ThreadCalls;
  readonly #event: EventFd;
  readonly #sleep: BlockingEventFd;
  readonly #aio: KernelAio | null;
  readonly #asyncWait: AsyncWait;
  readonly #held: DisposableStack;
  readonly #vectorStore = new VectorStore();
  // The array under construction.
  #vectors: Vectors | null = null;
  // By call: its place in the table of files, or -1; its way; the iovecs that it names.
  readonly #place: Int16Array;
  readonly #way: Uint8Array;
  readonly #vectorsOf: (Vectors | null)[];
  // By place in the table of files: whether reads are tried with RWF_NOWAIT, and whether reads and writes go by asynchronous I/O.
  readonly #tries = new Uint8Array(FILE_ENTRIES);
  readonly #asynchronous = new Uint8Array(FILE_ENTRIES);
  readonly #queue: number[] = [];
  #eventFreed: Promise<void> = Promise.resolve();
  // Whether an asynchronous wait is to be signalled.
  #signalled = false;

  /**
   * @param capacity How many SQEs may be queued or in flight.
   * @param ioUringRefused Why there is no ring.
   * @throws {SystemError} When the system has no memory or file descriptor for it.
   */
  constructor(capacity: number, ioUringRefused: string) {
    this.capacity = capacity;
    this.#ioUringRefused = ioUringRefused;
    this.completions = {
      userData: new Uint32Array(capacity),
      generation: new Uint32Array(capacity),
      result: new Int32Array(capacity),
    };
    this.#place = new Int16Array(capacity);
    this.#way = new Uint8Array(capacity);
    this.#vectorsOf = Array(capacity).fill(null);
    using held = new DisposableStack();
    const event = this.#event = EventFd.share();
    held.defer(() => this.#eventFreed = event.release());
    this.#sleep = held.use(new BlockingEventFd());
    held.defer(() => this.#vectorStore.close());
    const calls = this.#calls = held.adopt(new ThreadCalls(capacity), (calls) => calls.close());
    const aio = this.#aio = KernelAio.make(capacity, event.fd);
    held.defer(() => aio?.close());
    this.#asyncWait = new AsyncWait(event, {
      ready: () => {
        calls.serve();
        return this.#ready;
      },
      signal: (on) => {
        this.#signalled = on;
        calls.signals = on ? event.fd : -1;
        // Each completion of asynchronous I/O signals, also while nothing waits.
        if (on && aio !== null) event.drain();
      },
    });
    held.defer(() => this.#asyncWait.end());
    this.#held = held.move();
  }

  get features(): EngineFeatures {
    const { busy } = this.#calls;
    return {
      ...NO_FEATURES,
      engine: "threads",
      ioUringRefused: this.#ioUringRefused,
      ...busy === null ? {} : { threadsBusy: busy },
      kernelAio: this.#aio !== null,
      fixedFiles: true,
      plainOpcodes: true,
    };
  }

  get queued(): number {
    return this.#queue.length;
  }

  get inFlight(): number {
    return this.#calls.inFlight + (this.#aio?.inFlight ?? 0);
  }

  get room(): number {
    return this.capacity - this.#queue.length - this.inFlight;
  }

  get vectorRoom(): number {
    return MAX_VECTORS - (this.#vectors?.count ?? 0);
  }

  vector(address: number, length: number): void {
    (this.#vectors ??= this.#vectorStore.take()).add(address, length);
  }

  useVectors(sqe: Sqe): void {
    const vectors = this.#vectors!;
    sqe.address = vectors.address;
    sqe.length = vectors.count;
  }

  push(sqe: Sqe): void {
    const calls = this.#calls;
    const i = calls.take(sqe);
    translate(calls, i, sqe);
    this.#vectorsOf[i] = this.#vectors;
    this.#vectors = null;
    const fixed = (sqe.flags & IOSQE_FIXED_FILE) !== 0;
    const place = this.#place[i] = fixed ? sqe.fd : -1;
    const way = this.#way[i] = this.#wayOf(sqe, place);
    if (way === BY_AIO) {
      this.#aio!.fill(i, sqe, calls.fdAt(place));
      return void this.#queue.push(i);
    }
    const refused = calls.use(i, sqe.fd, sqe.flags);
    if (refused < 0) calls.refuse(i, refused);
    else this.#queue.push(i);
  }

  /** Begins the queued calls. This thread makes the calls that do not wait, and the last call of a blocking request. */
  submit(): number {
    const queue = this.#queue;
    const count = queue.length;
    if (count === 0) return 0;
    const calls = this.#calls;
    const tries: number[] = [];
    const asynchronous: number[] = [];
    let last = -1;
    for (const i of queue) {
      switch (this.#way[i]) {
        case WITHOUT_WAIT:
          calls.setArgument(i, RW_FLAGS, RWF_NOWAIT);
          tries.push(i);
          break;
        case BY_AIO:
          asynchronous.push(i);
          break;
        case BLOCKING:
          // Several devices work side by side: threads make all but the last call.
          if (last >= 0) calls.begin(last);
          last = i;
          break;
        default:
          calls.begin(i);
      }
    }
    queue.length = 0;
    if (asynchronous.length > 0) this.#submitAio(asynchronous);
    if (tries.length > 0) calls.run(tries);
    if (last >= 0) calls.run([last]);
    return count;
  }

  #submitAio(operations: readonly number[]): void {
    const aio = this.#aio;
    for (let from = 0; from < operations.length && aio !== null;) {
      from += aio.submit(operations, from);
      if (from < operations.length && aio.refusal !== 0) this.#beginInstead(operations[from++]!, aio.refusal);
    }
  }

  // Has a thread make the call that asynchronous I/O refused.
  #beginInstead(i: number, errno: number): void {
    const place = this.#place[i]!;
    // The file's driver or file system has no I/O without waiting: it is not tried again.
    if (errno === EOPNOTSUPP) this.#asynchronous[place] = 0;
    this.#way[i] = BY_THREAD;
    this.#calls.use(i, place, IOSQE_FIXED_FILE);
    this.#calls.begin(i);
  }

  reap(): number {
    const calls = this.#calls;
    const aio = this.#aio;
    let count = 0;
    if (aio !== null) {
      for (let i = aio.next(); i >= 0; i = aio.next()) {
        const { result } = aio;
        if (result === -EAGAIN || result === -EOPNOTSUPP) {
          this.#beginInstead(i, -result);
          continue;
        }
        this.#giveVectors(i);
        calls.finish(i, result, this.completions, count++);
      }
    }
    for (let i = calls.next(); i >= 0; i = calls.next()) {
      if (this.#way[i] === WITHOUT_WAIT && this.#waits(i)) continue;
      this.#giveVectors(i);
      calls.release(i, this.completions, count++);
    }
    if (count > 0) this.#asyncWait.reaped = true;
    return count;
  }

  wait(timeout: number = Infinity): void {
    this.submit();
    const calls = this.#calls;
    const aio = this.#aio;
    const starved = calls.serve();
    if (this.#ready) return;
    if (aio !== null && aio.inFlight > 0 && calls.inFlight === 0) return void aio.wait(1, timeout);
    const looks = starved || aio !== null && aio.inFlight > 0;
    calls.signals = this.#sleep.fd;
    if (!calls.ready) this.#sleep.wait(looks ? Math.min(timeout, LOOK) : timeout);
    calls.signals = this.#signalled ? this.#event.fd : -1;
    // Calls that ended during the sleep did not signal the asynchronous wait.
    if (this.#signalled && calls.ready) this.#event.signal();
  }

  relax(): void {
    libc().sched_yield();
  }

  waitAsync(): Promise<void> {
    return this.#asyncWait.begin();
  }

  wake(): void {
    this.#asyncWait.end();
  }

  registerBuffer(): number {
    return -EOPNOTSUPP;
  }

  registerFile(index: number, fd: number): number {
    const flags = fd < 0 ? 0 : libc().fcntl(fd, F_GETFL, 0);
    this.#tries[index] = fd >= 0 && (flags & O_DIRECT) === 0 ? 1 : 0;
    this.#asynchronous[index] = fd >= 0 && (flags & O_DIRECT) !== 0 && this.#aio !== null ? 1 : 0;
    return this.#calls.setFile(index, fd);
  }

  close(): Promise<void> {
    this.#held.dispose();
    return this.#eventFreed;
  }

  get #ready(): boolean {
    return this.#calls.ready || this.#aio !== null && this.#aio.ready;
  }

  #wayOf({ opcode, flags, blocks }: Sqe, place: number): number {
    // A file on which any call could block (FUSE) is left to the threads.
    const quick = place >= 0 && (flags & IOSQE_ASYNC) === 0;
    if (quick && this.#asynchronous[place] === 1 && isAioOpcode(opcode)) return BY_AIO;
    if (blocks) return BLOCKING;
    const reads = opcode === IORING_OP_READ || opcode === IORING_OP_READ_FIXED || opcode === IORING_OP_READV;
    return quick && reads && this.#tries[place] === 1 ? WITHOUT_WAIT : BY_THREAD;
  }

  #giveVectors(i: number): void {
    const vectors = this.#vectorsOf[i] ?? null;
    if (vectors === null) return;
    this.#vectorsOf[i] = null;
    this.#vectorStore.give(vectors);
  }

  // Whether a call that was tried with RWF_NOWAIT would have waited. Then a thread makes it.
  #waits(i: number): boolean {
    const result = this.#calls.resultOf(i);
    const place = this.#place[i]!;
    if (result === -EOPNOTSUPP) this.#tries[place] = 0;
    else if (result !== -EAGAIN) return false;
    this.#way[i] = BY_THREAD;
    this.#calls.setArgument(i, RW_FLAGS, 0);
    this.#calls.beginAgain(i, place);
    return true;
  }
}
