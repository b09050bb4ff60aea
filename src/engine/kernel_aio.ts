/**
 * The kernel's asynchronous I/O (`io_submit(2)`), for reads and writes past the page cache. It needs no thread, and containers that forbid
 * io_uring allow it as a rule. With `RWF_NOWAIT`, an operation that would wait in the submission completes with `EAGAIN` instead.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { __kernel_timespec, io_event, iocb } from "../../ffi/layout.ts";
import { MappedMemory, viewOf } from "../../ffi/memory.ts";
import { setTimespec } from "../../ffi/timespec.ts";
import {
  IOCB_CMD_PREAD,
  IOCB_CMD_PREADV,
  IOCB_CMD_PWRITE,
  IOCB_CMD_PWRITEV,
  IOCB_FLAG_IOPRIO,
  IOCB_FLAG_RESFD,
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  RWF_NOWAIT,
  SYS_io_destroy,
  SYS_io_getevents,
  SYS_io_setup,
  SYS_io_submit,
} from "../../ffi/uapi.ts";
import type { Sqe } from "./sqe.ts";
import { detach } from "./thread_calls.ts";

/** The mapped completion ring (`struct aio_ring` of fs/aio.c): the words of its header, and its magic number. */
const RING_NR = 1;
const RING_HEAD = 2;
const RING_TAIL = 3;
const RING_MAGIC = 4;
const RING_HEADER_BYTES = 32;
const MAGIC = 0xa10a10a1;

/** The most completions that one call of `io_getevents` brings. */
const EVENTS = 64;

const COMMANDS: Readonly<Record<number, number>> = {
  [IORING_OP_READ]: IOCB_CMD_PREAD,
  [IORING_OP_READ_FIXED]: IOCB_CMD_PREAD,
  [IORING_OP_READV]: IOCB_CMD_PREADV,
  [IORING_OP_WRITE]: IOCB_CMD_PWRITE,
  [IORING_OP_WRITE_FIXED]: IOCB_CMD_PWRITE,
  [IORING_OP_WRITEV]: IOCB_CMD_PWRITEV,
};

/** Whether the kernel's asynchronous I/O knows an opcode. */
export function isAioOpcode(opcode: number): boolean {
  return COMMANDS[opcode] !== undefined;
}

/** The asynchronous I/O of one engine. An operation is known by the index of its call. */
export class KernelAio {
  /** Operations that were submitted and whose results were not taken. */
  inFlight = 0;
  /** Why the kernel refused the first operation of a `submit` that took fewer than it was given. */
  refusal = 0;
  /** The result of the operation that `next` gave. */
  result = 0;

  readonly #context: bigint;
  readonly #eventFd: number;
  readonly #memory: MappedMemory;
  readonly #view: DataView;
  readonly #words: Uint32Array;
  readonly #pointersAt: number;
  readonly #eventsAt: number;
  // The ring of completions; null on a kernel (gVisor) that maps no such ring.
  readonly #ring: Uint32Array | null;
  readonly #entries: number;
  // Completions that io_getevents brought, from #next on.
  #next = 0;
  #brought = 0;

  /**
   * Sets asynchronous I/O up.
   *
   * @param capacity The most operations at once.
   * @param eventFd The eventfd that each completion signals.
   * @returns null when the system refuses it.
   * @throws {SystemError} When the system has no memory for it.
   */
  static make(capacity: number, eventFd: number): KernelAio | null {
    using memory = new DisposableStack();
    const bytes = capacity * (iocb.size + 8) + EVENTS * io_event.size + 64;
    const mapped = memory.use(new MappedMemory(bytes));
    if (libc().io_setup(BigInt(SYS_io_setup), capacity, mapped.pointer) !== 0) return null;
    memory.move();
    return new KernelAio(mapped, capacity, eventFd);
  }

