/**
 * Memory of JavaScript's heap, for the pool of a client that may not call C. Only engines that go by no addresses can use it.
 *
 * @module
 */

import { ENOMEM, SystemError } from "../../ffi/errno.ts";

/** What a chunk of pages lies in. */
export interface PageMemory extends Disposable {
  /** Where it begins. */
  readonly address: number;
  /** The memory. It is detached (length 0) when it goes, so that a stale view reads nothing. */
  readonly buffer: ArrayBuffer;
  /** Gives whole pages back to the system. They read as zeros from here on. */
  discard(from: number, bytes: number): void;
}

/** No program has memory from here on: the kernel answers EFAULT to such an address. */
const FIRST_ADDRESS = 2 ** 52;

let nextAddress = FIRST_ADDRESS;

/** Zeroed memory of the heap. Its address stands for it, and is no other memory's. */
export class HeapMemory implements PageMemory {
  readonly address: number;
  readonly buffer: ArrayBuffer;

  /**
   * @param bytes Its length, whole pages.
   * @throws {SystemError} `ENOMEM` when the system lacks the memory.
   */
  constructor(bytes: number) {
    try {
      this.buffer = new ArrayBuffer(bytes);
    } catch {
      throw new SystemError("ArrayBuffer", ENOMEM, `could not allocate ${bytes} bytes of memory`);
    }
    this.address = nextAddress;
    nextAddress += bytes;
  }

  discard(from: number, bytes: number): void {
    if (!this.buffer.detached) new Uint8Array(this.buffer, from, bytes).fill(0);
  }

  [Symbol.dispose](): void {
    if (!this.buffer.detached) this.buffer.transfer(0);
  }
}
