/** `readable`: a region as a stream. Its bytes come in order to each kind of reader, and its pages are given back, however it ends. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { BlockDevice, IoClient, pageSize } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";
import { collect, joined, soon, StreamBed } from "../support/stream_bed.ts";

const PAGE = pageSize();
const CHUNK = 64 * 1024;

Deno.test("a default reader gets the region in chunks of the default and of the given length", async () => {
  await using bed = await StreamBed.create();
  for (
    const [options, chunk] of [[{}, CHUNK], [{ chunk: 512 }, 512], [{ chunk: 300 * 512 }, 300 * 512]] as const
  ) {
    const region = bed.region(3, 1031);
    const lengths: number[] = [];
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for await (const bytes of bed.io.readable(region, options)) {
      lengths.push(bytes.length);
      chunks.push(bytes);
    }
    const whole = Math.floor(region.count * 512 / chunk);
    assertEquals(lengths.slice(0, whole), new Array(whole).fill(chunk));
    expectSame(joined(chunks), bed.held(region));
    await bed.expectIdle();
  }
});

Deno.test("a BYOB reader gets its own memory back, filled, whatever its length", async () => {
  await using bed = await StreamBed.create();
  const region = bed.region(8, 2048);
  for (const length of [1, 511, 4096, 100_000, 1 << 20, 3 << 20]) {
    const reader = bed.io.readable(length === 1 ? { ...region, count: 2 } : region).getReader({
      mode: "byob",
    });
    const expected = bed.held(length === 1 ? { ...region, count: 2 } : region);
    let view = new Uint8Array(length);
    for (let at = 0;;) {
      const { done, value } = await reader.read(view);
      if (done) {
        assertEquals([at, value?.buffer.byteLength], [expected.length, length]);
        break;
      }
      assert(
        value.length === Math.min(length, expected.length - at) || value.length >= CHUNK,
        `${value.length}`,
      );
      expectSame(value, expected.subarray(at, at + value.length));
      at += value.length;
      view = new Uint8Array(value.buffer);
    }
    await bed.expectIdle();
  }
});

Deno.test("a BYOB read with a minimum gets at least as much, and words come whole", async () => {
  await using bed = await StreamBed.create();
  const region = bed.region(0, 1024);
  const reader = bed.io.readable(region).getReader({ mode: "byob" });
  const first = await reader.read(new Uint8Array(400_000), { min: 399_999 });
  expectSame(first.value!, bed.held(region).subarray(0, first.value!.length));
  assert(first.value!.length >= 399_999);
  const rest = await reader.read(new Uint32Array(1000));
  assert(rest.value!.length > 0);
  await reader.cancel();
  await bed.expectIdle();
});

Deno.test("an empty region is an empty stream", async () => {
  await using bed = await StreamBed.create();
  assertEquals((await collect(bed.io.readable(bed.region(8, 0)))).length, 0);
  const reader = bed.io.readable(bed.region(8, 0)).getReader({ mode: "byob" });
  assertEquals((await reader.read(new Uint8Array(16))).done, true);
  await bed.expectIdle();
});

Deno.test("a region beyond 4 TiB is read at its place", async () => {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("sparse"), { write: true, create: 2 ** 43 });
  await using io = new IoClient();
  const sector = 2 ** 33 + 5;
  const data = pattern(200_192, 3);
  assertEquals((await io.write([{ bdev: device, sector, count: 391 }], data)).ok, true);
  expectSame(await collect(io.readable({ bdev: device, sector, count: 391 })), data);
});

Deno.test("nothing is read before the first read, and readers ahead leave half of the pool", async () => {
  await using bed = await StreamBed.create({ pages: 128 });
  const { pool } = bed.io;
  const streams = [1, 2, 3].map(() => bed.io.readable(bed.region()));
  assertEquals([bed.io.stats().requests, pool.available], [0, 128]);
  const readers = streams.map((stream) => stream.getReader());
  await readers[0]!.read();
  assert(pool.available >= 64 && pool.available < 128, `${pool.available}`);
  for (const reader of readers) await reader.read();
  assert(pool.available >= 16, `${pool.available}`);
  pool.free(pool.alloc(8));
  for (const reader of readers) await reader.cancel();
  await bed.expectIdle();
});

const WAYS_OUT: Record<string, (stream: ReadableStream<Uint8Array>) => Promise<void>> = {
  "reader.cancel()": async (stream) => {
    const reader = stream.getReader();
    await reader.read();
    await reader.cancel();
  },
  "reader.cancel() during a read": async (stream) => {
    const reader = stream.getReader();
    await reader.read();
    const reads = [reader.read(), reader.read()];
    await reader.cancel();
    await Promise.all(reads);
  },
  "cancel() during a BYOB read": async (stream) => {
    const reader = stream.getReader({ mode: "byob" });
    await reader.read(new Uint8Array(16));
    const read = reader.read(new Uint8Array(3 << 20), { min: 3 << 20 });
    await reader.cancel();
    assertEquals((await read).done, true);
  },
  "break in for await": async (stream) => {
    for await (const _ of stream) break;
  },
  "an error in for await": async (stream) => {
    await assertRejects(async () => {
      for await (const _ of stream) throw new SyntaxError("of the consumer");
    }, SyntaxError);
  },
  "return of the iterator": async (stream) => {
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.return!();
  },
  "a pipe whose target fails": async (stream) => {
    const target = new WritableStream({ write: () => Promise.reject(new SyntaxError("of the target")) });
    await assertRejects(() => stream.pipeTo(target), SyntaxError);
  },
  "an aborted pipe": async (stream) => {
    const stop = new AbortController();
    const target = new WritableStream({ write: () => stop.abort() });
    await assertRejects(() => stream.pipeTo(target, { signal: stop.signal }), DOMException);
  },
  "cancel() before the first read": (stream) => stream.cancel(),
};

for (const [name, leave] of Object.entries(WAYS_OUT)) {
  Deno.test(`a consumer that leaves by ${name} leaves no page and no request behind`, async () => {
    await using bed = await StreamBed.create();
    for (const chunk of [4096, CHUNK, 1 << 20]) {
      await soon(leave(bed.io.readable(bed.region(), { chunk })), name);
      await bed.expectIdle();
    }
  });
}

Deno.test("a reader that takes over from one that was released goes on where that stopped", async () => {
  await using bed = await StreamBed.create();
  const region = bed.region(0, 1000);
  const stream = bed.io.readable(region, { chunk: 4096 });
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  for (let i = 0; i < 3; i++) {
    const reader = stream.getReader();
    chunks.push((await reader.read()).value!);
    // Released while a read waits, which rejects; its bytes go to the next reader.
    const read = reader.read();
    reader.releaseLock();
    await assertRejects(() => read, TypeError);
    const byob = stream.getReader({ mode: "byob" });
    chunks.push((await soon(byob.read(new Uint8Array(1000)), "the next reader")).value!);
    byob.releaseLock();
  }
  chunks.push(await collect(stream));
  expectSame(joined(chunks), bed.held(region));
  await bed.expectIdle();
});

for (const pages of [0, 1, 2, 3, 17]) {
  Deno.test(`a pool of ${pages} pages streams all the same, with chunks that are longer than the pool`, async () => {
    await using bed = await StreamBed.create({ pages });
    for (const chunk of [512, PAGE + 512, 1 << 20]) {
      const region = bed.region(1, chunk === 512 ? 50 : 4001);
      expectSame(
        await soon(collect(bed.io.readable(region, { chunk })), `chunks of ${chunk}`),
        bed.held(region),
      );
      await bed.expectIdle();
    }
  });
}

Deno.test("a program that holds every page, or every second one, does not stop a stream", async () => {
  await using bed = await StreamBed.create({ pages: 32 });
  const pages = Array.from({ length: 32 }, () => bed.io.pool.alloc(1));
  expectSame(await soon(collect(bed.io.readable(bed.region())), "no page"), bed.bytes);
  for (let i = 0; i < 32; i += 2) bed.io.pool.free(pages[i]!);
  expectSame(await soon(collect(bed.io.readable(bed.region())), "single pages"), bed.bytes);
  await bed.expectIdle(16);
});

Deno.test("a caller that waits for all pages gets them while streams go on", async () => {
  await using bed = await StreamBed.create({ pages: 16 });
  const reader = bed.io.readable(bed.region(), { chunk: 4096 }).getReader();
  await reader.read();
  let came = false;
  const all = bed.io.pool.allocWait(16).then((memory) => (came = true, memory));
  for (let reads = 0; !came && reads < 1000; reads++) await reader.read();
  bed.io.pool.free(await soon(all, "allocWait"));
  await reader.cancel();
  await bed.expectIdle();
});

for (const pages of [0, 2, 16, 1024]) {
  Deno.test(`streams that are read by turns, or left half read, do not stop others with ${pages} pages`, async () => {
    await using bed = await StreamBed.create({ pages });
    const region = bed.region(0, 512);
    const halfRead: ReadableStreamDefaultReader[] = [];
    for (let i = 0; i < 20; i++) {
      halfRead.push(bed.io.readable(bed.region()).getReader());
      await soon(halfRead[i]!.read(), `stream ${i}`);
    }
    const [one, other] = [bed.io.readable(region), bed.io.readable(region)].map((stream) =>
      stream.getReader()
    );
    for (let at = 0; at < region.count * 512; at += CHUNK) {
      const both = await soon(Promise.all([one!.read(), other!.read()]), `byte ${at}`);
      for (const { value } of both) expectSame(value!, bed.bytes.subarray(at, at + CHUNK));
    }
    for (const reader of halfRead) await reader.cancel();
    await bed.expectIdle();
  });
}

Deno.test("chunks that a consumer keeps, transfers or overwrites are its own", async () => {
  await using bed = await StreamBed.create({ pages: 64 });
  const kept: Uint8Array[] = [];
  for await (const bytes of bed.io.readable(bed.region())) {
    kept.push(new Uint8Array((bytes.buffer as ArrayBuffer).transfer()));
  }
  for (const [i, bytes] of kept.entries()) {
    expectSame(bytes.subarray(0, CHUNK), bed.bytes.subarray(i * CHUNK, (i + 1) * CHUNK));
    bytes.fill(0xee);
  }
  expectSame(await collect(bed.io.readable(bed.region())), bed.bytes);
  assertEquals(bed.io.pool.pages, 64, "no page of the pool was transferred away");
  await bed.expectIdle();
});

Deno.test("an unread stream does not keep its client or its device from closing", async () => {
  const bed = await StreamBed.create();
  const unread = bed.io.readable(bed.region());
  const half = bed.io.readable(bed.region()).getReader();
  const waiting = bed.io.readable(bed.region()).getReader();
  await half.read();
  const read = waiting.read();
  await soon(bed.io.close(), "close()");
  await soon(bed.device.close(), "the device's close()");
  assertEquals((await Promise.allSettled([read])).length, 1);
  await assertRejects(() => unread.getReader().read(), TypeError, "the client is closed");
  await assertRejects(
    async () => {
      for (let i = 0; i < 100; i++) await half.read();
    },
    TypeError,
    "closed",
  );
  await half.cancel().catch(() => {});
  await bed[Symbol.asyncDispose]();
});

Deno.test("a device that is closed errors its streams, after what was read", async () => {
  await using bed = await StreamBed.create();
  const other = BlockDevice.open(bed.loop.path);
  const reader = bed.io.readable({ bdev: other, sector: 0, count: 8192 }, { chunk: 4096 }).getReader();
  await reader.read();
  const closed = other.close();
  let at = 4096;
  const error = await assertRejects(async () => {
    for (;;) {
      const { value } = await reader.read();
      expectSame(value!, bed.bytes.subarray(at, at += 4096));
    }
  }, TypeError);
  assert(error.message.includes(other.path) && error.message.includes("closed"), error.message);
  assert(at > 4096 && at < bed.bytes.length);
  await soon(closed, "the device's close()");
  await bed.expectIdle();
});

Deno.test("a signal errors a stream with its reason: before, between and during reads", async () => {
  await using bed = await StreamBed.create();
  const reason = new SyntaxError("enough");
  const aborted = AbortSignal.abort(reason);
  await assertRejects(() => collect(bed.io.readable(bed.region(), { signal: aborted })), SyntaxError);
  const between = new AbortController();
  const reader = bed.io.readable(bed.region(), { signal: between.signal }).getReader();
  await reader.read();
  between.abort(reason);
  assertEquals(await settlesWithin(reader.closed, 1000), true, "an idle stream errors at once");
  await assertRejects(() => reader.read(), SyntaxError);
  await bed.expectIdle();
  const during = new AbortController();
  const byob = bed.io.readable(bed.region(), { signal: during.signal }).getReader({ mode: "byob" });
  const read = byob.read(new Uint8Array(1 << 20));
  during.abort(reason);
  await assertRejects(() => read, SyntaxError);
  await bed.expectIdle();
  // At the end of a stream its listener is gone.
  const late = new AbortController();
  expectSame(await collect(bed.io.readable(bed.region(), { signal: late.signal })), bed.bytes);
  late.abort(reason);
  await bed.expectIdle();
});
