/** The ring alone, on files and FIFOs: a FIFO answers when the test wants it to. */

import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { EFAULT, EINVAL } from "../../ffi/errno.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { Sqe } from "../../src/engine/sqe.ts";
import {
  IORING_OP_READ,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_WRITE,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  IOSQE_FIXED_FILE,
} from "../../ffi/uapi.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { settlesWithin, succeed } from "../support/commands.ts";
import { processState } from "../support/process_state.ts";
import { Scratch } from "../support/scratch.ts";
import { runTraced } from "../support/strace.ts";

// Completes while it is submitted, so that it is known when its CQE is there.
const IORING_OP_NOP = 0;
const NO_SUCH_OPCODE = 255;
const EBADF = 9;
const BLOCK = 512;
const PATIENCE_MS = 5000;

/** An SQE of these fields; the others are 0. */
function sqeOf(fields: Partial<Sqe>): Sqe {
  return Object.assign(new Sqe(), fields);
}

/** A ring, a folder, and memory for its I/O, gone together. */
class Bench implements AsyncDisposable {
  readonly ring: IoUring;
  readonly memory: MappedMemory;
  readonly bytes: Uint8Array;
  readonly #fds: number[] = [];

  private constructor(readonly folder: Scratch, entries: number, bytes: number) {
    this.ring = new IoUring(entries);
    this.memory = new MappedMemory(bytes);
    this.bytes = new Uint8Array(this.memory.buffer);
  }

  static async create(entries: number, bytes = 1 << 20): Promise<Bench> {
    return new Bench(await Scratch.create(), entries, bytes);
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

const byUserData = (a: readonly number[], b: readonly number[]) => a[0]! - b[0]!;

Deno.test("many batches go through a ring of 8, and each CQE brings both halves of its user data", async () => {
  await using bench = await Bench.create(8);
  const { ring } = bench;
  const content = pattern(400 * BLOCK, 1);
  const fd = bench.file(content);
  assertEquals([ring.room, ring.queued, ring.capacity], [8, 0, 16]);
  const seen: number[][] = [];
  // 400 is no multiple of either queue, so both wrap at every place; they stay full throughout.
  for (let next = 0; seen.length < 400;) {
    for (; next < 400 && ring.room > 0 && next - seen.length < ring.capacity; next++) {
      bench.read(fd, next, next, 0xffff_ff00 + next % 16 * 2 ** 4, next);
    }
    assertGreaterOrEqual(ring.room, 0);
    ring.wait(1_000_000);
    seen.push(...bench.reap());
  }
  assertEquals([ring.room, ring.queued], [8, 0]);
  seen.sort((a, b) => a[1]! - b[1]!);
  assertEquals(seen, Array.from(seen, (_, i) => [0xffff_ff00 + i % 16 * 2 ** 4, i, BLOCK]));
  expectSame(bench.bytes.subarray(0, content.length), content);
});

Deno.test("a partial submit leaves the rest queued for the next", async () => {
  await using bench = await Bench.create(8);
  const { ring } = bench;
  const content = pattern(4 * BLOCK, 2);
  const fd = bench.file(content);
  bench.read(fd, 0, 0, 10);
  bench.nonsense(11);
  bench.read(fd, 1, 1, 12);
  bench.nonsense(13);
  bench.read(fd, 2, 2, 14);
  assertEquals([ring.submit(), ring.queued, ring.room], [2, 3, 5]);
  // What is added meanwhile stands behind what is left.
  bench.read(fd, 3, 3, 15);
  assertEquals([ring.submit(), ring.queued], [2, 2]);
  assertEquals([ring.submit(), ring.queued, ring.room], [2, 0, 8]);
  const done = bench.finish(6).sort(byUserData);
  const results = [BLOCK, -EINVAL, BLOCK, -EINVAL, BLOCK, BLOCK];
  assertEquals(done, results.map((result, i) => [10 + i, 0, result]));
  expectSame(bench.bytes.subarray(0, content.length), content);
});

Deno.test("a wait that submits only a part does not sleep, and the next submits the rest", async () => {
  await using bench = await Bench.create(8);
  const fd = await bench.fifo();
  bench.nonsense(1);
  bench.read(fd, 0, 0, 2);
  bench.ring.wait();
  assertEquals(bench.ring.queued, 1);
  writeSync(fd, pattern(BLOCK, 3));
  assertEquals(bench.finish(2).sort(byUserData), [[1, 0, -EINVAL], [2, 0, BLOCK]]);
});

Deno.test("as many completions as the capacity fit at once, in every position of the queue", async () => {
  await using bench = await Bench.create(8);
  const { ring } = bench;
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < ring.capacity; i++) {
      bench.nothing(i, round);
      if (ring.room === 0) ring.submit();
    }
    // Nothing is reaped before all are there; one that had not fitted would come only after a further submit.
    assertEquals([ring.queued, bench.reap()], [0, Array.from({ length: 16 }, (_, i) => [i, round, 0])]);
    bench.nothing(99); // shifts the next round by one place
    assertEquals(bench.finish(1), [[99, 0, 0]]);
  }
});

