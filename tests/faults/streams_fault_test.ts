/** Streams over devices that fail, hang, shrink or die: what was good is delivered, and the error or the result says what was not. */

import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { BlockDevice, IoClient, IoError, type IoRegion, type WritableOptions } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { faults, ramDevice } from "../../src/testing/mod.ts";
import { BreakingRing } from "../support/breaking_ring.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { run, settlesWithin, until } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { joined, soon } from "../support/stream_bed.ts";

const BYTES = 2 << 20;
const SECTORS = BYTES / 512;
const CHUNK = 64 * 1024;
const PATIENCE = 10_000;

/** Reads to the end or the error, by default or by BYOB. @returns What came, and the error. */
async function drain(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  view?: number,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; error: unknown }> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  try {
    if (view === undefined) { for await (const chunk of stream) chunks.push(chunk); }
    else {
      const reader = stream.getReader({ mode: "byob" });
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(view));
        if (done) break;
        chunks.push(value);
      }
    }
    return { bytes: joined(chunks), error: null };
  } catch (error) {
    return { bytes: joined(chunks), error };
  }
}

async function expectAllFree(io: IoClient, ...devices: readonly BlockDevice[]): Promise<void> {
  assert(await until(() => io.pool.available === io.pool.pages, PATIENCE), `${io.pool.available} are free`);
  assert(await until(() => io.outstanding === 0, PATIENCE), `${io.outstanding} are outstanding`);
  assertEquals(devices.map(({ inFlight }) => inFlight), devices.map(() => 0));
}

Deno.test("a bad sector errors a stream with its number, after all bytes before it", async () => {
  const bad = 1000;
  await using nbd = await NbdDevice.create({ bytes: BYTES, badRanges: [] });
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient();
  const medium = pattern(BYTES, 1);
  assertEquals((await io.write([{ bdev: device, sector: 0, count: SECTORS }], medium)).ok, true);
  nbd.setBadRanges([{ offset: bad * 512 + 100, length: 1 }]);
  const region = { bdev: device, sector: 3, count: 3000 };
  for (const view of [undefined, 1000, 300_000]) {
    for (const chunk of [4096, CHUNK, 1 << 20]) {
      const { bytes, error } = await soon(drain(io.readable(region, { chunk }), view), "the stream");
      assertInstanceOf(error, IoError);
      assertEquals(error.failures, [{ region: 0, errno: 5, code: "EIO", sector: bad }]);
      expectSame(bytes, medium.subarray(3 * 512, bad * 512), `chunks of ${chunk}, views of ${view}`);
      await expectAllFree(io, device);
    }
  }
  // Without the search, the error names the first sector of the failed transfer.
  const { bytes, error } = await drain(io.readable(region, { chunk: CHUNK, locate: false }));
  const first = 3 + Math.floor((bad - 3) / 128) * 128;
  assertEquals((error as IoError).failures[0]?.sector, first);
  expectSame(bytes, medium.subarray(3 * 512, first * 512));
});

Deno.test("the first and the last sector of a region may be bad", async () => {
  await using device = ramDevice(BYTES);
  await using io = new IoClient({ pages: 64 });
  for (const [bad, length] of [[8, 0], [8 + 999, 999 * 512]] as const) {
    using _bad = faults(device).badSectors(bad);
    const { bytes, error } = await drain(io.readable({ bdev: device, sector: 8, count: 1000 }));
    assertEquals([bytes.length, (error as IoError).failures[0]?.sector], [length, bad]);
    await expectAllFree(io, device);
  }
});

