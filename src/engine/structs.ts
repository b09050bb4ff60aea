/**
 * The structures that a ring's system calls take by address.
 *
 * @module
 */

import { io_uring, io_uring_getevents_arg, io_uring_params, iovec } from "../../ffi/layout.ts";
import { MappedMemory, viewOf } from "../../ffi/memory.ts";
import { setTimespec } from "../../ffi/timespec.ts";

// Byte offsets in the mapping; the struct io_uring is at 0.
const PARAMS = 256;
const GETEVENTS_ARG = 384;
const TIMESPEC = 448;
const SCRATCH = 1024;
/** The longest answer that is written to the scratch memory, a probe of all opcodes, is shorter than 7 KiB. */
const BYTES = 8192;

/** All of a ring's structures in one mapping, so that none of them ever moves. */
export class Structs implements Disposable {
  /** The `struct io_uring`. */
  readonly ring: Deno.PointerObject;
  /** The `struct io_uring_params`. */
  readonly params: Deno.PointerObject;
  /** The `struct io_uring_params`, to read. */
  readonly paramsView: DataView;
  /** What one call reads or writes, and nothing keeps. */
  readonly scratch: Deno.PointerObject;
  /** The same memory, to read and write. */
  readonly scratchView: DataView;

  readonly #memory: MappedMemory;
  readonly #view: DataView;
  readonly #timeout: Deno.PointerObject;

  /** @throws {SystemError} When the system has no memory for them. */
  constructor() {
    const memory = this.#memory = new MappedMemory(BYTES);
    const at = (offset: number) => Deno.UnsafePointer.offset(memory.pointer, offset) as Deno.PointerObject;
    this.ring = memory.pointer;
    this.params = at(PARAMS);
    this.scratch = at(SCRATCH);
    this.#timeout = at(GETEVENTS_ARG);
    this.#view = new DataView(memory.buffer);
    this.paramsView = new DataView(memory.buffer, PARAMS, io_uring_params.size);
    this.scratchView = new DataView(memory.buffer, SCRATCH);
  }

  /** The ring's file descriptor. */
  get fd(): number {
    return this.#view.getInt32(io_uring.ring_fd, true);
  }

  /**
   * The memory that a pointer in the `struct io_uring` names, once the ring is set up.
   *
   * @param name The pointer's field.
   * @param bytes How many bytes it points at.
   * @returns A view of that memory, to be used until `io_uring_queue_exit`; null when the pointer is.
   */
  target(name: Exclude<keyof typeof io_uring, "size" | "ring_fd">, bytes: number): ArrayBuffer | null {
    const address = Number(this.#view.getBigUint64(io_uring[name], true));
    return address === 0 ? null : viewOf(address, bytes);
  }

  /** Writes one iovec to the scratch memory. */
  setIovec(address: number, length: number): void {
    this.scratchView.setBigUint64(iovec.iov_base, BigInt(address), true);
    this.scratchView.setBigUint64(iovec.iov_len, BigInt(length), true);
  }

  /**
   * The argument by which `io_uring_enter` waits for a bounded time.
   *
   * @param microseconds How long.
   * @returns The `struct io_uring_getevents_arg`, good until the next call.
   */
  timeoutArg(microseconds: number): Deno.PointerObject {
    setTimespec(this.#view, TIMESPEC, microseconds);
    const address = BigInt(this.#memory.address + TIMESPEC);
    this.#view.setBigUint64(GETEVENTS_ARG + io_uring_getevents_arg.ts, address, true);
    return this.#timeout;
  }

  /** Unmaps them. The kernel keeps none of them after a call. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
