/**
 * Page-aligned memory that the collector neither moves nor frees.
 *
 * @module
 */

import { errno, libc } from "./libc.ts";
import { mayCallC } from "./library.ts";
import { SystemError } from "./errno.ts";
import {
  _SC_PHYS_PAGES,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from "./uapi.ts";

/** The size of a page for a program that may not call C, and so cannot ask the system. */
const USUAL_PAGE = 4096;

let pageBytes = 0;

/**
 * The system's page size in bytes, from `getpagesize(2)`.
 *
 * @returns The size; 4096 when the program had no `--allow-ffi` at its first call.
 *
 * @example
 * ```ts
 * import { pageSize } from "@dmio/dmio";
 *
 * console.log(pageSize()); // 4096
 * ```
 */
export function pageSize(): number {
  return pageBytes ||= mayCallC() ? libc().getpagesize() : USUAL_PAGE;
}

/** How many pages of memory the machine has, from `sysconf(3)`; no bound in a program that may not call C. */
export function physicalPages(): number {
  return mayCallC() ? Number(libc().sysconf(_SC_PHYS_PAGES)) : Number.MAX_SAFE_INTEGER;
}

/**
 * The address of a C pointer as a double, which holds it exactly: V8 runs in the lower 2^47 bytes.
 *
 * @param pointer A pointer.
 * @returns Its address.
 */
export function addressOf(pointer: Deno.PointerValue): number {
  return Number(Deno.UnsafePointer.value(pointer));
}

/**
 * A view of C memory.
 *
 * @param address Its address.
 * @param bytes Its length in bytes.
 * @returns An `ArrayBuffer` over that memory. It must not be used once the memory is unmapped.
 */
export function viewOf(address: number, bytes: number): ArrayBuffer {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (pointer === null) throw new TypeError(`no memory is at address ${address}`);
  return Deno.UnsafePointerView.getArrayBuffer(pointer, bytes);
}

/** Zeroed private memory from `mmap(2)`, whole pages, at an address that stays. */
export class MappedMemory implements Disposable {
  /** Where it begins, for FFI calls. */
  readonly pointer: Deno.PointerObject;
  /** Where it begins, as a number. */
  readonly address: number;
  /** Its length in bytes, a multiple of the page size. */
  readonly bytes: number;
  /** The memory. It is detached (length 0) when the mapping goes, so that a stale view reads nothing. */
  readonly buffer: ArrayBuffer;

  /**
   * @param bytes At least this many bytes.
   * @throws {SystemError} `ENOMEM` when the system lacks the memory.
   */
  constructor(bytes: number) {
    const page = pageSize();
    this.bytes = Math.ceil(bytes / page) * page;
    const pointer = libc().mmap(
      null,
      BigInt(this.bytes),
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS,
      -1,
      0n,
    );
    // MAP_FAILED is (void *)-1, which reads as an address of 2^64 - 1.
    if (pointer === null || addressOf(pointer) >= 2 ** 53) {
      throw new SystemError("mmap", errno(), `could not map ${this.bytes} bytes of memory`);
    }
    // A forked child would share the pages copy-on-write, and the kernel's writes could go to its copies.
    libc().madvise(pointer, BigInt(this.bytes), MADV_DONTFORK);
    this.pointer = pointer;
    this.address = addressOf(pointer);
    this.buffer = Deno.UnsafePointerView.getArrayBuffer(pointer, this.bytes);
  }

  /**
   * Gives pages back to the system but keeps their addresses: they read as zeros from here on.
   *
   * @param from Byte offset, a multiple of the page size.
   * @param bytes Length in bytes, a multiple of the page size.
   */
  discard(from: number, bytes: number): void {
    const pointer = Deno.UnsafePointer.offset(this.pointer, from);
    libc().madvise(pointer, BigInt(bytes), MADV_DONTNEED);
  }

  /**
   * Unmaps the memory and detaches its `ArrayBuffer`. When the program has transferred that buffer away, views of the memory may still
   * exist, so the pages are discarded and their addresses stay reserved.
   */
  [Symbol.dispose](): void {
    if (this.buffer.detached) {
      this.discard(0, this.bytes);
      return;
    }
    this.buffer.transfer();
    libc().munmap(this.pointer, BigInt(this.bytes));
  }
}
