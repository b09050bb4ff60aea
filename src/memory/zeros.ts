/**
 * Zeros in memory, to be written where nothing else makes them.
 *
 * @module
 */

import { mayCallC } from "../../ffi/library.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { HeapMemory } from "../pool/heap_memory.ts";
import { Segments } from "./segments.ts";

/** Bytes of memory that all zeros lie in: whole pages, as direct I/O needs them. */
const ZEROS = 64 << 10;

// Made once each and kept. Memory of the heap serves a client without FFI, whose engines go by no addresses.
let mapped: Segments | undefined;
let heap: Segments | undefined;

/**
 * Zeros as memory of a request.
 *
 * @param bytes How many bytes at least.
 * @returns Segments of zeros, which nobody may write.
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
