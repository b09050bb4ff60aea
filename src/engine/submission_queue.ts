/**
 * The submission queue: SQEs and their iovecs, written where the kernel reads them.
 *
 * @module
 */

import { io_uring_sqe, iovec } from "../../ffi/layout.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { IORING_SQ_CQ_OVERFLOW, IORING_SQ_TASKRUN } from "../../ffi/uapi.ts";
import type { Sqe } from "./sqe.ts";
import type { Structs } from "./structs.ts";

/** iovecs that one batch of SQEs may name: four of the longest arrays the kernel takes (`UIO_MAXIOV`, 1024). */
const VECTORS = 4096;
const SQE_WORDS = io_uring_sqe.size / 4;
const IOVEC_WORDS = iovec.size / 4;

/** The queue of one ring. */
export class SubmissionQueue implements Disposable {
  /** SQEs that the kernel has not taken yet. */
  queued = 0;

  readonly #entries: number;
  readonly #ktail: Uint32Array;
  readonly #kflags: Uint32Array;
  readonly #sqes: Uint32Array;
  readonly #iovecs: MappedMemory;
  readonly #iovecWords: Uint32Array;
  #tail = 0;
  #vectors = 0;
  #vectorStart = 0;

  /**
   * @param structs The structures of a ring that is set up.
   * @param entries Entries of the queue.
   * @throws {SystemError} When the system has no memory for the iovecs.
   */
  constructor(structs: Structs, entries: number) {
    this.#entries = entries;
    this.#ktail = new Uint32Array(structs.target("sq.ktail", 4)!);
    this.#kflags = new Uint32Array(structs.target("sq.kflags", 4)!);
    this.#sqes = new Uint32Array(structs.target("sq.sqes", entries * io_uring_sqe.size)!);
    // The array maps queue places to SQEs; ours is the identity. A liburing that set up a ring without it leaves it null.
    const array = structs.target("sq.array", entries * 4);
    if (array !== null) new Uint32Array(array).forEach((_, i, places) => places[i] = i);
    this.#iovecs = new MappedMemory(VECTORS * iovec.size);
    this.#iovecWords = new Uint32Array(this.#iovecs.buffer);
  }

  /** SQEs that fit before a submit. */
  get room(): number {
    return this.#entries - this.queued;
  }

  /** iovecs that fit before a submit. */
  get vectorRoom(): number {
    return VECTORS - this.#vectors;
  }

  /** Whether the kernel has put off completions until it is called; it says so in mapped memory. */
  get kernelHasWork(): boolean {
    return (Atomics.load(this.#kflags, 0) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Copies an SQE into the queue: all 64 bytes, so that nothing of an earlier one stays. */
  push(sqe: Sqe): void {
    const sqes = this.#sqes;
    const at = (this.#tail & (this.#entries - 1)) * SQE_WORDS;
    const { address, address3 } = sqe;
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
    sqes[at + io_uring_sqe.addr3 / 4] = address3 >>> 0;
    sqes[at + io_uring_sqe.addr3 / 4 + 1] = address3 / 2 ** 32;
    sqes[at + io_uring_sqe.__pad2 / 4] = 0;
    sqes[at + io_uring_sqe.__pad2 / 4 + 1] = 0;
    this.#tail = (this.#tail + 1) >>> 0;
    this.queued++;
  }

  /** Adds an iovec to the array under construction. */
  vector(address: number, length: number): void {
    const words = this.#iovecWords;
    const at = this.#vectors++ * IOVEC_WORDS;
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

  /** Shows the kernel all SQEs that are queued. */
  publish(): void {
    Atomics.store(this.#ktail, 0, this.#tail);
  }

  /** The kernel took SQEs, in their order. */
  took(count: number): void {
    this.queued -= count;
    if (this.queued === 0) this.#vectors = this.#vectorStart = 0;
  }

  /** Unmaps the iovecs, which the kernel has copied from every SQE that it took. */
  [Symbol.dispose](): void {
    this.#iovecs[Symbol.dispose]();
  }
}
