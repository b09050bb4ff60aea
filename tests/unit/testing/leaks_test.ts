/** What `dmioLeaks` names. */

import { assertEquals, assertMatch } from "@std/assert";
import { BlockDevice, IoClient, type IoService } from "../../../mod.ts";
import { dmioLeaks, ramDevice } from "../../../src/testing/mod.ts";

const HERE = String.raw`file:///\S+/leaks_test\.ts:\d+:\d+`;

Deno.test("nothing is named when nothing is open", async () => {
  {
    await using io = new IoClient({ pages: 4 });
    await using device = ramDevice(1 << 20);
    const data = io.pool.alloc(1);
    await io.write([{ bdev: device, sector: 0, count: 8 }], data);
    io.pool.free(data);
  }
  assertEquals(dmioLeaks(), []);
});

Deno.test("a client, its pages and a device are named with the place that made them, until they are closed", async () => {
  const io = new IoClient({ pages: 4 });
  const device = ramDevice(1 << 20, { name: "leg a" });
  const data = io.pool.alloc(3);
  const list = io.pool.allocList(1);
  const [client, pages, open, ...rest] = dmioLeaks();
  assertMatch(client!, new RegExp(`^the client made at ${HERE} is not closed$`));
  assertMatch(pages!, new RegExp(`^4 pages of the client made at ${HERE} are not freed$`));
  assertMatch(open!, new RegExp(`^the device leg a, opened at ${HERE}, is not closed$`));
  assertEquals(rest, []);
  io.pool.free(data);
  assertMatch(dmioLeaks()[1]!, /^1 page of the client .* is not freed$/);
  io.pool.free(list);
  assertEquals(dmioLeaks().length, 2);
  await device.close();
  assertEquals(dmioLeaks(), [client!]);
  await io.close();
  assertEquals(dmioLeaks(), []);
});

Deno.test("a page that was freed while a request used it is not named", async () => {
  await using io = new IoClient({ pages: 4 });
  await using device = ramDevice(1 << 20);
  const data = io.pool.alloc(1);
  const write = io.write([{ bdev: device, sector: 0, count: 8 }], data);
  io.pool.free(data);
  assertEquals(dmioLeaks().filter((it) => it.includes("page")), []);
  await write;
});

Deno.test("a device that could not be made is not named", () => {
  for (const bytes of [0, 1000, -1]) {
    try {
      ramDevice(bytes);
    } catch { /* it is no size */ }
  }
  assertEquals(dmioLeaks(), []);
});

Deno.test("a client is an IoService, and so is a layer around one", async () => {
  await using io = new IoClient({ pages: 4 });
  await using device = ramDevice(1 << 20);
  let reads = 0;
  const counted = (inner: IoService): Pick<IoService, "read"> => ({
    read: (...args) => {
      reads++;
      return inner.read(...args);
    },
  });
  const service: IoService = io;
  (await counted(service).read({ bdev: device, sector: 0, count: 1 }, new Uint8Array(512))).orThrow();
  assertEquals([reads, device instanceof BlockDevice], [1, true]);
});
