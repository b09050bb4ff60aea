/**
 * Zeros in memory, for devices and file systems that make no zeroes: they are written as data.
 *
 * @module
 */

import { mayCallC } from "../../ffi/library.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { HeapMemory } from "../pool/heap_memory.ts";
import { Segments } from "./segments.ts";

/** Bytes of the memory, whole pages, as direct I/O needs them. Longer writes name the same memory several times. */
const ZEROS = 64 << 10;

// Each is made once and kept. A client without FFI uses memory of the heap, as its engines use no addresses.
let mapped: Segments | undefined;
let heap: Segments | undefined;

/**
 * Zeros as memory of a request.
 *
 * @param bytes How many bytes at least.
 * @returns Segments of zeros, for reading only.
 */
export function zeros(bytes: number): Segments {
  const segments = mayCallC()
    ? mapped ??= made(new MappedMemory(ZEROS))
    : heap ??= made(new HeapMemory(ZEROS));
  const { arena, bytes: memory } = segments;
  while (segments.count * ZEROS < bytes) segments.add(arena[0]!, memory[0]!, 0, ZEROS);
  return segments;
}

function made({ address, buffer }: MappedMemory | HeapMemory): Segments {
  const segments = new Segments();
  const bytes = new Uint8Array(buffer);
  segments.add({ address, bytes, index: -1 }, bytes, 0, ZEROS);
  return segments;
}
