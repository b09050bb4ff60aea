/** When callbacks are called: once each, from the event loop, whatever they do. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  BlockDevice,
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoClient,
  dmIoGet,
  dmIoPut,
} from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { dmIoSyncVm, IoClient, type IoRegion, type Page, pageSize, READ, WRITE } from "../../mod.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

async function withFile(body: (device: BlockDevice, region: (page: number) => IoRegion) => Promise<void>) {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  await body(device, (page) => ({ bdev: device, sector: page * 8, count: 8 }));
  assertEquals(device.inFlight, 0);
}

/** Makes promises of callbacks, and counts them. */
class Calls {
  readonly errors: bigint[] = [];
  readonly contexts: unknown[] = [];
  /** Set while a call of the library is under way. */
  inside = false;
  readonly fn = (error: bigint, context: unknown): void => {
    assert(!this.inside, "fn was called from inside a call of the library");
    this.errors.push(error);
    this.contexts.push(context);
  };

  /** Runs a call of the library, in which no callback may be called. */
  during<T>(call: () => T): T {
    const before = this.errors.length;
    this.inside = true;
    const value = call();
    this.inside = false;
    assertEquals(this.errors.length, before, "fn was called before the call had returned");
    return value;
  }

  async expect(count: number): Promise<void> {
    assert(
      await until(() => this.errors.length >= count, PATIENCE),
      `${this.errors.length} of ${count} calls`,
    );
    // Time for a second call of what was called once.
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(this.errors.length, count);
  }
}

Deno.test("fn is called once, after each asynchronous form has returned", () =>
  withFile(async (_, region) => {
    dmIoGet(64);
    try {
      const calls = new Calls();
      const memory: Record<string, () => Page> = {
        "of the pool": () => dmIoClient().pool.alloc(1),
        ordinary: () => new Uint8Array(PAGE),
        shared: () => new Uint8Array(new SharedArrayBuffer(PAGE)),
      };
      let count = 0;
      for (const make of Object.values(memory)) {
        for (const rw of [READ, WRITE]) {
          const page = make();
          const bvecs = [{ page, offset: 0, len: PAGE }];
          const where = [region(0)];
          const { fn } = calls;
          assertEquals(calls.during(() => dmIoAsyncVm(1, where, rw, page, fn, count)), 0);
          assertEquals(
            calls.during(() => dmIoAsync(1, where, rw, { next: null, page }, 0, fn, count + 1)),
            0,
          );
          assertEquals(calls.during(() => dmIoAsyncBvec(1, where, rw, bvecs, fn, count + 2)), 0);
          count += 3;
        }
      }
      await calls.expect(count);
      assertEquals(calls.errors, Array.from({ length: count }, () => 0n));
      assertEquals(calls.contexts.toSorted((a, b) => Number(a) - Number(b)), [...Array(count).keys()]);
    } finally {
      dmIoPut(64);
    }
  }));

Deno.test("fn is called once, later, for a read of two regions, with bit 0", () =>
  withFile(async (_, region) => {
    dmIoGet(8);
    try {
      const calls = new Calls();
      const page = pattern(PAGE, 1);
      const where = [region(0), region(1)];
      const { fn } = calls;
      assertEquals(calls.during(() => dmIoAsyncVm(2, where, READ, page, fn, "vm")), -5);
      assertEquals(calls.during(() => dmIoAsync(2, where, READ, { next: null, page }, 0, fn, "list")), -5);
      assertEquals(
        calls.during(() => dmIoAsyncBvec(2, where, READ, [{ page, offset: 0, len: PAGE }], fn, "bvec")),
        -5,
      );
      await calls.expect(3);
      assertEquals(calls.errors, [1n, 1n, 1n]);
      assertEquals(calls.contexts, ["vm", "list", "bvec"]);
      expectSame(page, pattern(PAGE, 1), "memory of a read that was refused");
    } finally {
      dmIoPut(8);
    }
  }));

Deno.test("a request of empty regions alone calls fn later", () =>
  withFile(async (device) => {
    await using io = new IoClient({ pages: 4 });
    const calls = new Calls();
    const empty = { bdev: device, sector: 8, count: 0 };
    calls.during(() => io.notify(WRITE, [empty, empty], new Uint8Array(0), calls.fn, 1));
    await calls.expect(1);
    assertEquals(calls.errors, [0n]);
  }));

Deno.test("a blocking call that reaps another request's CQE leaves its fn to the event loop", () =>
  withFile(async (_, region) => {
    for (const poll of [true, false]) {
      await using io = new IoClient({ pages: 16, poll });
      const data = io.pool.alloc(2);
      const calls = new Calls();
      for (let i = 0; i < 8; i++) io.notify(WRITE, [region(i)], data.subarray(0, PAGE), calls.fn, i);
      const answer = io.write([region(9)], data.subarray(0, PAGE));
      let answered = false;
      answer.then(() => answered = true);
      for (let i = 0; i < 10_000 && io.outstanding > 0; i++) {
        const { errorBits } = calls.during(() => io.readSync(region(0), data.subarray(PAGE)));
        assertEquals(errorBits, 0n);
      }
      assertEquals(io.outstanding, 0, "blocking reads met none of the completions");
      assertEquals(calls.errors, [], "fn was called without the event loop");
      assert(!answered);
      await answer;
      await calls.expect(8);
    }
  }));

