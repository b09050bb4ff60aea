/** Streams with the platform's own: pipes, tee, compression, Response, files; and any mix of lengths, by chance. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { BlockDevice, IoClient } from "../../mod.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { until } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";
import { collect, joined, soon, StreamBed } from "../support/stream_bed.ts";

const RUNS = 60;

for (const pages of [0, 1, 2, 3, 1024]) {
  Deno.test(`a region is piped to two others of the same client, which has ${pages} pages`, async () => {
    await using bed = await StreamBed.create({ pages });
    const from = bed.region(0, 1111);
    const stream = bed.io.writable([bed.region(2000, 1111), bed.region(4000, 1111)], { chunk: 4096 });
    await soon(bed.io.readable(from).pipeTo(stream), "pipeTo()");
    assertEquals((await stream.result).bytes, [1111 * 512, 1111 * 512]);
    const now = bed.loop.bytes();
    for (const sector of [2000, 4000]) {
      expectSame(now.subarray(sector * 512, (sector + 1111) * 512), bed.held(from));
    }
    await bed.expectIdle();
  });
}

Deno.test("a region is packed by CompressionStream, and unpacked into another", async () => {
  await using bed = await StreamBed.create();
  const region = bed.region(16, 3001);
  const packed = bed.io.readable(region).pipeThrough(new CompressionStream("gzip"));
  const stream = bed.io.writable([bed.region(4096, 3001)]);
  // The types of Deno's DecompressionStream take any BufferSource.
  await soon(packed.pipeThrough(new DecompressionStream("gzip")).pipeTo(stream), "pipeTo()");
  assertEquals((await stream.result).bytes, [3001 * 512]);
  expectSame(bed.loop.bytes(4096 * 512, 3001 * 512), bed.held(region));
  await bed.expectIdle();
});

Deno.test("both branches of tee() get the region, read by turns, to a default and a BYOB reader", async () => {
  await using bed = await StreamBed.create({ pages: 16 });
  const [one, other] = bed.io.readable(bed.region(0, 3000)).tee();
  const reader = other.getReader({ mode: "byob" });
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const byob = (async () => {
    for (;;) {
      const { done, value } = await reader.read(new Uint8Array(10_000));
      if (done) return joined(chunks);
      chunks.push(value);
    }
  })();
  for (const all of await soon(Promise.all([collect(one), byob]), "tee()")) {
    expectSame(all, bed.held(bed.region(0, 3000)));
  }
  await bed.expectIdle();
});

Deno.test("a region is the body of a Response and of a request, and a body is written to one", async () => {
  await using bed = await StreamBed.create();
  const region = bed.region(0, 2500);
  expectSame(await new Response(bed.io.readable(region)).bytes(), bed.held(region));
  const written: Promise<readonly number[]>[] = [];
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async ({ body }) => {
    const stream = bed.io.writable([bed.region(4000, 2500)]);
    written.push(stream.result.then(({ bytes }) => bytes));
    await body!.pipeTo(stream);
    return new Response("written");
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const answer = await fetch(url, { method: "POST", body: bed.io.readable(region) });
  assertEquals(await answer.text(), "written");
  assertEquals(await Promise.all(written), [[2500 * 512]]);
  expectSame(bed.loop.bytes(4000 * 512, 2500 * 512), bed.held(region));
  await bed.expectIdle();
});

Deno.test("views of subclasses are written as the bytes that they are", async () => {
  await using bed = await StreamBed.create();
  class Liar extends Uint8Array {
    override get length(): number {
      return 3;
    }
    override get byteLength(): number {
      return 1 << 30;
    }
    override subarray(): Uint8Array<ArrayBuffer> {
      throw new SyntaxError("a method of the caller's was called");
    }
  }
  const data = pattern(10_000, 5);
  const shared = new Uint8Array(new SharedArrayBuffer(10_000));
  shared.set(data);
  const liar = new Liar(10_000);
  Uint8Array.prototype.set.call(liar, data);
  for (const bytes of [liar, shared, new Uint8Array(joined([data, data]).buffer, 10_000)]) {
    const stream = bed.io.writable([bed.region(8, 100)]);
    const writer = stream.getWriter();
    await writer.write(bytes);
    await writer.close();
    assertEquals((await stream.result).bytes, [10_000]);
    expectSame(bed.loop.bytes(8 * 512, 10_000), data);
  }
  await bed.expectIdle();
});

Deno.test("streams whose pages the program transfers away error, and later ones go on without", async () => {
  await using bed = await StreamBed.create({ pages: 64 });
  const reader = bed.io.readable(bed.region()).getReader();
  await reader.read();
  const stream = bed.io.writable([bed.region()]);
  const writer = stream.getWriter();
  await writer.write(new Uint8Array(100));
  (bed.io.pool.alloc(1).buffer as ArrayBuffer).transfer();
  await assertRejects(() => soon(reader.read(), "read()"), TypeError, "transferred away");
  await assertRejects(
    () => soon(writer.write(new Uint8Array(100)), "write()"),
    TypeError,
    "transferred away",
  );
  assertEquals((await soon(stream.result, "result")).bytes, [0]);
  const copy = bed.io.writable([bed.region()]);
  await soon(bed.io.readable(bed.region(0, 1000)).pipeTo(copy), "pipeTo()");
  assertEquals((await copy.result).bytes, [1000 * 512]);
  expectSame(bed.loop.bytes(), bed.bytes);
  assertEquals([bed.io.outstanding, bed.device.inFlight], [0, 0]);
});

/** What a consumer does next: a read by default or into a view, or the end. */
type Step = { readonly view: number; readonly min: boolean } | "read" | "cancel";

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { arbitrary: fc.record({ view: fc.integer({ min: 1, max: 300_000 }), min: fc.boolean() }), weight: 6 },
    { arbitrary: fc.constant("read" as const), weight: 4 },
    { arbitrary: fc.constant("cancel" as const), weight: 1 },
  ),
  { maxLength: 30 },
);

