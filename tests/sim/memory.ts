/**
 * Memory by address, as the kernel sees it: registered buffers, and what else the caller may lend.
 *
 * @module
 */

import type { World } from "./world.ts";

/** A run of memory that an SQE names. */
export interface Segment {
  readonly address: number;
  readonly length: number;
  readonly area: Area;
}

/** Memory that is known to exist. */
interface Area {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** False once it was unregistered. */
  live: boolean;
}

/** A view of memory at an address. */
export function bytesAt(address: number, length: number): Uint8Array {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (!pointer) throw new TypeError("no memory at address 0");
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, length));
}

/** The address of the first byte of `bytes`. */
export function addressOf(bytes: Uint8Array): number {
  return Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>)));
}

/** All memory that SQEs may name. */
export class AddressSpace {
  readonly #registered = new Map<number, Area>();
  readonly #lent: Area[] = [];

  /** Whether the table was full once: then there may be memory that never had a place. */
  #open: boolean;

  /** @param places Places in the table of fixed buffers; beyond them, any memory may be named. */
  constructor(readonly world: World, readonly places: number) {
    this.#open = places === 0;
  }

  /** Memory that stays where it is for as long as the run lasts: shared buffers. */
  lend(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#lent.push({ address: addressOf(bytes), bytes, live: true });
  }

  /** As the table of fixed buffers does. */
  register(index: number, address: number, length: number): void {
    if (index < 0 || index >= this.places) this.world.violate(`buffer index ${index} of ${this.places}`);
    const old = this.#registered.get(index);
    if (old) old.live = false;
    this.#registered.delete(index);
    if (length > 0) this.#registered.set(index, { address, bytes: bytesAt(address, length), live: true });
    if (this.#registered.size === this.places) this.#open = true;
  }

  /** Memory that was to be registered and could not be: plain SQEs may name it. */
  refuse(address: number, length: number): void {
    this.#lent.push({ address, bytes: bytesAt(address, length), live: true });
  }

  /** The memory of a `_FIXED` SQE. */
  fixed(index: number, address: number, length: number): Segment {
    const area = this.#registered.get(index);
    if (!area) this.world.violate(`buffer index ${index} is empty`);
    if (!covers(area, address, length)) {
      this.world.violate(`buffer ${index} does not hold ${length} bytes at ${address}`);
    }
    return { address, length, area };
  }

  /** The memory of any other SQE. */
  plain(address: number, length: number): Segment {
    for (const area of this.#registered.values()) {
      if (covers(area, address, length)) return { address, length, area };
    }
    for (const area of this.#lent) if (covers(area, address, length)) return { address, length, area };
    if (!this.#open) {
      this.world.violate(`${length} bytes at ${address} are the collector's, not the caller's to lend`);
    }
    return { address, length, area: { address, bytes: bytesAt(address, length), live: true } };
  }

  /** Whether the memory is still there, by whatever registration. */
  holds({ area, address, length }: Segment): boolean {
    if (area.live) return true;
    for (const other of this.#registered.values()) if (covers(other, address, length)) return true;
    return this.#lent.some((other) => covers(other, address, length));
  }

  /** Copies from the segments, beginning `skip` bytes into them, until `to` is full. */
  gather(segments: readonly Segment[], skip: number, to: Uint8Array): void {
    let done = 0;
    for (const piece of pieces(segments, skip, to.length)) {
      to.set(piece, done);
      done += piece.length;
    }
  }

  /** Copies `from` into the segments, beginning `skip` bytes into them. */
  scatter(segments: readonly Segment[], skip: number, from: Uint8Array): void {
    let done = 0;
    for (const piece of pieces(segments, skip, from.length)) {
      piece.set(from.subarray(done, done + piece.length));
      done += piece.length;
    }
  }
}

function covers(area: Area, address: number, length: number): boolean {
  return area.live && area.address <= address && address + length <= area.address + area.bytes.length;
}

function* pieces(segments: readonly Segment[], skip: number, length: number): Generator<Uint8Array> {
  for (const { address, length: bytes, area } of segments) {
    if (length === 0) return;
    const here = Math.min(bytes - skip, length);
    if (here <= 0) {
      skip -= bytes;
      continue;
    }
    const start = address - area.address + skip;
    yield area.bytes.subarray(start, start + here);
    skip = 0;
    length -= here;
  }
}
