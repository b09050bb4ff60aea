/**
 * What tests of wrong input stand on.
 *
 * @module
 */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  BlockDevice,
  IoClient,
  type IoMemory,
  type IoRegion,
  type PageList,
  pageSize,
  WRITE,
} from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "./bytes.ts";
import { LoopDevice } from "./loop.ts";
import { Scratch } from "./scratch.ts";

export const BYTES = 256 << 10;
export const SECTORS = BYTES / 512;
export const PAGE = pageSize();

/** A file, a direct device with blocks of 4096 bytes, a client, and pages of its pool. */
export class Bed implements AsyncDisposable {
  readonly io = new IoClient({ pages: 16 });
  readonly pages = this.io.pool.alloc(4);
  readonly #available = this.io.pool.available;
  readonly #before = pattern(BYTES, 1);

  private constructor(
    readonly file: BlockDevice,
    readonly reader: BlockDevice,
    readonly direct: BlockDevice,
    readonly loop: LoopDevice,
    readonly path: string,
    readonly stack: AsyncDisposableStack,
  ) {}

  static async create(): Promise<Bed> {
    calls = 0;
    await using stack = new AsyncDisposableStack();
    const path = stack.use(await Scratch.create()).join("file");
    Deno.writeFileSync(path, pattern(BYTES, 1));
    const loop = stack.use(await LoopDevice.create({ bytes: BYTES, sectorSize: 4096 }));
    loop.fill(pattern(BYTES, 1));
    const file = stack.use(BlockDevice.open(path, { write: true }));
    const reader = stack.use(BlockDevice.open(path));
    const direct = stack.use(BlockDevice.open(loop.path, { write: true, direct: true }));
    const bed = new Bed(file, reader, direct, loop, path, stack.move());
    bed.stack.use(bed.io);
    return bed;
  }

  /** The same region in each shape that a call may take it. */
  region(sector: number, count: number, bdev = this.file): IoRegion {
    return { bdev, sector, count };
  }

  /** Writing and reading, blocking and not, and by callback, are refused alike. */
  refusesRegion(region: IoRegion, kind: Kind, ...words: string[]): void {
    this.refuses(() => this.io.write([region], this.pages), kind, ...words);
    this.refuses(() => this.io.writeSync([region], this.pages), kind, ...words);
    this.refuses(() => this.io.read(region, this.pages), kind, ...words);
    this.refuses(() => this.io.readSync(region, this.pages), kind, ...words);
    this.refuses(() => this.io.notify(WRITE, [region], this.pages, unexpected, null), kind, ...words);
    // One bad region among good ones keeps the good ones from being written, too.
    this.refuses(() => this.io.write([this.region(0, 8), region], this.pages), kind, ...words);
  }

  refusesMemory(memory: unknown, count: number, kind: Kind, ...words: string[]): void {
    const region = this.region(0, count);
    this.refuses(() => this.io.write([region], memory as IoMemory), kind, ...words);
    this.refuses(() => this.io.read(region, memory as IoMemory), kind, ...words);
    this.refuses(() => this.io.readSync(region, memory as IoMemory), kind, ...words);
  }

  refuses(call: () => unknown, kind: Kind, ...words: string[]): void {
    const error = assertThrows(call, kind);
    for (const word of words) assertStringIncludes(error.message, word);
    assertEquals(this.io.outstanding, 0);
    for (const device of [this.file, this.reader, this.direct]) assertEquals(device.inFlight, 0);
  }

  /** Nothing was written, nothing is held, and the client goes on. */
  async expectUntouched(): Promise<void> {
    expectSame(Deno.readFileSync(this.path), this.#before, "the file");
    expectSame(this.loop.bytes(), this.#before, "the loop device");
    assertEquals(this.io.pool.available, this.#available);
    // A page that is still pinned would come free only later.
    this.io.pool.free(this.pages);
    assertEquals(this.io.pool.available, this.#available + 4);
    const data = fillPattern(this.io.pool.alloc(2), 2);
    const { errorBits } = await this.io.write([this.region(16, 16), this.region(16, 16, this.direct)], data);
    assertEquals(errorBits, 0n);
    assertEquals(this.io.writeSync([this.region(64, 16)], pattern(8192, 2)).errorBits, 0n);
    expectSame(Deno.readFileSync(this.path).subarray(16 * 512, 32 * 512), data);
    expectSame(this.loop.bytes(16 * 512, 8192), data);
    assertEquals(this.io.outstanding, 0);
    assertEquals(calls, 0, "fn was called for a request that was refused");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stack.disposeAsync();
  }
}

export type Kind = typeof TypeError | typeof RangeError;

let calls = 0;

export function unexpected(): void {
  calls++;
}

export function list(...pages: unknown[]): PageList {
  return pages.reduceRight<unknown>((next, page) => ({ next, page }), null) as PageList;
}

export function wrong<T>(value: unknown): T {
  return value as T;
}
