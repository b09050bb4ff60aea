import { assert, assertEquals, assertThrows } from "@std/assert";
import { dmIoAsyncVm, dmIoClient, dmIoGet, dmIoPut, type IoMemory, READ, WRITE } from "../../mod.ts";
import { pattern } from "../support/bytes.ts";
import { until } from "../support/commands.ts";
import { countsPinned, processState } from "../support/process_state.ts";
import { dmIoAsyncOf, dmIoSyncOf, notified } from "../support/services.ts";
import { listOf } from "../support/shaped_memory.ts";
import { targets } from "../support/targets.ts";

const BYTES = 64 << 10;

function memories(): IoMemory[] {
  const page = new Uint8Array(4096);
  return [page, { pageList: listOf([page]) }, { bvecs: [{ page, offset: 0, len: 4096 }] }];
}

Deno.test("without a dmIoGet every other dm-io function throws, and says what to call", async () => {
  await using made = await targets("buffered file", 1, BYTES);
  const where = [{ bdev: made.all[0]!.bdev, sector: 0, count: 8 }];
  const notCalled = () => {
    throw new Error("fn was called");
  };
  for (let round = 0; round < 2; round++) {
    assertThrows(() => dmIoPut(1), Error, "dmIoGet");
    assertThrows(() => dmIoClient(), Error, "dmIoGet");
    for (const memory of memories()) {
      for (const rw of [READ, WRITE]) {
        assertThrows(() => dmIoSyncOf(where, rw, memory, null), Error, "dmIoGet");
        assertThrows(() => dmIoAsyncOf(where, rw, memory, notCalled, 0), Error, "dmIoGet");
      }
    }
    // The same holds after the last put.
    dmIoGet(1);
    dmIoPut(1);
  }
});

Deno.test("the pool holds the sum of all dmIoGet less all dmIoPut", () => {
  dmIoGet(3);
  const io = dmIoClient();
  assertEquals([io.pool.pages, io.pool.available], [3, 3]);
  dmIoGet(40);
  dmIoGet(1);
  assertEquals([io.pool.pages, io.pool.available], [44, 44]);
  dmIoPut(2);
  assertEquals(io.pool.pages, 42);
  assertThrows(() => dmIoPut(43), RangeError, "numPages is 43; it must be an integer from 1 to 42");
  assertEquals(io.pool.pages, 42);
  for (const bad of [0, -1, 1.5, NaN, Infinity, 2 ** 53]) {
    assertThrows(() => dmIoGet(bad), RangeError, `numPages is ${bad}`);
    assertThrows(() => dmIoPut(bad), RangeError, `numPages is ${bad}`);
  }
  assertThrows(() => dmIoGet("1" as unknown as number), RangeError, `numPages is "1"`);
  dmIoPut(41);
  assertEquals(dmIoClient(), io);
  dmIoPut(1);
  assertThrows(() => dmIoClient(), Error, "dmIoGet");
});

Deno.test("the last dmIoPut frees pages, ring and file descriptors, and a dmIoGet makes them anew", async () => {
  await using made = await targets("direct loop device", 1, BYTES);
  const [target] = made.all;
  const where = [{ bdev: target!.bdev, sector: 8, count: 8 }];
  // What Deno itself keeps open from the first use on is open then.
  dmIoGet(1);
  dmIoSyncOf(where, READ, new Uint8Array(4096), null);
  dmIoPut(1);
  const counts = countsPinned(() => {
    dmIoGet(16);
    return { [Symbol.dispose]: () => dmIoPut(16) };
  });
  const settled = () => processState().pinned === 0;
  assert(await until(settled, 5000));
  const before = processState();
  for (let round = 0; round < 3; round++) {
    dmIoGet(512);
    dmIoGet(512);
    const first = dmIoClient();
    const page = first.pool.alloc(1);
    assert(processState().openFiles > before.openFiles);
    assertEquals(processState().pinned, counts ? 1024 * 4096 : 0);
    const data = pattern(4096, round);
    const contents = target!.contents();
    assertEquals(dmIoSyncOf(where, WRITE, data, null), 0);
    target!.expectWritten(contents, where[0]!, data, `round ${round}`);
    dmIoPut(1024);
    const gone = () => processState().openFiles === before.openFiles && processState().pinned === 0;
    assert(await until(gone, 5000), JSON.stringify([before, processState()]));
    assertEquals(page.length, 0);
  }
});

Deno.test("the last dmIoPut lets requests in flight end, and a dmIoGet right after it works", async () => {
  await using made = await targets("direct loop device", 2, 1 << 20);
  const [a, b] = made.all;
  dmIoGet(16);
  const old = dmIoClient();
  const memory = old.pool.alloc(16);
  memory.set(pattern(memory.length, 7));
  const before = a!.contents();
  const first = notified([{ bdev: a!.bdev, sector: 1, count: 128 }], WRITE, memory);
  dmIoPut(16);
  dmIoGet(2);
  assert(dmIoClient() !== old);
  const second = await notified([{ bdev: b!.bdev, sector: 1, count: 8 }], WRITE, pattern(4096, 8));
  assertEquals(second, { returned: 0, bits: 0n });
  assertEquals(await first, { returned: 0, bits: 0n });
  a!.expectWritten(before, { bdev: a!.bdev, sector: 1, count: 128 }, pattern(16 * 4096, 7), "the first");
  dmIoPut(2);
});

Deno.test("fn can make a request, and call dmIoPut", async () => {
  await using made = await targets("buffered file", 1, BYTES);
  const { bdev } = made.all[0]!;
  const data = new Uint8Array(512);
  const { promise, resolve } = Promise.withResolvers<bigint[]>();
  dmIoGet(4);
  dmIoAsyncVm(1, [{ bdev, sector: 0, count: 1 }], WRITE, data, (first, context) => {
    assertEquals(context, "outer");
    dmIoAsyncVm(1, [{ bdev, sector: 1, count: 1 }], WRITE, data, (second, context) => {
      assertEquals(context, "inner");
      dmIoPut(4);
      resolve([first, second]);
    }, "inner");
  }, "outer");
  assertEquals(await promise, [0n, 0n]);
  assertThrows(() => dmIoClient(), Error, "dmIoGet");
});