for (const refresh of [false, true]) {
  Deno.test(`a device that shrank ${refresh ? "and was refreshed " : ""}is read up to its new end`, async () => {
    await using loop = await LoopDevice.create({ bytes: 1 << 20 });
    loop.fill(pattern(1 << 20, 5));
    await using device = BlockDevice.open(loop.path, { write: true, direct: true });
    await using io = new IoClient();
    const region = { bdev: device, sector: 0, count: 2048 };
    const stream = io.readable(region);
    const target = io.writable([region], { chunk: 4096 });
    loop.truncate(300 * 512);
    assertEquals((await run(["losetup", "-c", loop.path])).code, 0);
    if (refresh) device.refresh();
    const { bytes, error } = await soon(drain(stream), "the stream");
    expectSame(bytes, pattern(1 << 20, 5).subarray(0, 300 * 512));
    if (refresh) assertInstanceOf(error, RangeError);
    else assertEquals((error as IoError).failures, [{ region: 0, errno: 5, code: "EIO", sector: 300 }]);
    const writer = target.getWriter();
    const data = pattern(1 << 20, 6);
    await assertRejects(() => soon((writer.write(data).catch(() => {}), writer.close()), "close()"), Error);
    const result = await target.result;
    assertEquals(result.ok, false);
    assert(result.bytes[0]! <= 300 * 512, `${result.bytes[0]}`);
    expectSame(loop.bytes(0, result.bytes[0]), data.subarray(0, result.bytes[0]));
    await expectAllFree(io, device);
  });
}

Deno.test("a stream over a device that hangs is canceled, aborted or timed out, and its pages come back", async () => {
  await using nbd = await NbdDevice.create({ bytes: BYTES });
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 64 });
  const region = { bdev: device, sector: 0, count: SECTORS };
  await nbd.hang();
  using parts = new DisposableStack();
  parts.defer(() => nbd.resume());
  const reader = io.readable(region, { chunk: 1 << 20 }).getReader();
  const read = reader.read();
  assert(await until(() => io.stats().inFlight > 0, PATIENCE));
  await soon(reader.cancel(), "cancel()");
  assertEquals((await read).done, true);
  const late = await drain(io.readable(region, { timeout: 20 }));
  assertEquals((late.error as IoError).failures[0]?.code, "ETIMEDOUT");
  const stop = new AbortController();
  const stopped = drain(io.readable(region, { signal: stop.signal }));
  stop.abort();
  assertInstanceOf((await soon(stopped, "the aborted stream")).error, DOMException);
  // A writer gets no more memory than its share of the pool, and then waits.
  const stream = io.writable([region], { chunk: 4096 });
  const writer = stream.getWriter();
  const writes = Array.from({ length: 40 }, () => writer.write(new Uint8Array(4096)));
  assert(writer.desiredSize! < 0);
  assertEquals(await settlesWithin(Promise.all(writes), 100), false, "40 writes to a device that hangs");
  assertEquals(await settlesWithin(writer.ready, 20), false, "the writer is ready");
  const rejected = Promise.allSettled([...writes, writer.closed]);
  await soon(writer.abort(), "abort()");
  await rejected;
  assertEquals(await settlesWithin(stream.result, 50), false, "the result does not wait for the writes");
  const timed = io.writable([region], { timeout: 20 });
  const other = timed.getWriter();
  await other.write(new Uint8Array(1000));
  const error = await assertRejects(() => soon(other.close(), "close()"), IoError);
  assertEquals([error.failures[0]?.code, (await timed.result).failures[0]?.code], ["ETIMEDOUT", "ETIMEDOUT"]);
  nbd.resume();
  await soon((await timed.result).settled, "settled");
  assertEquals((await soon(stream.result, "result")).bytes[0]! > 0, true);
  await expectAllFree(io, device);
});

Deno.test("close of a client with a stream over a device that hangs waits for its reads alone", async () => {
  await using nbd = await NbdDevice.create({ bytes: BYTES });
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  const io = new IoClient({ pages: 64 });
  const reader = io.readable({ bdev: device, sector: 0, count: SECTORS }).getReader();
  await reader.read();
  await nbd.hang();
  using parts = new DisposableStack();
  parts.defer(() => nbd.resume());
  const reads = Promise.allSettled(Array.from({ length: 40 }, () => reader.read()));
  const closed = io.close();
  nbd.resume();
  await soon(closed, "close()");
  const last = (await soon(reads, "reads")).at(-1)!;
  assertEquals(last.status, "rejected");
  assertInstanceOf((last as PromiseRejectedResult).reason, TypeError);
});

