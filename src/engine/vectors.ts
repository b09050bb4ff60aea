/**
 * Arrays of iovecs for system calls. An array is not changed until the call that names it has returned.
 *
 * @module
 */

import { iovec } from "../../ffi/layout.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { MAX_VECTORS } from "./engine.ts";

/** Arrays that are kept for the next calls. Further arrays, which a burst needed, are unmapped after it. */
const MOST_KEPT = 64;
const WORDS = iovec.size / 4;

/** An array of up to `MAX_VECTORS` iovecs. */
export class Vectors implements Disposable {
  /** How many iovecs it holds. */
  count = 0;

  readonly #memory = new MappedMemory(MAX_VECTORS * iovec.size);
  readonly #words = new Uint32Array(this.#memory.buffer);

  /** Its address. */
  get address(): number {
    return this.#memory.address;
  }

  /** Adds an iovec. */
  add(address: number, length: number): void {
    const at = this.count++ * WORDS;
    this.#words[at] = address >>> 0;
    this.#words[at + 1] = address / 2 ** 32;
    this.#words[at + iovec.iov_len / 4] = length;
    this.#words[at + iovec.iov_len / 4 + 1] = 0;
  }

  /** Unmaps it. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** The arrays of one engine. */
export class VectorStore {
  readonly #spare: Vectors[] = [];

  /** An empty array. @throws {SystemError} When the system has no memory for it. */
  take(): Vectors {
    const vectors = this.#spare.pop() ?? new Vectors();
    vectors.count = 0;
    return vectors;
  }

  /** Takes an array back that no system call uses any more. */
  give(vectors: Vectors): void {
    if (this.#spare.length < MOST_KEPT) this.#spare.push(vectors);
    else vectors[Symbol.dispose]();
  }

  /** Unmaps the arrays that were given back. */
  close(): void {
    for (const vectors of this.#spare.splice(0)) vectors[Symbol.dispose]();
  }
}
