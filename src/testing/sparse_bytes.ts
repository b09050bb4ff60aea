/**
 * Bytes that take memory only where they were written.
 *
 * @module
 */

/** Bytes that are allocated together. */
const EXTENT = 64 << 10;

/** Bytes from 0 on, all zeros at first. Offsets are safe integers. */
export class SparseBytes {
  readonly #extents = new Map<number, Uint8Array>();

  /** Bytes of memory that it takes. */
  get held(): number {
    return this.#extents.size * EXTENT;
  }

  /** Fills `into` with the bytes from `at` on. */
  read(at: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const [extent, start, length] = place(at + done, into.length - done);
      const bytes = this.#extents.get(extent);
      if (bytes === undefined) into.fill(0, done, done + length);
      else into.set(bytes.subarray(start, start + length), done);
      done += length;
    }
  }

  /** Replaces the bytes from `at` on. */
  write(at: number, from: Uint8Array): void {
    for (let done = 0; done < from.length;) {
      const [extent, start, length] = place(at + done, from.length - done);
      let bytes = this.#extents.get(extent);
      if (bytes === undefined) this.#extents.set(extent, bytes = new Uint8Array(EXTENT));
      bytes.set(from.subarray(done, done + length), start);
      done += length;
    }
  }

  /** Makes `[from, to)` zeros, and frees the memory of extents that lie in it as a whole. Extents that were never written cost no time. */
  zero(from: number, to: number): void {
    for (const [start, end] of this.runs(from, to)) {
      const [extent, at] = place(start, end - start);
      if (end - start === EXTENT) this.#extents.delete(extent);
      else this.#extents.get(extent)!.fill(0, at, at + end - start);
    }
  }

  /** The parts of `[from, to)` that take memory, as `[start, end)`. All others are zeros. */
  runs(from: number, to: number): [start: number, end: number][] {
    const first = Math.floor(from / EXTENT);
    const last = Math.ceil(to / EXTENT);
    const extents = last - first < this.#extents.size
      ? Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i)
      : [...this.#extents.keys()];
    return extents.filter((extent) => extent >= first && extent < last && this.#extents.has(extent))
      .map((extent) => [Math.max(from, extent * EXTENT), Math.min(to, (extent + 1) * EXTENT)]);
  }
}

// The extent that holds a byte, where in it the byte is, and how many of `left` bytes it holds from there.
function place(at: number, left: number): [extent: number, start: number, length: number] {
  const start = at % EXTENT;
  return [(at - start) / EXTENT, start, Math.min(left, EXTENT - start)];
}
