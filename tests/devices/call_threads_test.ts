/** The threads that make system calls: how devices share them, and what becomes of calls that hang. The reader of an empty pipe hangs. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { closeSync, openSync, writeSync } from "node:fs";
import { MappedMemory } from "../../ffi/memory.ts";
import { MOST_OF_A_DEVICE, MOST_THREADS } from "../../src/engine/call_threads.ts";
import type { Completions } from "../../src/engine/engine.ts";
import { Sqe } from "../../src/engine/sqe.ts";
import { ThreadCalls } from "../../src/engine/thread_calls.ts";
import { succeed, until } from "../support/commands.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const SYS_read = Deno.build.arch === "aarch64" ? 63 : 0;
const LONG = 10_000;

/** A pipe by its name, open for both directions. */
class Pipe implements Disposable {
  private constructor(readonly fd: number) {}

  static async create(folder: Scratch, name: string): Promise<Pipe> {
    await succeed("mkfifo", folder.join(name));
    return new Pipe(openSync(folder.join(name), "r+"));
  }

  /** Lets readers of a byte each go on. */
  feed(readers: number): void {
    writeSync(this.fd, new Uint8Array(readers));
  }

  /** Closes it. Readers that a test which failed left behind go on. */
  [Symbol.dispose](): void {
    this.feed(8192);
    closeSync(this.fd);
  }
}

/** Calls that read a byte of a pipe each, and what came of them. */
class Readers implements Disposable {
  readonly calls: ThreadCalls;
  /** User data of the calls that ended, in their order. */
  readonly ended: number[] = [];
  readonly #memory = new MappedMemory(4096);
  readonly #completions: Completions;