Deno.test("any mix of reads, views, chunks, pools and cancel points gets what a plain read gets", async () => {
  await using scratch = await Scratch.create();
  const bytes = pattern(2 << 20, 3);
  const path = scratch.join("file");
  Deno.writeFileSync(path, bytes);
  await using device = BlockDevice.open(path, { write: true });
  const plan = fc.record({
    sector: fc.integer({ min: 0, max: 2000 }),
    count: fc.integer({ min: 0, max: 2000 }),
    chunk: fc.integer({ min: 1, max: 400 }),
    pages: fc.constantFrom(0, 1, 2, 7, 64, 1024),
    steps,
  });
  await fc.assert(
    fc.asyncProperty(plan, async ({ sector, count, chunk, pages, steps }) => {
      await using io = new IoClient({ pages });
      const stream = io.readable({ bdev: device, sector, count }, { chunk: chunk * 512 });
      const expected = bytes.subarray(sector * 512, (sector + count) * 512);
      let at = 0;
      for (const step of steps) {
        if (step === "cancel") {
          await stream.cancel();
          break;
        }
        at += await next(stream, step, expected.subarray(at));
      }
      // What is left comes whole, unless the stream was canceled.
      if (!steps.includes("cancel")) {
        const reader = stream.getReader();
        for (let read = await reader.read(); !read.done; read = await reader.read()) {
          expectSame(read.value, expected.subarray(at, at + read.value.length));
          at += read.value.length;
        }
        assertEquals(at, expected.length);
      }
      assert(
        await until(() => io.pool.available === pages, 5000),
        `${io.pool.available} of ${pages} pages are free`,
      );
    }),
    { numRuns: RUNS },
  );
  assertEquals(device.inFlight, 0);
});