/** Streams to three RAM devices, of which some fail. */
async function mirror(
  options: WritableOptions,
  break_: (devices: readonly BlockDevice[]) => void,
  length = 700 * 512,
): Promise<{ close: Promise<void>; result: Awaited<ReturnType<IoClient["writable"]>["result"]> }> {
  const devices = [1, 2, 3].map(() => ramDevice(BYTES));
  await using io = new IoClient({ pages: 64 });
  const regions: IoRegion[] = devices.map((bdev) => ({ bdev, sector: 8, count: 1000 }));
  break_(devices);
  const stream = io.writable(regions, { chunk: 4096, ...options });
  const writer = stream.getWriter();
  const data = pattern(length, 9);
  // Rejects as the close does.
  writer.write(data).catch(() => {});
  const close = writer.close();
  await settlesWithin(close, PATIENCE);
  const result = await soon(stream.result, "result");
  for (const [i, bdev] of devices.entries()) {
    faults(bdev).heal();
    const held = new Uint8Array(1000 * 512);
    assertEquals((await io.read({ bdev, sector: 8, count: 1000 }, held)).ok, true);
    expectSame(held.subarray(0, result.bytes[i]), data.subarray(0, result.bytes[i]), `region ${i}`);
  }
  await expectAllFree(io, ...devices);
  for (const device of devices) await device.close();
  return { close, result };
}

Deno.test("by default a region that fails errors the stream, and the result says how far each region is", async () => {
  const { close, result } = await mirror({}, ([, device]) => faults(device!).badSectors(308));
  const error = await assertRejects(() => close, IoError);
  assertEquals(error.failures.map(({ region, code }) => [region, code]), [[1, "EIO"]]);
  assertEquals(result.failures.map(({ region, code }) => [region, code]), [[0, "ECANCELED"], [1, "EIO"], [
    2,
    "ECANCELED",
  ]]);
  assert(result.bytes[1]! <= 300 * 512);
});

Deno.test("with onFailure continue a region that fails drops out, and the others get the whole stream", async () => {
  const { close, result } = await mirror(
    { onFailure: "continue" },
    ([, device]) => faults(device!).badSectors(308),
  );
  await close;
  assertEquals(result.failures.map(({ region, code }) => [region, code]), [[1, "EIO"]]);
  const { sector } = result.failures[0]!;
  assertEquals(result.bytes, [700 * 512, (sector - 8) * 512, 700 * 512]);
  const located = await mirror(
    { onFailure: "continue", locate: true },
    ([, device]) => faults(device!).badSectors(308),
  );
  await located.close;
  assertEquals([located.result.failures[0]?.sector, located.result.bytes[1]], [308, 300 * 512]);
});

Deno.test("with onFailure continue a shorter region is whole when the longest fails", async () => {
  await using long = ramDevice(BYTES);
  await using short = ramDevice(BYTES);
  await using io = new IoClient({ pages: 64 });
  faults(long).badSectors(300);
  const regions = [{ bdev: long, sector: 0, count: 1000 }, { bdev: short, sector: 0, count: 200 }];
  const stream = io.writable(regions, { chunk: 4096, onFailure: "continue" });
  const writer = stream.getWriter();
  for (let i = 0; i < 125; i++) await soon(writer.write(pattern(4096, i)), `write ${i}`);
  await soon(writer.close(), "close()");
  const { failures, bytes } = await stream.result;
  assertEquals([failures.map(({ region }) => region), bytes[1]], [[0], 200 * 512]);
  await expectAllFree(io, long, short);
});

Deno.test("with onFailure continue the stream errors once all regions have failed", async () => {
  const { close, result } = await mirror({ onFailure: "continue", locate: true }, (devices) => {
    for (const [i, device] of devices.entries()) faults(device).badSectors(8 + 100 * i);
  });
  const error = await assertRejects(() => close, IoError);
  assertEquals(error.failures.map(({ sector }) => sector), [8, 108, 208]);
  assertEquals(result.failures, error.failures);
  assertEquals(result.bytes, [0, 100 * 512, 200 * 512]);
});

