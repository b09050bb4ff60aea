/** `writable`: a stream that writes regions. What came in is on each of them, the result says so, and nothing else changes. */

import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  BlockDevice,
  IoClient,
  type IoRegion,
  pageSize,
  type RegionsWritable,
  type WritableOptions,
  WritableResult,
} from "../../mod.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";
import { soon, StreamBed } from "../support/stream_bed.ts";

const PAGE = pageSize();
const CHUNK = 64 * 1024;

/** Writes pieces of these lengths and closes. @returns All of it. */
async function write(stream: RegionsWritable, lengths: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
  const data = pattern(lengths.reduce((sum, length) => sum + length, 0), 99);
  const writer = stream.getWriter();
  let at = 0;
  for (const length of lengths) {
    await writer.ready;
    const piece = data.slice(at, at += length);
    // Its memory is the writer's again once the write is done.
    void writer.write(piece).then(() => piece.fill(0xee));
  }
  await soon(writer.close(), "close()");
  return data;
}

for (const pages of [0, 1, 3, 1024]) {
  Deno.test(`pieces of any length are on each of three devices, with a pool of ${pages} pages`, async () => {
    await using bed = await StreamBed.create({ pages, bytes: 1 << 20 });
    await using scratch = await Scratch.create();
    await using other = await StreamBed.create({ bytes: 1 << 20, sectorSize: 4096 });
    const path = scratch.join("file");
    Deno.writeFileSync(path, bed.bytes);
    await using file = BlockDevice.open(path, { write: true });
    const regions = [bed.region(16, 1600), other.region(24, 1600), { bdev: file, sector: 3, count: 1600 }];
    for (const options of [{}, { chunk: 4096 }, { chunk: 1 << 20 }]) {
      const stream = bed.io.writable(regions, options);
      const data = await write(stream, [1, 511, 512, 0, 513, 70_001, PAGE, 300_000, 1, 200_000]);
      assertEquals(
        await stream.result,
        new WritableResult([], Promise.resolve(), new Array(3).fill(data.length)),
      );
      const held = [bed.loop.bytes(), other.loop.bytes(), Deno.readFileSync(path)];
      for (const [i, bytes] of held.entries()) {
        const offset = regions[i]!.sector * 512;
        const block = i === 1 ? 4096 : 512;
        const end = Math.ceil(data.length / block) * block;
        expectSame(bytes.subarray(offset, offset + data.length), data);
        expectSame(
          bytes.subarray(offset + data.length, offset + end),
          new Uint8Array(end - data.length),
          "padding",
        );
        expectOnlyChanged(bed.bytes, bytes, [{ offset, length: end }]);
      }
      await bed.expectIdle();
    }
  });
}

Deno.test("regions of different lengths get each its own part of the stream", async () => {
  await using bed = await StreamBed.create();
  const regions = [bed.region(0, 1), bed.region(100, 0), bed.region(200, 700), bed.region(1000, 129)];
  const stream = bed.io.writable(regions, { chunk: 4096 });
  const data = await write(stream, [100_000, 700 * 512 - 100_000]);
  const { bytes, ok } = await stream.result;
  assertEquals([ok, bytes], [true, regions.map(({ count }) => count * 512)]);
  const now = bed.loop.bytes();
  for (const { sector, count } of regions) {
    expectSame(now.subarray(sector * 512, (sector + count) * 512), data.subarray(0, count * 512));
  }
  expectOnlyChanged(
    bed.bytes,
    now,
    regions.map(({ sector, count }) => ({ offset: sector * 512, length: count * 512 })),
  );
  await bed.expectIdle();
});

Deno.test("a stream of nothing closes, and writes nothing", async () => {
  await using bed = await StreamBed.create();
  const stream = bed.io.writable([bed.region(), bed.region(0, 0)]);
  await write(stream, []);
  assertEquals((await stream.result).bytes, [0, 0]);
  expectSame(bed.loop.bytes(), bed.bytes);
  await bed.expectIdle();
});

