/**
 * Mirrors an image to three or more devices, reads every copy back, and shows which device failed when one does.
 *
 *     mirror.ts [--image FILE] [PATH PATH PATH ...]
 *
 * Each PATH is a block device or a file at least as long as the image; it is OVERWRITTEN from its start. Without paths, three files of
 * 64 MiB are made in a temporary folder and removed at the end. Without an image, 32 MiB are made up. The exit status is 1 when a
 * device failed that should not have.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { openSync } from "node:fs";
import {
  type BioVec,
  BlockDevice,
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoClient,
  dmIoGet,
  dmIoPut,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
  type IoNotifyFn,
  type IoRegion,
  type PageList,
  pageSize,
  READ,
  SECTOR_SIZE,
  WRITE,
} from "../mod.ts";

const MIB = 1 << 20;
const PIECE = MIB;
const PIECES_AT_ONCE = 8;

/** One piece of the image, in pages of the pool, to be passed in one of the three kinds of memory. */
interface Piece {
  kind: "vm" | "bvec" | "page list";
  start: number;
  memory: Uint8Array;
}

function main(args: string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(
      "usage: mirror.ts [--image FILE] [PATH PATH PATH ...]   (three or more; they are overwritten)",
    );
    return Promise.resolve(0);
  }
  const at = args.indexOf("--image");
  const image = at < 0 ? madeUp(32 * MIB) : padded(Deno.readFileSync(args[at + 1] ?? ""));
  const paths = at < 0 ? args : args.toSpliced(at, 2);
  if (paths.length > 0) {
    if (paths.length < 3 || paths.length > 64) {
      console.error(`${paths.length} paths are given; a mirror takes 3 to 64`);
      return Promise.resolve(2);
    }
    return mirror(image, paths);
  }
  const folder = Deno.makeTempDirSync({ prefix: "dmio-mirror-" });
  const room = Math.max(64 * MIB, image.length);
  const files = ["a.img", "b.img", "c.img"].map((name) => `${folder}/${name}`);
  return mirror(image, files, room).finally(() => Deno.removeSync(folder, { recursive: true }));
}

/** Mirrors an image, then loses a copy. `create` makes files of so many bytes. Gives the exit status. */
async function mirror(image: Uint8Array, paths: string[], create?: number): Promise<number> {
  dmIoGet(PIECES_AT_ONCE * PIECE / pageSize());
  // Every device is closed, also when the close of another rejects; the pages are put last.
  await using held = new AsyncDisposableStack();
  held.defer(() => dmIoPut(dmIoClient().pool.pages));
  const devices = paths.map((path) => held.use(open(path, create)));
  const { engine, ioUringRefused = "" } = dmIoClient().features;
  if (engine === "threads") console.log(`without io_uring, by threads: ${ioUringRefused.split("\n")[0]}`);
  const expected = await copyAll(image, devices);
  const shown = await loseOne(image, devices);
  return expected && shown ? 0 : 1;
}

function open(path: string, create: number | undefined): BlockDevice {
  if (create !== undefined) return BlockDevice.open(path, { write: true, create });
  return BlockDevice.open(path, { write: true, direct: Deno.statSync(path).isBlockDevice === true });
}

/** Writes the image to all devices, reads each copy back and prints the table. Tells whether all went well. */
async function copyAll(image: Uint8Array, devices: BlockDevice[]): Promise<boolean> {
  const begun = performance.now();
  const errorBits = await writeAll(image, devices);
  const seconds = (performance.now() - begun) / 1000;

  console.log(
    `${image.length} bytes to ${devices.length} devices by async vm, bvec and page-list writes, read back by the sync forms`,
  );
  console.log("");
  console.log(
    "device                                    bytes    write MB/s   read MB/s   error bit   verified",
  );
  let verified = true;
  for (const [i, device] of devices.entries()) {
    const { same, seconds: readSeconds } = verify(image, device);
    verified &&= same;
    console.log([
      device.path.slice(-36).padEnd(36),
      `${image.length}`.padStart(10),
      (image.length / 1e6 / seconds).toFixed(0).padStart(13),
      (image.length / 1e6 / readSeconds).toFixed(0).padStart(11),
      `${errorBits >> BigInt(i) & 1n}`.padStart(11),
      (same ? "yes" : "NO").padStart(10),
    ].join(" "));
  }
  console.log("");
  console.log(`error bits: 0b${errorBits.toString(2).padStart(devices.length, "0")}`);
  return errorBits === 0n && verified;
}