Deno.test("an fn that throws surfaces as uncaught, and every other request completes", () =>
  withFile(async (_, region) => {
    await using io = new IoClient({ pages: 64 });
    const uncaught: unknown[] = [];
    const onError = (event: ErrorEvent) => {
      event.preventDefault();
      uncaught.push(event.error);
    };
    globalThis.addEventListener("error", onError);
    try {
      const calls = new Calls();
      const page = io.pool.alloc(1);
      for (let i = 0; i < 30; i++) {
        const fn = i % 3 === 0
          ? () => {
            throw new Error(`thrown by ${i}`);
          }
          : calls.fn;
        io.notify(WRITE, [region(i)], page, fn, i);
      }
      const promised = await Promise.all(Array.from({ length: 30 }, (_, i) => io.read(region(i), page)));
      assertEquals(promised.map(({ errorBits }) => errorBits), Array(30).fill(0n));
      await calls.expect(20);
      assert(await until(() => uncaught.length >= 10, PATIENCE));
      const messages = uncaught.map((error) => (error as Error).message).sort();
      assertEquals(messages, Array.from({ length: 10 }, (_, i) => `thrown by ${i * 3}`).sort());
      assertEquals(io.outstanding, 0);
    } finally {
      globalThis.removeEventListener("error", onError);
    }
  }));

Deno.test("an fn that throws ends a program without an error handler, with its own message", async () => {
  const source = `
    import { BlockDevice, IoClient, WRITE } from "./mod.ts";
    const io = new IoClient({ pages: 4 });
    const device = BlockDevice.open("file", { write: true, create: 4096 });
    io.notify(WRITE, [{ bdev: device, sector: 0, count: 8 }], io.pool.alloc(1), () => {
      throw new Error("from the callback");
    }, null);
    await new Promise(() => setTimeout(() => {}, 30_000));`;
  const { code, stderr } = await runProgram({ source, timeout: 20 });
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, "from the callback");
});

Deno.test("an fn may start requests of every kind, blocking ones too", () =>
  withFile(async (_, region) => {
    for (const poll of [true, false]) {
      await using io = new IoClient({ pages: 32, poll });
      const data = io.pool.alloc(1);
      const calls = new Calls();
      let depth = 0;
      const next = () => {
        const read = io.readSync(region(1), new Uint8Array(PAGE));
        assertEquals(read.errorBits, 0n);
        assertEquals(io.writeSync([region(2), region(3)], data).errorBits, 0n);
        calls.fn(0n, depth);
        if (++depth < 50) io.notify(WRITE, [region(depth)], data, next, null);
      };
      next();
      await calls.expect(50);
    }
  }));

Deno.test("a blocking call in an fn that reaps another request's CQE does not lose it", () =>
  withFile(async (_, region) => {
    for (const poll of [true, false]) {
      await using io = new IoClient({ pages: 8, poll });
      const data = io.pool.alloc(2);
      const calls = new Calls();
      io.notify(WRITE, [region(0)], data, () => {
        io.notify(WRITE, [region(1)], data, calls.fn, null);
        for (let i = 0; i < 10_000 && io.outstanding > 0; i++) io.readSync(region(2), data.subarray(PAGE));
        assertEquals(io.outstanding, 0);
        calls.fn(0n, null);
      }, null);
      await calls.expect(2);
    }
  }));

Deno.test("an fn may close its device and its client", () =>
  withFile(async (_, region) => {
    await using scratch = await Scratch.create();
    const other = BlockDevice.open(scratch.join("other"), { write: true, create: 4096 });
    const io = new IoClient({ pages: 8 });
    const calls = new Calls();
    const closed = Promise.withResolvers<void>();
    const where = [{ bdev: other, sector: 0, count: 8 }];
    const data = io.pool.alloc(1);
    io.notify(WRITE, where, data, (error) => {
      calls.fn(error, "first");
      void other.close();
      void io.close().then(closed.resolve, closed.reject);
      assertThrows(() => io.write(where, data), TypeError, "closed");
    }, null);
    for (let i = 0; i < 5; i++) io.notify(WRITE, [region(i)], data, calls.fn, i);
    assert(await settlesWithin(closed.promise, PATIENCE), "close() in a callback hangs");
    await calls.expect(6);
    assert(other.closed);
    assertEquals(data.length, 0);
  }));

Deno.test("dmIoPut in an fn, and with requests under way, still lets every fn be called", () =>
  withFile(async (_, region) => {
    const calls = new Calls();
    for (let round = 0; round < 3; round++) {
      dmIoGet(16);
      const data = new Uint8Array(PAGE);
      dmIoAsyncVm(1, [region(0)], WRITE, data, (error) => {
        calls.fn(error, 0);
        dmIoPut(16);
      }, null);
      for (let i = 0; i < 8; i++) dmIoAsyncVm(1, [region(i)], WRITE, data, calls.fn, i);
      await calls.expect(9 * (round + 1));
    }
    assertThrows(() => dmIoSyncVm(1, [region(0)], READ, new Uint8Array(PAGE), null), Error, "dmIoGet");
  }));

Deno.test("a ring that breaks answers each request once, and can still be closed", () =>
  withFile(async (_, region) => {
    const engine = new BreakingRing(8);
    const io = clientOn(engine, { pages: 8 });
    const data = io.pool.alloc(1);
    const calls = new Calls();
    for (let i = 0; i < 4; i++) io.notify(WRITE, [region(i)], data, calls.fn, i);
    engine.breaksAt = 0;
    const answer = io.write([region(5)], data).then(() => "answered", (error: Error) => error.message);
    assert(await settlesWithin(answer, PATIENCE));
    await calls.expect(4);
    assert(calls.errors.every((error) => error === 0n || error === 1n));
    assertStringIncludes(assertThrows(() => io.write([region(0)], data), Error).message, "broken");
    assertEquals(io.outstanding, 0);
    assert(await settlesWithin(io.close(), PATIENCE), "close() of a broken client hangs");
  }));
