/**
 * Lanes: rings of calls in mapped memory. JavaScript adds calls, and any thread takes them.
 *
 * @module
 */

import { lane as layout, LANE_CALLS } from "../../ffi/thread_layout.ts";

const HEAD = layout.head / 4;
const TAIL = layout.tail / 4;
const RING = layout.ring / 4;

/** A row of lanes. */
export class Lanes {
  readonly #words: Uint32Array;
  readonly #from: number;

  /**
   * @param words The memory.
   * @param from Where in it the first lane begins, in bytes.
   */
  constructor(words: Uint32Array, from: number) {
    this.#words = words;
    this.#from = from;
  }

  /** The offset of a lane in the memory, in bytes, by which a thread names it. */
  offsetOf(lane: number): number {
    return this.#from + lane * layout.size;
  }

  /** The lane at an offset. */
  at(offset: number): number {
    return (offset - this.#from) / layout.size;
  }

  /** The calls of a lane that no thread has taken. */
  untaken(lane: number): number {
    const at = this.offsetOf(lane) / 4;
    return (this.#words[at + TAIL]! - Atomics.load(this.#words, at + HEAD)) >>> 0;
  }

  /** Adds a call, by its address, to a lane that has room. */
  put(lane: number, address: number): void {
    const at = this.offsetOf(lane) / 4;
    const tail = this.#words[at + TAIL]!;
    const entry = at + RING + tail % LANE_CALLS * 2;
    this.#words[entry] = address >>> 0;
    this.#words[entry + 1] = address / 2 ** 32;
    Atomics.store(this.#words, at + TAIL, tail + 1);
  }

  /** Takes all calls that no thread has taken. @returns Their addresses. */
  take(lane: number): number[] {
    const taken: number[] = [];
    for (let address = this.#claim(lane); address !== 0; address = this.#claim(lane)) taken.push(address);
    return taken;
  }

  // Takes a call, as a thread does. Returns its address, or 0.
  #claim(lane: number): number {
    const at = this.offsetOf(lane) / 4;
    for (;;) {
      const head = Atomics.load(this.#words, at + HEAD);
      if (head === this.#words[at + TAIL]) return 0;
      const entry = at + RING + head % LANE_CALLS * 2;
      const address = this.#words[entry]! + this.#words[entry + 1]! * 2 ** 32;
      if (Atomics.compareExchange(this.#words, at + HEAD, head, head + 1) === head) return address;
    }
  }
}
