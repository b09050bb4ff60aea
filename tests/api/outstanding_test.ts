import { assert, assertEquals } from "@std/assert";
import { IoClient, type IoRegion, type IoResult } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { type TargetKind, targets } from "../support/targets.ts";

const REQUESTS = 1000;
const DEVICES = 3;
const PAGE = 4096;

for (
  const kind of [
    "direct loop device",
    "direct loop device of 4096-byte blocks",
    "buffered file",
  ] as TargetKind[]
) {
  for (const queueDepth of [1, 4, 8]) {
    Deno.test(`a thousand requests are outstanding at a queue depth of ${queueDepth}: ${kind}`, async () => {
      await using made = await targets(kind, DEVICES, (REQUESTS + 2) * PAGE);
      // As many pages as half of the requests take, and a few for those that are copied.
      await using io = new IoClient({ queueDepth, pages: REQUESTS / 2 + 3 });
      const own = io.pool.alloc(REQUESTS / 2);
      const data = pattern(REQUESTS * PAGE, queueDepth);
      own.set(data.subarray(0, own.length));
      const pageOf = (i: number) => (i < REQUESTS / 2 ? own : data).subarray(i * PAGE, (i + 1) * PAGE);
      const placesOf = (i: number): IoRegion[] =>
        made.all.map(({ bdev }) => ({ bdev, sector: 8 + 8 * i, count: 8 }));
      const order: number[] = [];
      const writes: Promise<IoResult>[] = [];
      // Not in the order of their place, so that neighbours do not arrive together.
      for (let k = 0; k < REQUESTS; k++) {
        const i = k * 7 % REQUESTS;
        writes.push(io.write(placesOf(i), pageOf(i)).finally(() => order.push(i)));
      }
      assertEquals(io.outstanding, REQUESTS);
      assertEquals(order, []);
      // A blocking request gets through among them.
      assertEquals(io.writeSync(placesOf(REQUESTS).slice(0, 1), pattern(PAGE, 99)).errorBits, 0n);
      for (const { errorBits } of await Promise.all(writes)) assertEquals(errorBits, 0n);
      assertEquals(new Set(order).size, REQUESTS);
      assertEquals(io.outstanding, 0);
      for (const [k, target] of made.all.entries()) {
        const expected = new Uint8Array((REQUESTS + 2) * PAGE);
        expected.set(data, PAGE);
        if (k === 0) expected.set(pattern(PAGE, 99), (REQUESTS + 1) * PAGE);
        expectSame(target.contents(), expected, `device ${k}`);
      }
      const back = new Uint8Array(REQUESTS * PAGE);
      own.fill(0);
      const reads = Array.from({ length: REQUESTS }, (_, i) => {
        const memory = i < REQUESTS / 2 ? pageOf(i) : back.subarray(i * PAGE, (i + 1) * PAGE);
        return io.read(placesOf(i)[i % DEVICES]!, memory);
      });
      assertEquals(io.outstanding, REQUESTS);
      assert((await Promise.all(reads)).every(({ errorBits }) => errorBits === 0n));
      back.set(own);
      expectSame(back, data, "what was read");
      io.pool.free(own);
      assertEquals(io.pool.available, io.pool.pages);
    });
  }
}
