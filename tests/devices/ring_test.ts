/** The queues and tables of a ring, alone on files and FIFOs. */

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { writeSync } from "node:fs";
import { EFAULT, EINVAL } from "../../ffi/errno.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
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
import { ringTest } from "../support/engine.ts";
import { BLOCK, RingBench, sqeOf } from "../support/ring_bench.ts";

const EBADF = 9;

const byUserData = (a: readonly number[], b: readonly number[]) => a[0]! - b[0]!;

ringTest(
  "many batches go through a ring of 8, and each CQE brings both halves of its user data",
  async () => {
    await using bench = await RingBench.create(8);
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
  },
);

ringTest("a partial submit leaves the rest queued for the next", async () => {
  await using bench = await RingBench.create(8);
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

ringTest("a wait that submits only a part does not sleep, and the next submits the rest", async () => {
  await using bench = await RingBench.create(8);
  const fd = await bench.fifo();
  bench.nonsense(1);
  bench.read(fd, 0, 0, 2);
  bench.ring.wait();
  assertEquals(bench.ring.queued, 1);
  writeSync(fd, pattern(BLOCK, 3));
  assertEquals(bench.finish(2).sort(byUserData), [[1, 0, -EINVAL], [2, 0, BLOCK]]);
});

ringTest("as many completions as the capacity fit at once, in every position of the queue", async () => {
  await using bench = await RingBench.create(8);
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

ringTest("CQEs that overflowed the completion queue come with the next submit", async () => {
  await using bench = await RingBench.create(8);
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

ringTest(
  "an iovec array reaches the kernel for each vectored SQE of a batch, also after a partial submit",
  async () => {
    await using bench = await RingBench.create(8);
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
  },
);

ringTest("byte offsets beyond 2^32 and 2^53 reach their place", async () => {
  await using bench = await RingBench.create(8);
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

ringTest(
  "places of the tables are filled, used, emptied and filled again",
  async () => {
    await using bench = await RingBench.create(8);
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
  !hasTables,
);