Deno.test("one byte more than the longest region holds is an error, and is written nowhere", async () => {
  await using bed = await StreamBed.create();
  const regions = [bed.region(8, 300), bed.region(1000, 100)];
  const stream = bed.io.writable(regions);
  const writer = stream.getWriter();
  await writer.write(pattern(300 * 512 - 1, 1));
  const error = await assertRejects(() => writer.write(pattern(2, 1)), RangeError);
  assert(error.message.includes(`${300 * 512}`), error.message);
  await assertRejects(() => writer.close());
  const { failures, bytes } = await soon(stream.result, "result");
  assertEquals(failures.map(({ region, code }) => [region, code]), [[0, "ECANCELED"], [1, "ECANCELED"]]);
  assertEquals([bytes[0]! <= 300 * 512 - 1, bytes[1]! <= 100 * 512], [true, true]);
  const ranges = regions.map(({ sector, count }) => ({ offset: sector * 512, length: count * 512 }));
  expectOnlyChanged(bed.bytes, bed.loop.bytes(), ranges);
  await bed.expectIdle();
});

Deno.test("close flushes each device once all writes are answered, unless it is not to", async () => {
  await using bed = await StreamBed.create();
  for (const [options, flushes] of [[{}, 1], [{ flush: true }, 1], [{ flush: false }, 0]] as const) {
    const io = bed.io;
    const flushed: [number, readonly unknown[]][] = [];
    // A property of its own hides the method.
    Object.defineProperty(io, "flush", {
      configurable: true,
      value(targets: readonly IoRegion[], how: WritableOptions) {
        flushed.push([io.outstanding, targets]);
        return IoClient.prototype.flush.call(io, targets, how);
      },
    });
    const regions = [bed.region(0, 400), bed.region(400, 400)];
    await write(io.writable(regions, options), [200_000]);
    assertEquals(flushed, new Array(flushes).fill([0, regions]));
  }
  await bed.expectIdle();
});

Deno.test("an aborted stream gives its pages back and says what each region has", async () => {
  await using bed = await StreamBed.create();
  const reason = new SyntaxError("enough");
  for (const written of [0, 100, CHUNK, 3 * CHUNK + 1]) {
    const stream = bed.io.writable([bed.region(16, 2000)]);
    const writer = stream.getWriter();
    if (written > 0) await writer.write(pattern(written, 2));
    await soon(writer.abort(reason), "abort()");
    await assertRejects(() => writer.closed, SyntaxError);
    const { failures: [failure], bytes: [bytes] } = await soon(stream.result, "result");
    assertEquals([failure?.code, failure?.sector], ["ECANCELED", 16 + Math.floor(bytes! / 512)]);
    assert(bytes! % CHUNK === 0 && bytes! <= written, `${bytes} of ${written}`);
    expectSame(bed.loop.bytes(16 * 512, bytes), pattern(written, 2).subarray(0, bytes));
    await bed.expectIdle();
  }
});

Deno.test("a write that an abort overtakes leaves pages alone that are another's by then", async () => {
  await using bed = await StreamBed.create({ pages: 4 });
  const { pool } = bed.io;
  const writer = bed.io.writable([bed.region()]).getWriter();
  await writer.ready;
  const written = writer.write(pattern(4000, 1)).catch(() => {});
  const aborted = writer.abort();
  const mine = pool.alloc(4).fill(0x51);
  await Promise.all([written, aborted]);
  assert(mine.every((byte) => byte === 0x51));
  pool.free(mine);
  await bed.expectIdle();
});

Deno.test("a signal errors a stream with its reason, before and between writes, and is left alone after", async () => {
  await using bed = await StreamBed.create();
  const reason = new SyntaxError("enough");
  const never = bed.io.writable([bed.region()], { signal: AbortSignal.abort(reason) });
  await assertRejects(() => never.getWriter().write(new Uint8Array(1)), SyntaxError);
  assertEquals((await never.result).failures[0]?.code, "ECANCELED");
  const stop = new AbortController();
  const stream = bed.io.writable([bed.region()], { signal: stop.signal });
  const writer = stream.getWriter();
  await writer.write(pattern(100_000, 1));
  stop.abort(reason);
  await assertRejects(() => soon(writer.closed, "closed"), SyntaxError);
  await assertRejects(() => writer.write(new Uint8Array(1)), SyntaxError);
  assertEquals((await stream.result).failures[0]?.code, "ECANCELED");
  await bed.expectIdle();
  const late = new AbortController();
  const whole = bed.io.writable([bed.region()], { signal: late.signal });
  await write(whole, [1000]);
  late.abort(reason);
  assertEquals((await whole.result).ok, true);
});