Deno.test("a flush that fails at the close is its region's failure, and its bytes are not known", async () => {
  const fail = ([, device]: readonly BlockDevice[]) => void faults(device!).fail("EIO", { op: "flush" });
  const strict = await mirror({}, fail);
  const error = await assertRejects(() => strict.close, IoError);
  assertEquals(error.failures.map(({ region, code }) => [region, code]), [[1, "EIO"]]);
  const lenient = await mirror({ onFailure: "continue" }, fail);
  await lenient.close;
  assertEquals(lenient.result.failures.map(({ region }) => region), [1]);
  assertEquals(lenient.result.bytes, [700 * 512, 0, 700 * 512]);
  const unflushed = await mirror({ flush: false }, fail);
  await unflushed.close;
  assertEquals(unflushed.result.ok, true);
});

Deno.test("a stream that was closed survives a power cut, and one that was not flushed may not", async () => {
  await using device = ramDevice(BYTES);
  await using io = new IoClient({ pages: 64 });
  const region = { bdev: device, sector: 0, count: 1000 };
  for (const [i, flush] of [[1, true], [2, false]] as const) {
    const stream = io.writable([region], { flush });
    const writer = stream.getWriter();
    await writer.write(pattern(1000 * 512, i));
    await writer.close();
    assertEquals(faults(device).unflushed, flush ? 0 : 1000);
  }
  faults(device).powerCut(1);
  const { bytes } = await drain(io.readable(region));
  const [old, lost] = [pattern(1000 * 512, 1), pattern(1000 * 512, 2)];
  for (let at = 0; at < bytes.length; at += 512) {
    const held = bytes.subarray(at, at + 512);
    if (!held.every((byte, i) => byte === old[at + i])) expectSame(held, lost.subarray(at, at + 512));
  }
});

Deno.test("a device that hangs holds up its own stream alone", async () => {
  await using hung = ramDevice(BYTES);
  await using device = ramDevice(BYTES);
  await using io = new IoClient({ pages: 32 });
  const regions = [hung, device].map((bdev) => ({ bdev, sector: 0, count: SECTORS }));
  const hang = faults(hung).hang();
  const stuck = [io.readable(regions[0]!).getReader(), io.readable(regions[0]!).getReader()];
  const reads = stuck.map((reader) => reader.read());
  const writer = io.writable([regions[0]!]).getWriter();
  const written = writer.write(new Uint8Array(BYTES));
  const { bytes, error } = await soon(drain(io.readable(regions[1]!)), "the other device's stream");
  assertEquals([bytes.length, error], [BYTES, null]);
  hang.remove();
  await soon(Promise.all([...reads, written]), "the streams that hung");
  await writer.close();
  for (const reader of stuck) await reader.cancel();
  await expectAllFree(io, hung, device);
});

Deno.test("a ring that breaks errors each stream with the fault", async () => {
  await using device = ramDevice(BYTES);
  await using loop = await LoopDevice.create({ bytes: BYTES });
  await using real = BlockDevice.open(loop.path, { write: true, direct: true });
  const ring = new BreakingRing(8);
  const io = clientOn(ring, { pages: 64 });
  const region = { bdev: real, sector: 0, count: SECTORS };
  const reader = io.readable(region).getReader();
  await reader.read();
  const stream = io.writable([region, { bdev: device, sector: 0, count: SECTORS }], {
    onFailure: "continue",
  });
  const writer = stream.getWriter();
  await writer.write(new Uint8Array(100));
  ring.breaksAt = 0;
  await assertRejects(() => soon(writer.close(), "close()"), Error, "the ring is broken");
  assertEquals((await soon(stream.result, "result")).failures.length, 2);
  await assertRejects(
    async () => {
      for (let i = 0; i < 100; i++) await soon(reader.read(), "read()");
    },
    Error,
    "the ring is broken",
  );
  await soon(io.close(), "close()");
});