/** Writes to all devices, the last of which the kernel lets nobody write. Tells whether that bit alone was set. */
async function loseOne(image: Uint8Array, devices: BlockDevice[]): Promise<boolean> {
  const last = devices.at(-1)!;
  // The kernel refuses a write by a file descriptor that is open for reading only. The library is told that it is for writing, as
  // it would refuse at once what its caller could have known.
  await using readOnly = new BlockDevice({
    ...last,
    fd: openSync(last.path, "r"),
    readOnly: true,
    writable: true,
    direct: false,
  });
  const some = image.subarray(0, Math.min(image.length, 4 * MIB));
  const errorBits = await writeAll(some, [...devices.slice(0, -1), readOnly]);
  const expected = 1n << BigInt(devices.length - 1);
  console.log(
    `error bits: 0b${errorBits.toString(2).padStart(devices.length, "0")}` +
      ` with ${last.path} read-only: ${errorBits === expected ? "its bit alone" : "NOT AS EXPECTED"}`,
  );
  return errorBits === expected;
}

/** Writes the image, several pieces at once. Gives the error bits of all pieces together. */
async function writeAll(image: Uint8Array, devices: BlockDevice[]): Promise<bigint> {
  const { pool } = dmIoClient();
  const kinds: Piece["kind"][] = ["vm", "bvec", "page list"];
  let errorBits = 0n;
  let next = 0;
  const writers = Array.from({ length: PIECES_AT_ONCE }, async () => {
    const memory = pool.alloc(PIECE / pageSize());
    for (let start = next; start < image.length; start = next) {
      next += PIECE;
      const bytes = image.subarray(start, start + PIECE);
      memory.set(bytes);
      const kind = kinds[start / PIECE % kinds.length]!;
      errorBits |= await write({ kind, start, memory: memory.subarray(0, bytes.length) }, devices);
    }
    pool.free(memory);
  });
  await Promise.all(writers);
  return errorBits;
}

function write({ kind, start, memory }: Piece, devices: BlockDevice[]): Promise<bigint> {
  const regions = devices.map((bdev) => region(bdev, start, memory.length));
  return new Promise((resolve) => {
    const fn: IoNotifyFn<null> = (errorBits) => resolve(errorBits);
    if (kind === "vm") dmIoAsyncVm(regions.length, regions, WRITE, memory, fn, null);
    else if (kind === "bvec") dmIoAsyncBvec(regions.length, regions, WRITE, bvecs(memory), fn, null);
    else dmIoAsync(regions.length, regions, WRITE, pageList(memory), 0, fn, null);
  });
}

/** Reads a copy by the three sync forms in turn, and compares. Tells how long the reads took. */
function verify(image: Uint8Array, device: BlockDevice): { same: boolean; seconds: number } {
  const { pool } = dmIoClient();
  const memory = pool.alloc(PIECE / pageSize());
  let same = true;
  let seconds = 0;
  for (let start = 0, turn = 0; start < image.length; start += PIECE, turn++) {
    const bytes = image.subarray(start, start + PIECE);
    const got = memory.subarray(0, bytes.length);
    const where = [region(device, start, bytes.length)];
    const begun = performance.now();
    const status = turn % 3 === 0
      ? dmIoSyncVm(1, where, READ, got, null)
      : turn % 3 === 1
      ? dmIoSyncBvec(1, where, READ, bvecs(got), null)
      : dmIoSync(1, where, READ, pageList(got), 0, null);
    seconds += (performance.now() - begun) / 1000;
    same &&= status === 0 && Buffer.compare(bytes, got) === 0;
  }
  pool.free(memory);
  return { same, seconds };
}

function region(bdev: BlockDevice, start: number, bytes: number): IoRegion {
  return { bdev, sector: start / SECTOR_SIZE, count: bytes / SECTOR_SIZE };
}

function bvecs(memory: Uint8Array): BioVec[] {
  return pages(memory).map((page) => ({ page, offset: 0, len: page.length }));
}

function pageList(memory: Uint8Array): PageList {
  return pages(memory).reduceRight<PageList | null>((next, page) => ({ next, page }), null)!;
}

function pages(memory: Uint8Array): Uint8Array[] {
  const size = pageSize();
  return Array.from({ length: memory.length / size }, (_, i) => memory.subarray(i * size, (i + 1) * size));
}

/** Bytes that differ from page to page. */
function madeUp(bytes: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  let word = 0x9e3779b9;
  for (let i = 0; i < words.length; i++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    words[i] = word;
  }
  return new Uint8Array(words.buffer);
}

/** Rounded up to whole pages with zeros. */
function padded(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.max(1, Math.ceil(bytes.length / pageSize())) * pageSize());
  out.set(bytes);
  return out;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
