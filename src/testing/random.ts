/**
 * Random numbers from a seed, so that a run can be repeated.
 *
 * @module
 */

/** A stream of numbers that depends on its seed alone (mulberry32). */
export class Random {
  #state: number;

  /** @param seed Any integer; its low 32 bits count. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** The next 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** An integer in `[0, bound)`. */
  below(bound: number): number {
    return this.next() % bound;
  }

  /** An integer in `[low, high]`. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.next() / 4294967296 < p;
  }

  /** One of `choices`. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** Mostly small, now and then up to `high`: the sizes at which edges lie. */
  skewed(low: number, high: number): number {
    return this.chance(0.7) ? this.between(low, Math.min(high, low + 8)) : this.between(low, high);
  }

  /** Overwrites `bytes`. */
  fill(bytes: Uint8Array): void {
    let i = 0;
    if (bytes.byteOffset % 4 === 0) {
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
      for (let word = 0; word < words.length; word++) words[word] = this.next();
      i = words.length * 4;
    }
    for (; i < bytes.length; i++) bytes[i] = this.next();
  }

  /** A stream of its own for `part`, which does not depend on how far this one has run. */
  static of(seed: number, part: number): Random {
    const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(part, 0x85ebca6b));
    random.next();
    return random;
  }
}
