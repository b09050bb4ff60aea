const ALIGNMENT = 4096;

/** Memory that no pool knows, page-aligned as a direct device wants it. */
export function alignedShared(bytes: number): Uint8Array {
  const memory = new Uint8Array(new SharedArrayBuffer(bytes + ALIGNMENT));
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory as unknown as BufferSource));
  return memory.subarray(-Number(address % BigInt(ALIGNMENT)) & (ALIGNMENT - 1)).subarray(0, bytes);
}
