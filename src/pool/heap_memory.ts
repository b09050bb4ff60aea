/**
 * Memory of JavaScript's heap, for the pool of a client that may not call C. Only engines that use no addresses can work with it.
 *
 * @module
 */

import { ENOMEM, SystemError } from "../../ffi/errno.ts";

/** The memory of a chunk of pages. */
export interface PageMemory extends Disposable {
  /** Its address. */
  readonly address: number;
  /** The memory. It is detached when it is freed: stale views have length 0 then. */
  readonly buffer: ArrayBuffer;
  /** Gives whole pages back to the system. They read as zeros afterwards. */
  discard(from: number, bytes: number): void;
}

/** No program has memory from here on: the kernel answers EFAULT to such an address. */
const FIRST_ADDRESS = 2 ** 52;

let nextAddress = FIRST_ADDRESS;

/** Zeroed memory of the heap. Its address is a number that no other memory has; it cannot be used as an address. */
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