Deno.test("CQEs that overflowed the completion queue come with the next submit", async () => {
  await using bench = await Bench.create(8);
  const { ring } = bench;
  for (let i = 0; i < ring.capacity + 3; i++) {
    bench.nothing(i);
    if (ring.room === 0) ring.submit();
  }
  ring.submit();
  const first = bench.reap();
  assertEquals(first.length, ring.capacity);
  ring.submit(); // nothing is queued, yet the kernel has something to hand out
  const all = [...first, ...bench.reap()];
  assertEquals(all, Array.from({ length: ring.capacity + 3 }, (_, i) => [i, 0, 0]));
});

Deno.test("waitAsync resolves when a CQE comes, and the event loop runs meanwhile", async () => {
  await using bench = await Bench.create(8);
  const fd = await bench.fifo();
  for (let round = 0; round < 50; round++) {
    bench.read(fd, 0, 0, round);
    bench.ring.submit();
    let settled = false;
    const waiting = bench.ring.waitAsync().then(() => settled = true);
    await new Promise((resolve) => setTimeout(resolve, 1));
    assertEquals([settled, bench.reap().length], [false, 0]);
    writeSync(fd, pattern(BLOCK, round));
    assert(await settlesWithin(waiting, PATIENCE_MS), `round ${round}: waitAsync slept on`);
    bench.ring.submit();
    assertEquals(bench.reap(), [[round, 0, BLOCK]]);
    expectSame(bench.bytes.subarray(0, BLOCK), pattern(BLOCK, round));
  }
});

Deno.test("waitAsync resolves at once when a CQE is there already", async () => {
  await using bench = await Bench.create(8);
  bench.nothing(1);
  bench.ring.submit();
  assert(await settlesWithin(bench.ring.waitAsync(), PATIENCE_MS));
  assertEquals(bench.reap(), [[1, 0, 0]]);
});

Deno.test("wake and close end a waitAsync", async () => {
  await using bench = await Bench.create(8);
  bench.read(await bench.fifo(), 0, 0, 1);
  bench.ring.submit();
  const woken = bench.ring.waitAsync();
  bench.ring.wake();
  assert(await settlesWithin(woken, PATIENCE_MS), "wake");
  assertEquals(bench.reap(), []);
  const closed = bench.ring.waitAsync();
  assert(await settlesWithin(bench.ring.close(), PATIENCE_MS), "close");
  assert(await settlesWithin(closed, PATIENCE_MS), "the wait that close ended");
  await bench.ring.close(); // a second time is nothing
});

Deno.test("rings that were closed leave no file descriptor, mapping or thread behind", async () => {
  const cycle = async (waits: boolean) => {
    const ring = new IoUring(64);
    const waiting = waits ? ring.waitAsync() : null;
    await ring.close();
    await waiting;
  };
  const mappings = () => Deno.readTextFileSync("/proc/self/maps").split("\n").length;
  for (let i = 0; i < 8; i++) await cycle(i % 2 === 0);
  const before = { ...processState(), mappings: mappings() };
  // Deno's pool has 32 threads: with one lost to each ring, the waits would come to a stand as well.
  for (let i = 0; i < 100; i++) await cycle(i % 2 === 0);
  const after = { ...processState(), mappings: mappings() };
  assertEquals(after.openFiles, before.openFiles);
  assertLess(after.threads, before.threads + 3);
  assertLess(after.mappings, before.mappings + 20);
  assertEquals(after.pinned, before.pinned);
});

Deno.test("a ring with nothing in flight has freed all when close returns, before it resolves", async () => {
  await using scratch = await Scratch.create();
  const rings = () => {
    const links = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
      try {
        return Deno.readLinkSync(`/proc/self/fd/${name}`);
      } catch {
        return ""; // the listing's own
      }
    });
    return links.filter((it) => it === "anon_inode:[io_uring]" || it === "anon_inode:[eventfd]").length;
  };
  const before = { rings: rings(), pinned: processState().pinned };
  using memory = new MappedMemory(1 << 20);
  const ring = new IoUring(8);
  const fd = openSync(scratch.join("file"), constants.O_RDWR | constants.O_CREAT);
  if (ring.features.fixedBuffers) assertEquals(ring.registerBuffer(3, memory.address, memory.bytes), 0);
  if (ring.features.fixedFiles) assertEquals(ring.registerFile(5, fd), 0);
  closeSync(fd);
  const closed = ring.close();
  assertEquals({ rings: rings(), pinned: processState().pinned }, before);
  await closed;
});

