/** The waits of a ring, and its close, alone on files and FIFOs. */

import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { MappedMemory } from "../../ffi/memory.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { ringTest } from "../support/engine.ts";
import { processState } from "../support/process_state.ts";
import { BLOCK, PATIENCE_MS, RingBench } from "../support/ring_bench.ts";
import { Scratch } from "../support/scratch.ts";
import { runTraced } from "../support/strace.ts";

ringTest("waitAsync resolves when a CQE comes, and the event loop runs meanwhile", async () => {
  await using bench = await RingBench.create(8);
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

ringTest("waitAsync resolves at once when a CQE is there already", async () => {
  await using bench = await RingBench.create(8);
  bench.nothing(1);
  bench.ring.submit();
  assert(await settlesWithin(bench.ring.waitAsync(), PATIENCE_MS));
  assertEquals(bench.reap(), [[1, 0, 0]]);
});

ringTest("wake and close end a waitAsync", async () => {
  await using bench = await RingBench.create(8);
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

ringTest("rings that were closed leave no file descriptor, mapping or thread behind", async () => {
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

ringTest("a ring with nothing in flight has freed all when close returns, before it resolves", async () => {
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
  ringTest(`wait(timeout) by ${way} returns in time, with a CQE or without`, async () => {
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
    for (const [asked, took] of seen.inVain) {
      assertGreaterOrEqual(took, asked - 0.5, `${asked} ms`);
      assertLess(took, asked + 500, `${asked} ms`);
    }
    assert(seen.taken, "the SQE was given to the kernel all the same");
    assertLess(seen.there, 500, "a CQE that is there");
    assertLess(seen.comes, 10_000, "a CQE that comes");
    assertEquals(seen.reaped, [1, 1]);
  });
}
