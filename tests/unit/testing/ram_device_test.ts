/** Devices in RAM, through a client. Nothing here needs a permission. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { IoClient } from "../../../mod.ts";
import { faults, ramDevice } from "../../../src/testing/mod.ts";

const TIB = 2 ** 40;

Deno.test("a mirror over RAM devices holds what was written, in each kind of memory, long and short", async () => {
  await using io = new IoClient({ pages: 64 });
  const legs = [512, 4096, 65536].map((blockSize) => ramDevice(TIB, { blockSize }));
  const length = 5 << 16;
  const bytes = Uint8Array.from({ length }, (_, i) => i * 7 + (i >> 8));
  const shared = new Uint8Array(new SharedArrayBuffer(length));
  shared.set(bytes);
  const pages = io.pool.alloc(16);
  pages.set(bytes.subarray(0, pages.length));
  const list = io.pool.allocList(16);
  let at = 0;
  for (let node: typeof list | null = list; node !== null; node = node.next) {
    node.page.set(bytes.subarray(at, at += 4096));
  }
  const bvecs = [{ page: bytes.slice(0, 4096), offset: 0, len: 3584 }, {
    page: bytes.slice(3584, 7680),
    offset: 0,
    len: 512,
  }];
  const cases = [
    { memory: bytes, count: length / 512 },
    { memory: shared, count: length / 512 },
    { memory: pages, count: 128 },
    { memory: { pageList: list }, count: 128 },
    { memory: { bvecs }, count: 8, legs: legs.slice(0, 2) },
  ];
  for (const { memory, count, legs: some = legs } of cases) {
    for (const sync of [false, true]) {
      const sector = 2 ** 30;
      const regions = some.map((bdev) => ({ bdev, sector, count }));
      (sync ? io.writeSync(regions, memory) : await io.write(regions, memory)).orThrow();
      for (const region of regions) {
        const got = new Uint8Array(count * 512);
        (sync ? io.readSync(region, got) : await io.read(region, got)).orThrow();
        assertEquals(got, bytes.subarray(0, got.length));
        (await io.discard([region])).orThrow();
      }
    }
  }
  io.pool.free(pages);
  io.pool.free(list);
  await Promise.all(legs.map((leg) => leg.close()));
});

Deno.test("zeroes, a discard and one block again and again leave the bytes beside them alone", async () => {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(1 << 20, { blockSize: 4096 });
  const region = { bdev: device, sector: 8, count: 8 };
  const all = { bdev: device, sector: 0, count: 24 };
  const calls = [
    { call: () => io.writeZeroes([region]), byte: 0 },
    { call: () => io.writeZeroes([region], { unmap: true }), byte: 0 },
    { call: () => io.writeSame([region], new Uint8Array(512).fill(9)), byte: 9 },
    { call: () => io.discard([region]), byte: 0 },
  ];
  for (const { call, byte } of calls) {
    (await io.write([all], new Uint8Array(12288).fill(1))).orThrow();
    (await call()).orThrow();
    const got = new Uint8Array(12288);
    (await io.read(all, got)).orThrow();
    assertEquals(got, new Uint8Array(12288).fill(1).fill(byte, 4096, 8192));
  }
});

Deno.test("a device that makes no zeroes by itself has them written", async () => {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(4 << 20);
  const region = { bdev: device, sector: 8, count: 4096 };
  (await io.write([region], new Uint8Array(2 << 20).fill(1))).orThrow();
  using refusal = faults(device).fail("EOPNOTSUPP", { op: "zeroes" });
  (await io.writeZeroes([region])).orThrow();
  const got = new Uint8Array(2 << 20).fill(7);
  (await io.read(region, got)).orThrow();
  assert(got.every((byte) => byte === 0));
  assert(refusal.hits >= 2, "fallocate and the ioctl were tried");
});

Deno.test("a device that cannot discard says so", async () => {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(1 << 20);
  faults(device).fail("EOPNOTSUPP", { op: "discard" });
  const { failures } = await io.discard([{ bdev: device, sector: 0, count: 8 }]);
  assertEquals(failures, [{ region: 0, errno: 95, code: "EOPNOTSUPP", sector: 0 }]);
});

Deno.test("64 regions, on devices of two clients, are written at once", async () => {
  await using one = new IoClient({ pages: 16 });
  await using other = new IoClient({ pages: 16 });
  const devices = Array.from({ length: 64 }, () => ramDevice(1 << 20));
  faults(devices[5]!).slow(5);
  const regions = devices.map((bdev) => ({ bdev, sector: 0, count: 8 }));
  const writes = [one, other].flatMap((io) =>
    Array.from({ length: 20 }, () => io.write(regions, new Uint8Array(4096).fill(3)))
  );
  for (const write of writes) (await write).orThrow();
  await Promise.all(devices.map((device) => device.close()));
});

Deno.test("a RAM device may be open for reading only, and takes a name", async () => {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(1 << 20, { write: false, name: "spare" });
  const region = { bdev: device, sector: 0, count: 8 };
  assertEquals([device.path, device.writable, device.size], ["spare", false, 1 << 20]);
  assertThrows(() => void io.write([region], new Uint8Array(4096)), TypeError, "spare");
});

Deno.test("views of a client's pages have length 0 once the client is closed", async () => {
  const io = new IoClient({ pages: 4 });
  const page = io.pool.alloc(1);
  await io.close();
  assertEquals(page.length, 0);
});

Deno.test("pages whose buffer the program transferred away are lost, and the others go on", async () => {
  await using io = new IoClient({ pages: 4 });
  await using device = ramDevice(1 << 20);
  const region = { bdev: device, sector: 0, count: 8 };
  const page = io.pool.alloc(1).fill(1);
  const write = io.write([region], page);
  page.buffer.transfer();
  await write;
  io.pool.get(4);
  const fresh = io.pool.alloc(1).fill(2);
  (await io.write([region], fresh)).orThrow();
  io.pool.free(fresh);
});