Deno.test("an open stream does not keep its client or device from closing, and errors afterwards", async () => {
  const bed = await StreamBed.create();
  const [idle, half] = [bed.io.writable([bed.region()]), bed.io.writable([bed.region()])];
  const writer = half.getWriter();
  await writer.write(pattern(100_000, 1));
  await soon(bed.io.close(), "close()");
  await soon(bed.device.close(), "the device's close()");
  await assertRejects(() => writer.write(new Uint8Array(1)), TypeError, "closed");
  const other = idle.getWriter();
  await assertRejects(() => other.write(pattern(100_000, 1)), TypeError, "closed");
  for (const stream of [idle, half]) {
    assertEquals((await soon(stream.result, "result")).failures.map(({ code }) => code), ["ECANCELED"]);
  }
  await bed[Symbol.asyncDispose]();
});

Deno.test("the close of a stream whose client was closed says so, also when bytes were left to write", async () => {
  const bed = await StreamBed.create();
  const stream = bed.io.writable([bed.region()]);
  const writer = stream.getWriter();
  await writer.write(pattern(1000, 1));
  await soon(bed.io.close(), "close()");
  await assertRejects(() => writer.close(), TypeError, "the client was closed while the stream was open");
  assertEquals((await soon(stream.result, "result")).failures.map(({ code }) => code), ["ECANCELED"]);
  await bed.device.close();
  await bed[Symbol.asyncDispose]();
});

Deno.test("a device that is closed errors the stream, and the error names it", async () => {
  await using bed = await StreamBed.create();
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  const other = BlockDevice.open(loop.path, { write: true });
  const stream = bed.io.writable([bed.region(0, 2048), { bdev: other, sector: 0, count: 2048 }], {
    onFailure: "continue",
  });
  const writer = stream.getWriter();
  await writer.write(pattern(CHUNK, 1));
  await soon(other.close(), "the device's close()");
  const error = await assertRejects(() => writer.write(pattern(CHUNK, 1)), TypeError);
  assert(error.message.includes(other.path), error.message);
  assertEquals((await stream.result).failures.map(({ code }) => code), ["ECANCELED", "ECANCELED"]);
  await bed.expectIdle();
});

Deno.test("what is no Uint8Array errors the stream, and the error says what it was given", async () => {
  await using bed = await StreamBed.create();
  const detached = new Uint8Array(10);
  detached.buffer.transfer();
  const alike = Object.create(Uint8Array.prototype);
  const proxy = new Proxy(new Uint8Array(10), {});
  const wrong: [unknown, string][] = [
    ["text", '"text"'],
    [null, "null"],
    [undefined, "undefined"],
    [7n, "7n"],
    [new ArrayBuffer(8), "ArrayBuffer"],
    [new Uint16Array(8), "Uint16Array"],
    [[1, 2], "Array"],
    [alike, ""],
    [proxy, ""],
  ];
  for (const [value, words] of wrong) {
    const stream = bed.io.writable([bed.region()]);
    const writer = stream.getWriter();
    await writer.write(pattern(10, 1));
    const error = await assertRejects(() => writer.write(value as Uint8Array), TypeError);
    assert(error.message.includes(words), error.message);
    assertInstanceOf(await soon(stream.result, "result"), WritableResult);
    await bed.expectIdle();
  }
  const stream = bed.io.writable([bed.region()]);
  const writer = stream.getWriter();
  await writer.write(detached);
  await writer.close();
  assertEquals((await stream.result).bytes, [0], "an array that was detached before has no bytes");
  expectSame(bed.loop.bytes(), bed.bytes);
});

Deno.test("memory that is detached or shrunk while it waits errors the stream", async () => {
  await using bed = await StreamBed.create({ pages: 4 });
  for (const take of [(b: ArrayBuffer) => void b.transfer(), (b: ArrayBuffer) => b.resize(10)]) {
    const stream = bed.io.writable([bed.region()], { chunk: 4096 });
    const writer = stream.getWriter();
    const data = new Uint8Array(new ArrayBuffer(1 << 20, { maxByteLength: 1 << 20 }));
    const written = writer.write(data);
    take(data.buffer);
    await assertRejects(() => soon(written, "write()"), Error);
    assertEquals((await soon(stream.result, "result")).failures.length, 1);
    await bed.expectIdle();
  }
});
