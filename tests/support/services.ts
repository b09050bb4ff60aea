/**
 * The services, each by one name: the dm-io functions and the client's methods, blocking and not.
 *
 * @module
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import {
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoClient,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
  type IoMemory,
  type IoNotifyFn,
  type IoRegion,
  type IoResult,
  READ,
  WRITE,
} from "../../mod.ts";
import { expectSame, pattern } from "./bytes.ts";
import type { ShapedMemory } from "./shaped_memory.ts";
import type { Target } from "./targets.ts";

const EIO = 5;

/** Does I/O by one of the services, checks the form of what it gives back, and returns the error bits. */
export type Service = (where: readonly IoRegion[], rw: number, memory: IoMemory) => Promise<bigint>;

/** The blocking dm-io function for a kind of memory. */
export function dmIoSyncOf(
  where: readonly IoRegion[],
  rw: number,
  memory: IoMemory,
  errorBits: BigUint64Array | null,
): number {
  const count = where.length;
  if (memory instanceof Uint8Array) return dmIoSyncVm(count, where, rw, memory, errorBits);
  if ("bvecs" in memory) return dmIoSyncBvec(count, where, rw, memory.bvecs, errorBits);
  return dmIoSync(count, where, rw, memory.pageList, memory.offset ?? 0, errorBits);
}

/** The asynchronous dm-io function for a kind of memory. */
export function dmIoAsyncOf<C>(
  where: readonly IoRegion[],
  rw: number,
  memory: IoMemory,
  fn: IoNotifyFn<C>,
  context: C,
): number {
  const count = where.length;
  if (memory instanceof Uint8Array) return dmIoAsyncVm(count, where, rw, memory, fn, context);
  if ("bvecs" in memory) return dmIoAsyncBvec(count, where, rw, memory.bvecs, fn, context);
  return dmIoAsync(count, where, rw, memory.pageList, memory.offset ?? 0, fn, context);
}

/** Calls an asynchronous dm-io function; what it returned, and what `fn` was called with, once and later. */
export async function notified(
  where: readonly IoRegion[],
  rw: number,
  memory: IoMemory,
): Promise<{ returned: number; bits: bigint }> {
  const context = {};
  const { promise, resolve, reject } = Promise.withResolvers<bigint>();
  let returned: number | null = null;
  let calls = 0;
  const fn = (bits: bigint, given: object) => {
    // A second call can't reject the promise any more; this surfaces as uncaught.
    if (++calls > 1) throw new Error("fn was called twice");
    if (returned === null) reject(new Error("fn was called before the function had returned"));
    if (given !== context) reject(new Error("fn was called with another context"));
    resolve(bits);
  };
  returned = dmIoAsyncOf(where, rw, memory, fn, context);
  const bits = await promise;
  assertEquals(calls, 1);
  return { returned, bits };
}

function bitsOf({ errorBits, failures }: IoResult): bigint {
  assertEquals(failures.reduce((bits, { region }) => bits | 1n << BigInt(region), 0n), errorBits);
  return errorBits;
}

/** The services. All use the client under the dm-io functions, so that they share its pool. */
export const SERVICES: Readonly<Record<string, Service>> = {
  "dm-io, blocking": (where, rw, memory) => {
    const errorBits = new BigUint64Array(1).fill(~0n);
    assertEquals(dmIoSyncOf(where, rw, memory, errorBits), errorBits[0] === 0n ? 0 : -EIO);
    return Promise.resolve(errorBits[0]!);
  },
  "dm-io, asynchronous": async (where, rw, memory) => {
    const { returned, bits } = await notified(where, rw, memory);
    assertEquals(returned, 0);
    return bits;
  },
  "the client, blocking": (where, rw, memory) => {
    const io = dmIoClient();
    return Promise.resolve(
      bitsOf(rw === WRITE ? io.writeSync(where, memory) : io.readSync(where[0]!, memory)),
    );
  },
  "the client, asynchronous": async (where, rw, memory) => {
    const io = dmIoClient();
    return bitsOf(await (rw === WRITE ? io.write(where, memory) : io.read(where[0]!, memory)));
  },
};

let seed = 1;

/** Writes to devices, and fails unless exactly the regions hold exactly the bytes of the memory. */
export async function writeAndCompare(
  service: Service,
  targets: readonly Target[],
  where: readonly IoRegion[],
  shaped: ShapedMemory,
  what: string,
): Promise<void> {
  const before = pattern(targets[0]!.bdev.sectors * 512, seed++);
  for (const target of targets) target.fill(before);
  shaped.fill(seed++);
  const memory = shaped.whole.slice();
  assertEquals(await service(where, WRITE, shaped.memory), 0n, what);
  expectSame(shaped.whole, memory, `${what}: memory that was written from`);
  const data = shaped.gather(Math.max(...where.map(({ count }) => count)) * 512);
  for (const [i, region] of where.entries()) {
    const target = targets[i]!;
    assertStrictEquals(target.bdev, region.bdev);
    target.expectWritten(before, region, data, what);
  }
}

/** Reads from a device, and fails unless exactly the bytes of the region came into memory. */
export async function readAndCompare(
  service: Service,
  target: Target,
  region: IoRegion,
  shaped: ShapedMemory,
  what: string,
): Promise<void> {
  assertStrictEquals(target.bdev, region.bdev);
  const medium = pattern(target.bdev.sectors * 512, seed++);
  target.fill(medium);
  shaped.fill(seed++);
  const from = region.sector * 512;
  const expected = shaped.expected(medium.subarray(from, from + region.count * 512));
  assert(region.count === 0 || expected.some((byte, i) => byte !== shaped.whole[i]));
  assertEquals(await service([region], READ, shaped.memory), 0n, what);
  expectSame(shaped.whole, expected, `${what}: memory that was read into`);
  expectSame(target.contents(), medium, `${what}: the medium that was read`);
}