// Prints milliseconds: of waits in vain, of one with a CQE there, and of one that another process ends.
const WAITS = `
import { openSync, writeSync } from "node:fs";
import { MappedMemory } from "./ffi/memory.ts";
import { Sqe } from "./src/engine/sqe.ts";
import { IoUring } from "./src/engine/io_uring.ts";

const ring = new IoUring(8);
const { extArg, deferTaskrun } = ring.features;
// A kernel without EXT_ARG, 5.10, has none of the set-up flags either.
if (Deno.args[0] === "poll") (ring.features as { extArg: boolean }).extArg = false;
new Deno.Command("mkfifo", { args: ["fifo"] }).outputSync();
const fd = openSync("fifo", "r+");
const memory = new MappedMemory(512);
const sqe = Object.assign(new Sqe(), { opcode: 22, fd, address: memory.address, length: 512, userData: 1 });
const read = () => ring.push(sqe);
const lasts = (timeout: number) => {
  const began = performance.now();
  ring.wait(timeout);
  return performance.now() - began;
};
read();
const inVain = [0, 1, 1500, 30_000, 1_100_000].map((microseconds) => [microseconds / 1000, lasts(microseconds)]);
const taken = ring.queued === 0 && ring.reap() === 0;
writeSync(fd, new Uint8Array(512));
const there = lasts(20_000_000);
ring.submit();
const reaped = [ring.reap()];
read();
new Deno.Command("sh", { args: ["-c", "sleep 0.1; head -c 512 /dev/zero > fifo"] }).spawn().unref();
const comes = lasts(20_000_000);
ring.submit();
reaped.push(ring.reap());
await ring.close();
console.log(JSON.stringify({ extArg, deferTaskrun, inVain, taken, there, comes, reaped }));
`;

for (const way of ["EXT_ARG", "poll"] as const) {
  Deno.test(`wait(timeout) by ${way} returns in time, with a CQE or without`, async () => {
    const inject = way === "poll" ? ["io_uring_setup:error=EINVAL:when=1..2"] : [];
    const { code, stdout, stderr } = await runTraced({
      source: WAITS,
      args: [way],
      trace: ["io_uring_setup"],
      inject,
    });
    assertEquals(code, 0, stderr);
    const seen = JSON.parse(stdout);
    // The kernel may lack them: Linux 5.10 has neither.
    if (way === "poll") assertEquals(seen.deferTaskrun, false);
    for (const [requested, took] of seen.inVain) {
      assertGreaterOrEqual(took, requested - 0.5, `${requested} ms`);
      assertLess(took, requested + 500, `${requested} ms`);
    }
    assert(seen.taken, "the SQE was given to the kernel all the same");
    assertLess(seen.there, 500, "a CQE that is there");
    assertLess(seen.comes, 10_000, "a CQE that comes");
    assertEquals(seen.reaped, [1, 1]);
  });
}

Deno.test("an iovec array reaches the kernel for each vectored SQE of a batch, also after a partial submit", async () => {
  await using bench = await Bench.create(8);
  const { ring, memory } = bench;
  const fd = bench.file(new Uint8Array(64 * BLOCK));
  const whole = ring.vectorRoom;
  assertGreaterOrEqual(whole, 1024, "one SQE's array has up to UIO_MAXIOV entries");
  const content = fillPattern(bench.bytes.subarray(0, 32 * BLOCK), 7).slice();
  for (let round = 0; round < 2; round++) {
    // 4 SQEs of 8 blocks, each taken from memory back to front; between them one that stops the batch.
    for (let sqe = 0; sqe < 4; sqe++) {
      for (let i = 7; i >= 0; i--) ring.vector(memory.address + (sqe * 8 + i) * BLOCK, BLOCK);
      bench.vectored({
        opcode: IORING_OP_WRITEV,
        fd,
        offsetLow: sqe * 8 * BLOCK,
        userData: sqe,
        generation: round,
      });
      if (sqe === 1) bench.nonsense(100);
    }
    assertEquals(ring.vectorRoom, whole - 32);
    assertEquals([ring.submit(), ring.queued], [3, 2]);
    assertEquals(ring.vectorRoom, whole - 32, "the kernel has yet to read what is left");
    assertEquals(ring.submit(), 2);
    assertEquals([ring.queued, ring.vectorRoom], [0, whole]);
    const done = bench.finish(5).sort(byUserData);
    assertEquals(done, [0, 1, 2, 3].map((i) => [i, round, 8 * BLOCK]).concat([[100, 0, -EINVAL]]));
  }
  const expected = new Uint8Array(64 * BLOCK);
  for (let block = 0; block < 32; block++) {
    const from = block - block % 8 + 7 - block % 8;
    expected.set(content.subarray(from * BLOCK, (from + 1) * BLOCK), block * BLOCK);
  }
  expectSame(Deno.readFileSync(bench.folder.join("file")), expected, "file");

  // Back into other memory, as the longest array that the kernel takes.
  for (let i = 0; i < 1024; i++) ring.vector(memory.address + (512 + i % 32) * BLOCK + (i >> 5) * 16, 16);
  bench.vectored({ opcode: IORING_OP_READV, fd, userData: 7, generation: 7 });
  assertEquals(bench.finish(1), [[7, 7, 1024 * 16]]);
  const got = new Uint8Array(32 * BLOCK);
  for (let i = 0; i < 1024; i++) {
    const from = (512 + i % 32) * BLOCK + (i >> 5) * 16;
    got.set(bench.bytes.subarray(from, from + 16), i * 16);
  }
  expectSame(got, expected.subarray(0, got.length), "read back");
});