// Carries out one step on what is left of the stream. @returns How many bytes it got.
async function next(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  step: Exclude<Step, "cancel">,
  left: Uint8Array,
): Promise<number> {
  if (step === "read") {
    using reader = lock(stream.getReader());
    const { value } = await soon(reader.of.read(), "read()");
    expectSame(value ?? new Uint8Array(0), left.subarray(0, value?.length ?? 0));
    assertEquals(value === undefined, left.length === 0);
    return value?.length ?? 0;
  }
  using reader = lock(stream.getReader({ mode: "byob" }));
  const { view, min } = step;
  const { done, value } = await soon(
    reader.of.read(new Uint8Array(view), { min: min ? view : 1 }),
    "read(view)",
  );
  expectSame(value!, left.subarray(0, value!.length));
  assertEquals(done, left.length === 0 || min && left.length < view);
  if (min) assertEquals(value!.length, Math.min(view, left.length));
  return value!.length;
}

function lock<R extends { releaseLock(): void }>(reader: R): { readonly of: R } & Disposable {
  return { of: reader, [Symbol.dispose]: () => reader.releaseLock() };
}

Deno.test("any mix of writes, chunks, pools and regions leaves what plain writes leave", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  const before = pattern(2 << 20, 4);
  await using device = BlockDevice.open(path, { write: true, create: before.length });
  const region = fc.record({ gap: fc.integer({ min: 0, max: 9 }), count: fc.integer({ min: 0, max: 700 }) });
  const plan = fc.record({
    regions: fc.array(region, { minLength: 1, maxLength: 5 }),
    lengths: fc.array(fc.integer({ min: 0, max: 70_000 }), { maxLength: 12 }),
    chunk: fc.integer({ min: 1, max: 400 }),
    pages: fc.constantFrom(0, 1, 2, 7, 64, 1024),
    end: fc.constantFrom("close", "close", "abort"),
  });
  await fc.assert(
    fc.asyncProperty(plan, async ({ regions, lengths, chunk, pages, end }) => {
      Deno.writeFileSync(path, before);
      await using io = new IoClient({ pages });
      let sector = 0;
      const where = regions.map(({ gap, count }) => {
        const first = sector + gap;
        sector = first + count;
        return { bdev: device, sector: first, count };
      });
      const most = Math.max(...where.map(({ count }) => count)) * 512;
      const data = pattern(Math.min(lengths.reduce((sum, length) => sum + length, 0), most), 6);
      const stream = io.writable(where, { chunk: chunk * 512 });
      const writer = stream.getWriter();
      let at = 0;
      for (const length of lengths) {
        const piece = data.slice(at, at = Math.min(at + length, data.length));
        // What still waits at the abort rejects.
        writer.write(piece).catch(() => {});
      }
      await soon(end === "close" ? writer.close() : writer.abort(), end);
      const { bytes, ok } = await soon(stream.result, "result");
      assertEquals(ok, end === "close");
      const now = Deno.readFileSync(path);
      for (const [i, { sector, count }] of where.entries()) {
        if (ok) assertEquals(bytes[i], Math.min(data.length, count * 512));
        const begin = sector * 512;
        expectSame(now.subarray(begin, begin + bytes[i]!), data.subarray(0, bytes[i]), `region ${i}`);
        const filled = Math.min(Math.ceil(data.length / 512), count) * 512;
        if (ok) {
          expectSame(
            now.subarray(begin + bytes[i]!, begin + filled),
            new Uint8Array(filled - bytes[i]!),
            "zeros",
          );
        }
      }
      expectOnlyChanged(
        before,
        now,
        where.map(({ sector, count }) => ({ offset: sector * 512, length: count * 512 })),
      );
      assert(
        await until(() => io.pool.available === pages, 5000),
        `${io.pool.available} of ${pages} pages are free`,
      );
    }),
    { numRuns: RUNS },
  );
  assertEquals(device.inFlight, 0);
});
