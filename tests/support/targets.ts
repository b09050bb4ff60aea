/**
 * Devices of every kind, whose medium can be filled and looked at without the library.
 *
 * @module
 */

import { BlockDevice, type IoRegion } from "../../mod.ts";
import { expectOnlyChanged, expectSame } from "./bytes.ts";
import { LoopDevice, loopDevices } from "./loop.ts";
import { Scratch } from "./scratch.ts";

/** Every kind of device: how it is made and opened. */
export const TARGET_KINDS = {
  "direct loop device": { loop: { sectorSize: 512 }, direct: true },
  "direct loop device of 4096-byte blocks": { loop: { sectorSize: 4096 }, direct: true },
  "buffered loop device": { loop: { sectorSize: 512 }, direct: false },
  "direct file": { loop: null, direct: true },
  // Direct I/O on tmpfs takes whole pages only.
  "direct file in memory": { loop: null, direct: true, inMemory: true },
  "buffered file": { loop: null, direct: false },
} as const;

/** The name of a kind of device. */
export type TargetKind = keyof typeof TARGET_KINDS;

/** A device under test. */
export class Target {
  /** The device. */
  readonly bdev: BlockDevice;
  readonly #medium: Deno.FsFile;

  /**
   * @param path What to open.
   * @param direct Whether for direct I/O.
   * @param medium What holds its bytes: the path itself, or the file behind a loop device.
   */
  constructor(path: string, direct: boolean, medium = path) {
    this.bdev = BlockDevice.open(path, { write: true, direct });
    this.#medium = Deno.openSync(medium, { read: true, write: true });
  }

  /** The sectors that a request has to be a multiple of. */
  get unit(): number {
    return this.bdev.direct ? this.bdev.logicalBlockSize / 512 : 1;
  }

  /** Fills the medium from its first byte on. */
  fill(data: Uint8Array): void {
    this.#medium.seekSync(0, Deno.SeekMode.Start);
    for (let at = 0; at < data.length;) at += this.#medium.writeSync(data.subarray(at));
  }

  /** Reads the medium. */
  contents(offset = 0, length = this.bdev.sectors * 512 - offset): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(length);
    this.#medium.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < length;) {
      const count = this.#medium.readSync(out.subarray(at));
      if (count === null) throw new RangeError(`${this.bdev.path}: ${offset + at} is its end`);
      at += count;
    }
    return out;
  }

  /** Fails unless the medium is as it was, but for a region that holds the first bytes of `data`. */
  expectWritten(before: Uint8Array, region: IoRegion, data: Uint8Array, what: string): void {
    const after = this.contents();
    const range = { offset: region.sector * 512, length: region.count * 512 };
    const written = after.subarray(range.offset, range.offset + range.length);
    expectSame(written, data.subarray(0, range.length), `${what}: the region on ${this.bdev.path}`);
    expectOnlyChanged(before, after, [range], `${what}: around the region on ${this.bdev.path}`);
  }

  /** Closes the device. */
  async close(): Promise<void> {
    this.#medium.close();
    await this.bdev.close();
  }
}

/** Devices under test that end together. */
export interface Targets extends AsyncDisposable {
  /** The devices. */
  readonly all: readonly Target[];
}

/**
 * Makes devices of one kind.
 *
 * @param kind Which.
 * @param count How many.
 * @param bytes The size of each.
 */
export async function targets(kind: TargetKind, count: number, bytes: number): Promise<Targets> {
  const how = TARGET_KINDS[kind];
  const { loop, direct } = how;
  await using parts = new AsyncDisposableStack();
  const all: Target[] = [];
  const add = (path: string, medium = path) => {
    const target = new Target(path, direct, medium);
    parts.defer(() => target.close());
    all.push(target);
  };
  if (loop !== null) {
    const { devices } = parts.use(await loopDevices(count, { ...loop, bytes }));
    // What goes through the page cache of the device is seen there.
    for (const { path, backing } of devices) add(path, direct ? backing : path);
  } else {
    const folder = "inMemory" in how ? parts.use(await Scratch.create()).path : Deno.makeTempDirSync();
    if (!("inMemory" in how)) parts.defer(() => Deno.removeSync(folder, { recursive: true }));
    for (let i = 0; i < count; i++) {
      Deno.writeFileSync(`${folder}/${i}`, new Uint8Array(0));
      Deno.truncateSync(`${folder}/${i}`, bytes);
      add(`${folder}/${i}`);
    }
  }
  const disposal = parts.move();
  return { all, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}

/**
 * One device of each kind, for requests that mix them.
 *
 * @param bytes The size of each.
 */
export async function oneOfEach(bytes: number): Promise<Targets> {
  await using parts = new AsyncDisposableStack();
  const all: Target[] = [];
  for (const kind of Object.keys(TARGET_KINDS) as TargetKind[]) {
    all.push(...parts.use(await targets(kind, 1, bytes)).all);
  }
  const disposal = parts.move();
  return { all, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}

/** A loop device that has become read-only since it was opened for writing. */
export async function readOnlyTarget(bytes: number): Promise<AsyncDisposable & { bdev: BlockDevice }> {
  await using parts = new AsyncDisposableStack();
  const loop = parts.use(await LoopDevice.create({ bytes }));
  const bdev = parts.use(BlockDevice.open(loop.path, { write: true, direct: true }));
  await loop.refuseWrites();
  const disposal = parts.move();
  return { bdev, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}
