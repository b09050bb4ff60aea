/** A request leaves nothing behind: heap, memory, locked memory and files after 100,000 are as before. */

import { assert, assertEquals } from "@std/assert";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const REQUESTS = 100_000;
const HEAP = 1 << 20;
// 100,000 pages of 4 KiB would be eight times as much. Memory that V8 has given back to malloc stays resident, and how much that is
// depends on when V8 collected: a leak grows in every round, this only until it is as much as it ever gets.
const RESIDENT = 48 << 20;
const ROUNDS = 5;
// Deno opens two sockets, starts threads and maps memory of its own at times of its own; a leak would be thousands.
const FILES = 4;
const THREADS = 4;
const MAPPINGS = 400;

interface State {
  heap: number;
  resident: number;
  pinned: number;
  locked: number;
  files: number;
  mappings: number;
  threads: number;
}

interface Outcome {
  before: State;
  after: State;
  errors: number;
  outstanding: number;
  available: number;
}

// What surrounds each way of making requests; half as many go first, so that what is made once has been made.
const frame = (body: string, path: string, resident: number) => `
  import { BlockDevice, IoClient, READ, WRITE } from "./mod.ts";
  const device = BlockDevice.open(${JSON.stringify(path)}, { write: true });
  const io = new IoClient({ pages: 128 });
  let errors = 0;
  const where = (i: number) => ({ bdev: device, sector: i % 64 * 8, count: 8 });
  const check = ({ errorBits }: { errorBits: bigint }) => {
    if (errorBits !== 0n) errors++;
  };
  const requests = async (count: number): Promise<void> => { ${body} };
  const state = async () => {
    for (let i = 0; i < 3; i++) {
      (globalThis as unknown as { gc(): void }).gc();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const status = Deno.readTextFileSync("/proc/self/status");
    const value = (key: string) => Number(new RegExp("^" + key + ":\\\\s*(\\\\d+)", "m").exec(status)![1]);
    return {
      heap: Deno.memoryUsage().heapUsed + Deno.memoryUsage().external,
      resident: value("VmRSS") * 1024,
      pinned: value("VmPin") * 1024,
      locked: value("VmLck") * 1024,
      files: [...Deno.readDirSync("/proc/self/fd")].length,
      mappings: Deno.readTextFileSync("/proc/self/maps").split("\\n").length,
      threads: value("Threads"),
    };
  };
  await requests(${REQUESTS / 2});
  let before = await state();
  let after = before;
  for (let round = 0; round < ${ROUNDS}; round++) {
    before = after;
    await requests(${REQUESTS});
    after = await state();
    if (after.resident - before.resident < ${resident}) break;
  }
  console.log(JSON.stringify({ before, after, errors, outstanding: io.outstanding, available: io.pool.available }));
  await io.close();`;

async function expectNoLeak(body: string, resident = RESIDENT): Promise<void> {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await Deno.writeFile(path, new Uint8Array(1 << 20));
  const source = frame(body, path, resident);
  const permissions = ["-A", "--no-check", "--v8-flags=--expose-gc"];
  const { code, stdout, stderr } = await runProgram({ source, permissions });
  assertEquals(code, 0, stderr);
  const { before, after, errors, outstanding, available } = JSON.parse(stdout) as Outcome;
  assertEquals([errors, outstanding, available], [0, 0, 128]);
  const grown = (key: keyof State) => after[key] - before[key];
  const what = JSON.stringify({ before, after });
  assert(grown("heap") < HEAP, `heap: ${grown("heap")} bytes; ${what}`);
  assert(grown("resident") < resident, `resident: ${grown("resident")} bytes; ${what}`);
  assertEquals(grown("pinned"), 0, what);
  assertEquals(grown("locked"), 0, what);
  assert(grown("files") <= FILES, what);
  assert(grown("mappings") <= MAPPINGS, what);
  assert(grown("threads") <= THREADS, what);
}

const concurrently = (request: string) => `
  let next = 0;
  const held = io.pool.alloc(64);
  const worker = async (_: unknown, k: number) => {
    const page = held.subarray(k * 4096, (k + 1) * 4096);
    while (next < count) {
      const i = next++;
      check(await ${request});
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  io.pool.free(held);`;

Deno.test("100,000 requests, 64 at a time, leave nothing behind", () =>
  expectNoLeak(concurrently("(i % 2 ? io.read(where(i), page) : io.write([where(i)], page))")));

Deno.test("100,000 blocking requests leave nothing behind", () =>
  expectNoLeak(`
    const page = io.pool.alloc(1);
    for (let i = 0; i < count; i++) check(i % 2 ? io.readSync(where(i), page) : io.writeSync([where(i)], page));
    io.pool.free(page);`));

Deno.test("100,000 requests with callbacks leave nothing behind", () =>
  expectNoLeak(`
    const page = io.pool.alloc(1);
    let started = 0;
    let called = 0;
    await new Promise<void>((resolve) => {
      const fn = (errorBits: bigint, context: { i: number }) => {
        check({ errorBits });
        if (++called === count) resolve();
        else if (started < count) start();
        void context;
      };
      const start = () => io.notify(started % 2 === 0 ? WRITE : READ, [where(started)], page, fn, { i: started++ });
      for (let i = 0; i < 64; i++) start();
    });
    io.pool.free(page);`));

Deno.test("100,000 copied requests, each with memory of its own, leave nothing behind", () =>
  expectNoLeak(concurrently(`(i % 2
    ? io.read(where(i), new Uint8Array(4096))
    : io.write([where(i)], { bvecs: [{ page: new Uint8Array(4096), offset: 0, len: 4096 }] }))`)));

Deno.test("100,000 requests with a deadline and a signal leave nothing behind", () =>
  expectNoLeak(
    "const { signal } = new AbortController();" +
      concurrently("io.write([where(i)], page, { timeout: 60_000, signal })"),
    // Deno keeps room for timers: as many megabytes without the library.
    128 << 20,
  ));

Deno.test("100,000 allocations and frees, and waits for pages, leave nothing behind", () =>
  expectNoLeak(`
    for (let i = 0; i < count; i++) {
      io.pool.free(i % 3 ? io.pool.alloc(1 + i % 8) : io.pool.allocList(1 + i % 8));
      if (i % 10 === 0) {
        const all = io.pool.alloc(128);
        const waiting = io.pool.allocWait(2);
        io.pool.free(all);
        io.pool.free(await waiting);
        io.pool.get(1);
        io.pool.put(1);
      }
    }`));

Deno.test("refused requests leave nothing behind", () =>
  expectNoLeak(`
    for (let i = 0; i < count; i++) {
      try {
        io.write([where(i), { bdev: device, sector: 2 ** 30, count: 8 }], new Uint8Array(4096));
        errors++;
      } catch { /* meant */ }
      try {
        io.read(where(i), i % 2 ? new Uint8Array(8) : { bvecs: [] });
        errors++;
      } catch { /* meant */ }
    }`));

Deno.test("devices opened and closed leave nothing behind in a client", () =>
  expectNoLeak(`
    const page = io.pool.alloc(1);
    for (let i = 0; i < count / 20; i++) {
      const other = BlockDevice.open(device.path, { write: true });
      check(io.readSync({ bdev: other, sector: 0, count: 8 }, page));
      await other.close();
    }
    io.pool.free(page);`));

Deno.test("clients opened and closed leave nothing behind in a device", () =>
  expectNoLeak(`
    for (let i = 0; i < count / 100; i++) {
      const other = new IoClient({ pages: 4, queueDepth: 1024 });
      check(await other.read(where(i), new Uint8Array(4096)));
      await other.close();
    }`));
