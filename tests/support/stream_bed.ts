/**
 * A device with a pattern, a client, and what a stream must leave behind: nothing.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { BlockDevice, IoClient, type IoClientOptions, type IoRegion } from "../../mod.ts";
import { pattern } from "./bytes.ts";
import { settlesWithin, until } from "./commands.ts";
import { LoopDevice, type LoopOptions } from "./loop.ts";

const PATIENCE = 10_000;

/** A loop device, open for direct I/O, and a client. */
export class StreamBed implements AsyncDisposable {
  /** What the device holds at first. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #parts: AsyncDisposableStack;

  private constructor(
    readonly io: IoClient,
    readonly device: BlockDevice,
    readonly loop: LoopDevice,
    parts: AsyncDisposableStack,
  ) {
    this.bytes = pattern(loop.bytes().length, 7);
    this.#parts = parts;
  }

  /** Makes all of it. */
  static async create(options: IoClientOptions & LoopOptions = {}): Promise<StreamBed> {
    await using parts = new AsyncDisposableStack();
    const loop = parts.use(await LoopDevice.create({ bytes: 4 << 20, ...options }));
    loop.fill(pattern(loop.bytes().length, 7));
    const device = parts.use(BlockDevice.open(loop.path, { write: true, direct: true }));
    const io = parts.use(new IoClient(options));
    return new StreamBed(io, device, loop, parts.move());
  }

  /** A region of the device. */
  region(sector = 0, count = this.device.sectors - sector): IoRegion {
    return { bdev: this.device, sector, count };
  }

  /** The bytes that a region holds at first. */
  held({ sector, count }: IoRegion): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(sector * 512, (sector + count) * 512);
  }

  /** Everything that a stream held is given back, and the client goes on. */
  async expectIdle(held = 0): Promise<void> {
    const { pool } = this.io;
    assert(await until(() => pool.available === pool.pages - held, PATIENCE), `${pool.available} are free`);
    assert(await until(() => this.io.outstanding === 0, PATIENCE), `${this.io.outstanding} are outstanding`);
    assertEquals(this.device.inFlight, 0);
    assertEquals((await this.io.read(this.region(0, 8), new Uint8Array(4096))).ok, true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    assert(await settlesWithin(this.io.close(), PATIENCE), "the client does not close");
    await this.#parts.disposeAsync();
  }
}

/** All bytes of a stream. */
export async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for await (const chunk of stream) chunks.push(chunk as Uint8Array<ArrayBuffer>);
  return joined(chunks);
}

/** Chunks as one. */
export function joined(chunks: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** Fails when a promise does not settle in time. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  assert(await settlesWithin(promise, PATIENCE), `${what}: it hangs`);
  return await promise;
}
