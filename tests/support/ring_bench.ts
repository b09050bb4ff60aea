/**
 * A ring alone, with files and FIFOs to drive it by.
 *
 * @module
 */

import { assert } from "@std/assert";
import { closeSync, constants, openSync } from "node:fs";
import { MappedMemory } from "../../ffi/memory.ts";
import { IORING_OP_READ } from "../../ffi/uapi.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { Sqe } from "../../src/engine/sqe.ts";
import { succeed } from "./commands.ts";
import { Scratch } from "./scratch.ts";

// Completes while it is submitted, so that it is known when its CQE is there.
const IORING_OP_NOP = 0;
const NO_SUCH_OPCODE = 255;
/** Bytes of a read. */
export const BLOCK = 512;
/** How long to wait for what has to come, in milliseconds. */
export const PATIENCE_MS = 5000;

/** An SQE of these fields; the others are 0. */
export function sqeOf(fields: Partial<Sqe>): Sqe {
  return Object.assign(new Sqe(), fields);
}

/** A ring, a folder, and memory for its I/O, gone together: a FIFO answers when the test wants it to. */
export class RingBench implements AsyncDisposable {
  readonly ring: IoUring;
  readonly memory: MappedMemory;
  readonly bytes: Uint8Array;
  readonly #fds: number[] = [];

  private constructor(readonly folder: Scratch, entries: number, bytes: number) {
    this.ring = new IoUring(entries);
    this.memory = new MappedMemory(bytes);
    this.bytes = new Uint8Array(this.memory.buffer);
  }

  static async create(entries: number, bytes = 1 << 20): Promise<RingBench> {
    return new RingBench(await Scratch.create(), entries, bytes);
  }

  /** Opens a new file with this content, to read and write. */
  file(content: Uint8Array, name = "file"): number {
    Deno.writeFileSync(this.folder.join(name), content);
    return this.#open(name);
  }

  /** Makes a FIFO and opens both of its ends: a read of it waits until something is written. */
  async fifo(): Promise<number> {
    await succeed("mkfifo", this.folder.join("fifo"));
    return this.#open("fifo");
  }

  #open(name: string): number {
    const fd = openSync(this.folder.join(name), constants.O_RDWR);
    this.#fds.push(fd);
    return fd;
  }

  /** Queues a read of one block into place `at` of the memory. */
  read(fd: number, block: number, at: number, userData: number, generation = 0): void {
    const address = this.memory.address + at * BLOCK;
    const where = { fd, offsetLow: block * BLOCK, address, length: BLOCK };
    this.ring.push(sqeOf({ opcode: IORING_OP_READ, ...where, userData, generation }));
  }

  /** Queues what completes at once. */
  nothing(userData: number, generation = 0): void {
    this.ring.push(sqeOf({ opcode: IORING_OP_NOP, userData, generation }));
  }

  /** Queues what the kernel will not start. */
  nonsense(userData: number): void {
    this.ring.push(sqeOf({ opcode: NO_SUCH_OPCODE, userData }));
  }

  /** Queues an SQE over the iovecs added since the last. */
  vectored(fields: Partial<Sqe>): void {
    const sqe = sqeOf(fields);
    this.ring.useVectors(sqe);
    this.ring.push(sqe);
  }

  /** Reaps what is there: user data, generation, result of each. */
  reap(): [number, number, number][] {
    const count = this.ring.reap();
    const { userData, generation, result } = this.ring.completions;
    return Array.from({ length: count }, (_, i) => [userData[i]!, generation[i]!, result[i]!]);
  }

  /** Submits and waits until as many have been reaped. */
  finish(count: number): [number, number, number][] {
    const all: [number, number, number][] = [];
    const end = performance.now() + PATIENCE_MS;
    while (all.length < count) {
      assert(performance.now() < end, `${all.length} of ${count} CQEs came`);
      this.ring.wait(100_000);
      all.push(...this.reap());
    }
    return all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const fd of this.#fds) closeSync(fd);
    await this.ring.close();
    this.memory[Symbol.dispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}