  private constructor(memory: MappedMemory, capacity: number, eventFd: number) {
    this.#memory = memory;
    this.#eventFd = eventFd;
    this.#view = new DataView(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.#context = this.#view.getBigUint64(0, true);
    this.#eventsAt = 64;
    this.#pointersAt = this.#eventsAt + EVENTS * io_event.size + capacity * iocb.size;
    const header = new Uint32Array(viewOf(Number(this.#context), RING_HEADER_BYTES));
    const entries = this.#entries = header[RING_NR]!;
    this.#ring = header[RING_MAGIC] !== MAGIC
      ? null
      : new Uint32Array(viewOf(Number(this.#context), RING_HEADER_BYTES + entries * io_event.size));
  }

  /** Whether a completion is there. */
  get ready(): boolean {
    if (this.inFlight === 0) return false;
    if (this.#next < this.#brought) return true;
    const ring = this.#ring;
    return ring === null ? this.wait(0, 0) : Atomics.load(ring, RING_TAIL) !== ring[RING_HEAD];
  }

  /**
   * Fills an operation.
   *
   * @param i Its index.
   * @param sqe The SQE, of an opcode that `isAioOpcode` knows.
   * @param fd The file descriptor.
   */
  fill(i: number, sqe: Sqe, fd: number): void {
    const at = this.#iocbAt(i) / 4;
    const words = this.#words;
    words[at + iocb.aio_data / 4] = i;
    words[at + iocb.aio_rw_flags / 4] = sqe.opFlags | RWF_NOWAIT;
    words[at + iocb.aio_lio_opcode / 4] = COMMANDS[sqe.opcode]! | sqe.ioprio << 16;
    words[at + iocb.aio_fildes / 4] = fd;
    words[at + iocb.aio_buf / 4] = sqe.address >>> 0;
    words[at + iocb.aio_buf / 4 + 1] = sqe.address / 2 ** 32;
    words[at + iocb.aio_nbytes / 4] = sqe.length;
    words[at + iocb.aio_offset / 4] = sqe.offsetLow;
    words[at + iocb.aio_offset / 4 + 1] = sqe.offsetHigh;
    words[at + iocb.aio_flags / 4] = IOCB_FLAG_RESFD | (sqe.ioprio === 0 ? 0 : IOCB_FLAG_IOPRIO);
    words[at + iocb.aio_resfd / 4] = this.#eventFd;
  }

  /**
   * Submits operations, in their order.
   *
   * @param operations Their indexes.
   * @param from Which of them is the first.
   * @returns How many the kernel took. The next one it refused; `refusal` says why.
   */
  submit(operations: readonly number[], from: number): number {
    const count = operations.length - from;
    for (let k = 0; k < count; k++) {
      const address = this.#memory.address + this.#iocbAt(operations[from + k]!);
      this.#words[this.#pointersAt / 4 + 2 * k] = address >>> 0;
      this.#words[this.#pointersAt / 4 + 2 * k + 1] = address / 2 ** 32;
    }
    const pointers = Deno.UnsafePointer.offset(this.#memory.pointer, this.#pointersAt);
    const taken = libc().io_submit(BigInt(SYS_io_submit), this.#context, BigInt(count), pointers);
    this.refusal = taken < 0 ? errno() : 0;
    if (taken < 0) return 0;
    this.inFlight += taken;
    return taken;
  }

  /** The next operation that has completed, and its `result`; -1: none. */
  next(): number {
    if (this.inFlight === 0) return -1;
    if (this.#next < this.#brought) {
      return this.#take(this.#words, (this.#eventsAt + this.#next++ * io_event.size) / 4);
    }
    const ring = this.#ring;
    if (ring === null) return this.wait(0, 0) ? this.next() : -1;
    const head = ring[RING_HEAD]!;
    if (Atomics.load(ring, RING_TAIL) === head) return -1;
    const i = this.#take(ring, (RING_HEADER_BYTES + head * io_event.size) / 4);
    Atomics.store(ring, RING_HEAD, (head + 1) % this.#entries);
    return i;
  }

  /**
   * Sleeps until operations complete. There must be no completion that is `ready`.
   *
   * @param least How many, 0 or 1.
   * @param timeout Microseconds to sleep at most; `Infinity`: no bound.
   * @returns Whether there are any, for `next`.
   */
  wait(least: number, timeout: number): boolean {
    const at = __kernel_timespec.size;
    if (timeout !== Infinity) setTimespec(this.#view, at, timeout);
    const pointer = (offset: number) => Deno.UnsafePointer.offset(this.#memory.pointer, offset);
    const events = pointer(this.#eventsAt);
    const arg = timeout === Infinity ? null : pointer(at);
    const got = libc().io_getevents(
      BigInt(SYS_io_getevents),
      this.#context,
      BigInt(least),
      BigInt(EVENTS),
      events,
      arg,
    );
    this.#next = 0;
    this.#brought = Math.max(got, 0);
    return got > 0;
  }

  /**
   * Frees everything, unless operations are in flight, for which the kernel would wait. `io_destroy(2)` takes tens of milliseconds, so a
   * thread calls it.
   */
  close(): void {
    if (this.inFlight > 0) return;
    detach(SYS_io_destroy, Number(this.#context));
    this.#memory[Symbol.dispose]();
  }

  #take(words: Uint32Array, at: number): number {
    this.result = words[at + io_event.res / 4]! | 0;
    this.inFlight--;
    return words[at + io_event.data / 4]!;
  }

  #iocbAt(i: number): number {
    return this.#eventsAt + EVENTS * io_event.size + i * iocb.size;
  }
}