  constructor(capacity = 256) {
    this.calls = new ThreadCalls(capacity);
    this.#completions = {
      userData: new Uint32Array(capacity),
      generation: new Uint32Array(capacity),
      result: new Int32Array(capacity),
    };
  }

  begin({ fd }: Pipe, count: number, from = 0): void {
    for (let userData = from; userData < from + count; userData++) {
      const i = this.calls.take(Object.assign(new Sqe(), { userData }));
      this.calls.setNumber(i, SYS_read);
      assertEquals(this.calls.use(i, fd, 0), 0);
      this.calls.setArgument(i, 1, this.#memory.address);
      this.calls.setArgument(i, 2, 1);
      this.calls.begin(i);
    }
  }

  reap(): void {
    this.calls.serve();
    const count = this.calls.reap(this.#completions, 0);
    for (let i = 0; i < count; i++) {
      assertEquals(this.#completions.result[i], 1);
      this.ended.push(this.#completions.userData[i]!);
    }
  }

  async expectEnded(count: number): Promise<void> {
    assert(
      await until(() => (this.reap(), this.ended.length >= count), LONG),
      `${this.ended.length} of ${count} ended`,
    );
    assertEquals(this.ended.length, count);
  }

  [Symbol.dispose](): void {
    this.calls.close();
  }
}

/** How many threads of this process are in a read of a byte. */
function reading(): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    try {
      const [number, , , bytes] = Deno.readTextFileSync(`/proc/self/task/${name}/syscall`).split(" ");
      if (Number(number) === SYS_read && Number(bytes) === 1) count++;
    } catch { /* it has ended */ }
  }
  return count;
}

/** Waits until so many threads read, and expects that no more come. */
async function expectReading(count: number): Promise<void> {
  const before = reading();
  assert(
    await until(() => reading() === count, LONG),
    `${before}, then ${reading()} of ${count} threads read`,
  );
  await new Promise((resolve) => setTimeout(resolve, 30));
  assertEquals(reading(), count);
}

Deno.test("a device that hangs has 8 threads at most, and its other calls end in their order afterwards", async () => {
  await using folder = await Scratch.create();
  using pipe = await Pipe.create(folder, "a");
  using other = await Pipe.create(folder, "b");
  using readers = new Readers();
  readers.begin(pipe, 100);
  await expectReading(MOST_OF_A_DEVICE);
  readers.begin(other, 3, 100);
  await expectReading(MOST_OF_A_DEVICE + 3);
  assertEquals(readers.calls.busy, null);
  other.feed(3);
  await readers.expectEnded(3);
  pipe.feed(100);
  await readers.expectEnded(103);
  assertEquals(readers.ended.slice(3).toSorted((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i));
  assertEquals(readers.calls.inFlight, 0);
});

Deno.test("two hung devices leave threads to three more, and when all hang the next devices wait", async () => {
  await using folder = await Scratch.create();
  using held = new DisposableStack();
  const pipes: Pipe[] = [];
  for (let i = 0; i < 8; i++) pipes.push(held.use(await Pipe.create(folder, `${i}`)));
  // Two clients of one JavaScript thread share the threads.
  const [first, second] = [held.use(new Readers()), held.use(new Readers())];
  for (const [i, pipe] of pipes.slice(0, 6).entries()) (i % 2 ? first : second).begin(pipe, 20);
  await expectReading(MOST_THREADS);
  // A thread that was about to be idle may go back to its device, which then has one above its share: the sixth device may have none.
  assertMatch(first.calls.busy ?? "", /^$|; 20 more, for a device without a thread, wait$/);
  first.begin(pipes[6]!, 2, 500);
  second.begin(pipes[7]!, 1, 600);
  assertMatch(
    second.calls.busy ?? "",
    /^all 24 threads are in system calls.* 2?3 more, for [23] devices without a thread, wait$/,
  );
  pipes[6]!.feed(2);
  pipes[7]!.feed(1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  first.reap();
  assertEquals([first.ended, second.ended], [[], []]);
  // A single call that returns makes room for both, one after the other.
  pipes[0]!.feed(20);
  assert(
    await until(
      () => (first.reap(), second.reap(), first.ended.includes(501) && second.ended.includes(600)),
      LONG,
    ),
  );
  assertEquals(first.calls.busy, null);
  for (const pipe of pipes.slice(1, 6)) pipe.feed(20);
  assert(
    await until(
      () => (first.reap(), second.reap(), first.calls.inFlight + second.calls.inFlight === 0),
      LONG,
    ),
  );
  assertEquals([first.ended.length, second.ended.length], [62, 61]);
});

Deno.test("a close leaves a hanging call its memory and its file, and takes back the other calls", async () => {
  await using folder = await Scratch.create();
  using pipe = await Pipe.create(folder, "a");
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = open();
  const readers = new Readers();
  readers.begin(pipe, 50);
  await expectReading(MOST_OF_A_DEVICE);
  readers.calls.close();
  assertEquals(readers.calls.inFlight, MOST_OF_A_DEVICE);
  assertEquals(open(), before + MOST_OF_A_DEVICE);
  pipe.feed(50);
  assert(await until(() => open() === before, LONG), `${open()} descriptors, ${before} before`);
  // The calls that were not begun read nothing.
  using later = new Readers();
  later.begin(pipe, 50 - MOST_OF_A_DEVICE);
  await later.expectEnded(50 - MOST_OF_A_DEVICE);
});

Deno.test("a thread without work ends after a second", async () => {
  await using folder = await Scratch.create();
  using pipe = await Pipe.create(folder, "a");
  const threads = () => [...Deno.readDirSync("/proc/self/task")].length;
  using readers = new Readers();
  readers.begin(pipe, 8);
  await expectReading(8);
  const most = threads();
  pipe.feed(8);
  await readers.expectEnded(8);
  assert(await until(() => threads() <= most - 8, LONG), `${threads()} threads of ${most}`);
});

Deno.test("calls of many devices, which come and go, all end", async () => {
  await using folder = await Scratch.create();
  using held = new DisposableStack();
  using readers = new Readers(4096);
  const pipes: Pipe[] = [];
  for (let i = 0; i < 100; i++) pipes.push(held.use(await Pipe.create(folder, `${i}`)));
  let begun = 0;
  for (let round = 0; round < 30; round++) {
    for (const [i, pipe] of pipes.entries()) {
      const count = (i * 7 + round) % 5;
      pipe.feed(count);
      readers.begin(pipe, count);
      begun += count;
    }
    if (round % 3 === 0) readers.reap();
    if (readers.calls.inFlight > 3000) await readers.expectEnded(begun);
  }
  await readers.expectEnded(begun);
});

Deno.test("devices with more calls than a lane holds take turns at the threads, and all calls end", async () => {
  await using folder = await Scratch.create();
  using held = new DisposableStack();
  using readers = new Readers(8192);
  const pipes: Pipe[] = [];
  for (let i = 0; i < 12; i++) pipes.push(held.use(await Pipe.create(folder, `${i}`)));
  const calls = 500;
  for (const pipe of pipes) readers.begin(pipe, calls);
  await expectReading(MOST_THREADS);
  for (let round = 0; round < calls / 10; round++) {
    for (const pipe of pipes) pipe.feed(10);
    // Results are taken now by every look, now by few.
    if (round % 7 < 3) readers.reap();
    if (round % 11 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await readers.expectEnded(pipes.length * calls);
  assertEquals([readers.calls.inFlight, readers.calls.busy], [0, null]);
});

for (const end of ["worker.terminate()", "worker.postMessage(0)"]) {
  Deno.test(`a Worker that ends by ${end} while its calls hang harms nobody`, async () => {
    const source = `
if (typeof WorkerGlobalScope === "undefined") {
  const { openSync, writeSync } = await import("node:fs");
  await new Deno.Command("mkfifo", { args: ["pipe"] }).output();
  const fd = openSync("pipe", "r+");
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(import.meta.url, { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    ${end};
    await new Promise((resolve) => setTimeout(resolve, 100));
    writeSync(fd, new Uint8Array(20));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log("alive");
  Deno.exit();
} else {
  const { openSync } = await import("node:fs");
  const { BlockDevice, IoClient } = await import("./mod.ts");
  const { ThreadCalls } = await import("./src/engine/thread_calls.ts");
  const { MappedMemory } = await import("./ffi/memory.ts");
  const { Sqe } = await import("./src/engine/sqe.ts");
  const fd = openSync("pipe", "r+");
  const calls = new ThreadCalls(64);
  const memory = new MappedMemory(4096);
  for (let n = 0; n < 20; n++) {
    const i = calls.take(new Sqe());
    calls.setNumber(i, ${SYS_read});
    calls.use(i, fd, 0);
    calls.setArgument(i, 1, memory.address);
    calls.setArgument(i, 2, 1);
    calls.begin(i);
  }
  const io = new IoClient({ pages: 4, engine: "threads" });
  const bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
  const { ok } = await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
  self.onmessage = () => self.close();
  self.postMessage(ok);
}`;
    const { code, stdout, stderr } = await runProgram({ source: source, permissions: ["-A", "--no-check"] });
    assertEquals([code, stdout], [0, "alive\n"], stderr);
  });
}
