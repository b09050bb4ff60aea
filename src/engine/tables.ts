/**
 * The tables of a ring: memory that is pinned once, and files that are looked up once.
 *
 * @module
 */

import { ENOMEM, SystemError } from "../../ffi/errno.ts";
import { liburing } from "../../ffi/liburing.ts";
import { IORING_UNREGISTER_BUFFERS, IORING_UNREGISTER_FILES } from "../../ffi/uapi.ts";
import { lockMemory, unlockMemory } from "./locked_memory.ts";
import { memlockAdvice } from "./setup.ts";
import type { Structs } from "./structs.ts";

/** Places in each table. */
export const TABLE_ENTRIES = 256;

/** The tables of fixed buffers and of files; a kernel that lacks one does without. */
export class Tables {
  /** Whether there is a table of fixed buffers. */
  readonly fixedBuffers: boolean;
  /** Whether there is a table of files. */
  readonly fixedFiles: boolean;

  readonly #structs: Structs;
  // What each place holds: bytes of memory, and a file descriptor, or -1.
  readonly #bytes = new Float64Array(TABLE_ENTRIES);
  readonly #files = new Int32Array(TABLE_ENTRIES).fill(-1);

  /**
   * @param structs The structures of a ring that is set up.
   * @throws {SystemError} `ENOMEM`.
   */
  constructor(structs: Structs) {
    this.#structs = structs;
    const { io_uring_register_buffers_sparse, io_uring_register_files_sparse } = liburing();
    this.fixedBuffers = made(io_uring_register_buffers_sparse(structs.ring, TABLE_ENTRIES), "fixed buffers");
    this.fixedFiles = made(io_uring_register_files_sparse(structs.ring, TABLE_ENTRIES), "registered files");
  }

  /** Fills or, with a length of 0, empties a place of the table of fixed buffers. @returns 0, or `-errno`. */
  setBuffer(index: number, address: number, length: number): number {
    const { ring, scratch } = this.#structs;
    const { io_uring_register_buffers_update_tag } = liburing();
    const done = lockMemory(length, () => {
      this.#structs.setIovec(address, length);
      return io_uring_register_buffers_update_tag(ring, index, scratch, null, 1);
    });
    if (done !== 1) return done;
    unlockMemory(this.#bytes[index]!);
    this.#bytes[index] = length;
    return 0;
  }

  /** Fills or, with -1, empties a place of the table of files. @returns 0, or `-errno`. */
  setFile(index: number, fd: number): number {
    this.#structs.scratchView.setInt32(0, fd, true);
    const { ring, scratch } = this.#structs;
    const done = liburing().io_uring_register_files_update(ring, index, scratch, 1);
    if (done !== 1) return done;
    this.#files[index] = fd;
    return 0;
  }

  /** The file descriptor that a place of the table of files was filled with. */
  fdAt(index: number): number {
    return this.#files[index]!;
  }

  /**
   * Empties both tables. `io_uring_queue_exit` leaves that to a kernel thread, and until that has run the devices are busy and the
   * memory is charged.
   *
   * @param inFlight Whether the kernel has SQEs: then each place is emptied alone, as Linux before 6.13 would wait for them to let go of a
   * whole table.
   */
  clear(inFlight: boolean): void {
    const bytes = this.#bytes.reduce((sum, length) => sum + length, 0);
    if (inFlight) {
      for (let index = 0; index < TABLE_ENTRIES; index++) {
        if (this.#files[index]! >= 0) this.setFile(index, -1);
        if (this.#bytes[index] !== 0) this.setBuffer(index, 0, 0);
      }
      return;
    }
    const { io_uring_register } = liburing();
    const { fd } = this.#structs;
    if (this.fixedFiles) io_uring_register(fd, IORING_UNREGISTER_FILES, null, 0);
    if (this.fixedBuffers) io_uring_register(fd, IORING_UNREGISTER_BUFFERS, null, 0);
    unlockMemory(bytes);
  }
}

// Whether the kernel made a table. One that it does not know is done without; for want of memory nothing is.
function made(result: number, what: string): boolean {
  if (result === -ENOMEM) {
    throw new SystemError("io_uring_register", ENOMEM, `no memory for ${what}. ${memlockAdvice()}`);
  }
  return result >= 0;
}