Deno.test("byte offsets beyond 2^32 and 2^53 reach their place", async () => {
  await using bench = await Bench.create(8);
  const fd = bench.file(new Uint8Array(0));
  const offsets = [
    4096n,
    2n ** 31n + 512n,
    2n ** 32n - 512n,
    2n ** 32n + 4096n,
    2n ** 53n + 512n,
    2n ** 61n + 512n,
  ];
  offsets.forEach((offset, i) => {
    fillPattern(bench.bytes.subarray(i * BLOCK, (i + 1) * BLOCK), i);
    const [low, high] = [Number(offset & 0xffff_ffffn), Number(offset >> 32n)];
    const address = bench.memory.address + i * BLOCK;
    const where = { fd, offsetLow: low, offsetHigh: high, address, length: BLOCK };
    bench.ring.push(sqeOf({ opcode: IORING_OP_WRITE, ...where, userData: i }));
  });
  assertEquals(bench.finish(offsets.length).sort(byUserData), offsets.map((_, i) => [i, 0, BLOCK]));
  using file = Deno.openSync(bench.folder.join("file"));
  assertEquals(file.statSync().blocks! * 512, offsets.length * 4096, "pages that hold data");
  offsets.forEach((offset, i) => {
    file.seekSync(offset, Deno.SeekMode.Start);
    const got = new Uint8Array(BLOCK);
    assertEquals(file.readSync(got), BLOCK);
    expectSame(got, pattern(BLOCK, i), `offset ${offset}`);
  });
});

/** Linux before 5.19 has no sparse tables. */
const probe = new IoUring(8);
const hasTables = probe.features.fixedBuffers && probe.features.fixedFiles;
await probe.close();

Deno.test(
  "places of the tables are filled, used, emptied and filled again",
  { ignore: !hasTables },
  async () => {
    await using bench = await Bench.create(8);
    const { ring, memory } = bench;
    const fd = bench.file(pattern(8 * BLOCK, 8));
    const last = ring.tableEntries - 1;
    const fixed = (opcode: number, file: number, place: number, at = 0): number => {
      const where = { fd: file, offsetLow: 4 * BLOCK, address: memory.address + at * BLOCK, length: BLOCK };
      ring.push(sqeOf({ opcode, flags: IOSQE_FIXED_FILE, ...where, bufferIndex: place, userData: 1 }));
      return bench.finish(1)[0]![2];
    };
    assertEquals(fixed(IORING_OP_READ, last, 0), -EBADF, "an empty place of the files");
    for (let round = 0; round < 3; round++) {
      assertEquals(ring.registerFile(last, fd), 0);
      assertEquals(ring.registerBuffer(last, memory.address, memory.bytes), 0);
      assertEquals(fixed(IORING_OP_READ_FIXED, last, last), BLOCK);
      expectSame(
        bench.bytes.subarray(0, BLOCK),
        Deno.readFileSync(bench.folder.join("file")).subarray(4 * BLOCK, 5 * BLOCK),
      );
      fillPattern(bench.bytes.subarray(BLOCK, 2 * BLOCK), round);
      assertEquals(fixed(IORING_OP_WRITE_FIXED, last, last, 1), BLOCK);
      expectSame(
        Deno.readFileSync(bench.folder.join("file")).subarray(4 * BLOCK, 5 * BLOCK),
        pattern(BLOCK, round),
      );
      assertEquals(ring.registerBuffer(last, 0, 0), 0);
      assertEquals(fixed(IORING_OP_READ_FIXED, last, last), -EFAULT, "the buffer was taken out");
      assertEquals(ring.registerFile(last, -1), 0);
      assertEquals(fixed(IORING_OP_READ, last, 0), -EBADF, "the file was taken out");
    }
    assertEquals(ring.registerFile(ring.tableEntries, fd), -EINVAL, "past the end of the table");
    assertEquals(
      ring.registerBuffer(ring.tableEntries, memory.address, 4096),
      -EINVAL,
      "past the end of the table",
    );
    assertEquals(ring.registerBuffer(0, 0, 4096), -EFAULT);
  },
);
