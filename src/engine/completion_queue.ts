/**
 * The completion queue: CQEs, read where the kernel writes them.
 *
 * @module
 */

import { io_uring_cqe } from "../../ffi/layout.ts";
import { IORING_CQ_EVENTFD_DISABLED } from "../../ffi/uapi.ts";
import type { Completions } from "./engine.ts";
import type { Structs } from "./structs.ts";

const CQE_WORDS = io_uring_cqe.size / 4;

/** The queue of one ring. */
export class CompletionQueue {
  /** What `reap` copied out. */
  readonly completions: Completions;

  readonly #mask: number;
  readonly #khead: Uint32Array;
  readonly #ktail: Uint32Array;
  readonly #kflags: Uint32Array;
  readonly #cqes: Int32Array;

  /**
   * @param structs The structures of a ring that is set up.
   * @param entries Entries of the queue.
   */
  constructor(structs: Structs, entries: number) {
    this.#mask = entries - 1;
    this.#khead = new Uint32Array(structs.target("cq.khead", 4)!);
    this.#ktail = new Uint32Array(structs.target("cq.ktail", 4)!);
    this.#kflags = new Uint32Array(structs.target("cq.kflags", 4)!);
    this.#cqes = new Int32Array(structs.target("cq.cqes", entries * io_uring_cqe.size)!);
    this.completions = {
      userData: new Uint32Array(entries),
      generation: new Uint32Array(entries),
      result: new Int32Array(entries),
    };
  }

  /** Whether a CQE is there. */
  get ready(): boolean {
    return Atomics.load(this.#ktail, 0) !== this.#khead[0];
  }

  /** Whether the kernel is to signal the eventfd at each CQE. */
  set signals(on: boolean) {
    Atomics.store(this.#kflags, 0, on ? 0 : IORING_CQ_EVENTFD_DISABLED);
  }

  /** Copies CQEs out and frees their places. @returns How many. */
  reap(): number {
    const head = this.#khead[0]!;
    const count = (Atomics.load(this.#ktail, 0) - head) >>> 0;
    if (count === 0) return 0;
    const { userData, generation, result } = this.completions;
    const cqes = this.#cqes;
    for (let i = 0; i < count; i++) {
      const at = ((head + i) & this.#mask) * CQE_WORDS;
      userData[i] = cqes[at]!;
      generation[i] = cqes[at + 1]!;
      result[i] = cqes[at + io_uring_cqe.res / 4]!;
    }
    Atomics.store(this.#khead, 0, head + count);
    return count;
  }
}
