/** Runs of memory: added, walked, copied and zeroed as if they were one. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import fc from "fast-check";
import { Segments } from "../../../src/memory/segments.ts";
import { arenaOf } from "../parts.ts";

/** Segments of these lengths over separate bytes, and a way to see all bytes as one. */
function scattered(lengths: number[], fill: (i: number) => number): Segments {
  const segments = new Segments();
  let offset = 0;
  for (const length of lengths) {
    // Bytes before and after a run are not part of it.
    const bytes = new Uint8Array(length + 2).fill(255);
    for (let i = 0; i < length; i++) bytes[i + 1] = fill(offset++);
    segments.add(null, bytes, 1, length);
  }
  return segments;
}

function whole(segments: Segments): number[] {
  const all: number[] = [];
  for (let i = 0; i < segments.count; i++) {
    const at = segments.at[i]!;
    all.push(...segments.bytes[i]!.subarray(at, at + segments.length[i]!));
  }
  return all;
}

function assertMarginsKept(segments: Segments): void {
  for (const bytes of segments.bytes) {
    assertEquals([bytes[0], bytes.at(-1)], [255, 255], "outside of the run");
  }
}

function detach({ buffer }: Uint8Array): void {
  (buffer as ArrayBuffer).transfer();
}

const lengths = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 });
const sum = (numbers: number[]) => numbers.reduce((total, one) => total + one, 0);

Deno.test("a run that follows the last one of the same arena becomes part of it", () => {
  const [a, b] = [arenaOf(64, 4096), arenaOf(64, 8192)];
  const segments = new Segments();
  const shape = () => segments.at.slice(0, segments.count).map((at, i) => [at, segments.length[i]]);
  segments.add(a, a.bytes, 0, 8);
  segments.add(a, a.bytes, 8, 8);
  assertEquals(shape(), [[0, 16]]);
  segments.add(a, a.bytes, 24, 8);
  segments.add(b, b.bytes, 32, 8);
  assertEquals(shape(), [[0, 16], [24, 8], [32, 8]]);
});

Deno.test("runs of memory that is no arena stay apart, as their owners may detach them one by one", () => {
  const bytes = new Uint8Array(16);
  const segments = new Segments();
  segments.add(null, bytes, 0, 8);
  segments.add(null, bytes, 8, 8);
  assertEquals(segments.count, 2);
});

Deno.test("a copy from any runs to any others moves each byte to its place, and no other", () => {
  const copies = fc.record({
    from: lengths,
    to: lengths,
    start: fc.nat(),
    targetStart: fc.nat(),
    length: fc.nat(),
  });
  fc.assert(fc.property(copies, ({ from, to, ...draw }) => {
    const start = draw.start % sum(from);
    const targetStart = draw.targetStart % sum(to);
    const length = draw.length % (Math.min(sum(from) - start, sum(to) - targetStart) + 1);
    const source = scattered(from, (i) => i % 200 + 1);
    const target = scattered(to, () => 0);
    assertEquals(source.copyTo(start, target, targetStart, length), length);
    const expected = new Array(sum(to)).fill(0);
    for (let i = 0; i < length; i++) expected[targetStart + i] = (start + i) % 200 + 1;
    assertEquals(whole(target), expected);
    assertMarginsKept(target);
  }));
});

Deno.test("a copy stops at a run whose owner detached it, and says how far it came", () => {
  for (const detached of ["source", "target"]) {
    const source = scattered([10, 10], (i) => i + 1);
    const target = scattered([5, 5, 10], () => 0);
    const { bytes } = detached === "source" ? source : target;
    detach(bytes[1]!);
    assertEquals(source.copyTo(0, target, 0, 20), detached === "source" ? 10 : 5);
  }
});

Deno.test("bytes of the whole are zeroed from start to end, over any runs", () => {
  fc.assert(fc.property(lengths, fc.nat(), fc.nat(), (lengths, one, other) => {
    const length = sum(lengths);
    const [start, end] = [one % (length + 1), other % (length + 1)].sort((a, b) => a - b) as [number, number];
    const segments = scattered(lengths, () => 1);
    segments.zero(start, end);
    const expected = Array.from({ length }, (_, i) => i >= start && i < end ? 0 : 1);
    assertEquals(whole(segments), expected);
    assertMarginsKept(segments);
  }));
});

Deno.test("zeroing passes over a run whose owner detached it", () => {
  const segments = scattered([4, 4], () => 1);
  detach(segments.bytes[0]!);
  segments.zero(2, 6);
  assertEquals([...segments.bytes[1]!.subarray(1, 5)], [0, 0, 1, 1]);
});

Deno.test("a place moves on over as many runs as that takes, and stands at the start of the next", () => {
  const segments = scattered([10, 1, 5], () => 0);
  const cursor = { segment: 0, segmentAt: 0 };
  const places = [4, 6, 2, 4].map((bytes) => {
    segments.advance(cursor, bytes);
    return [cursor.segment, cursor.segmentAt];
  });
  assertEquals(places, [[0, 4], [1, 0], [2, 1], [3, 0]]);
});

Deno.test("segments are aligned when each address and each length is, and the kernel may have the memory", () => {
  const arena = arenaOf(65536, 2 ** 40);
  const of = (...runs: [number, number][]) => {
    const segments = new Segments();
    for (const [at, length] of runs) segments.add(arena, arena.bytes, at, length);
    return segments;
  };
  assert(of([4096, 4096], [16384, 512]).aligned(4096, 512));
  assertFalse(of([4096, 4096], [16384 + 512, 4096]).aligned(4096, 512), "an address");
  assertFalse(of([4096, 4096], [16384, 512]).aligned(512, 4096), "a length");
  assert(of([3, 5]).aligned(1, 1));
  assertFalse(scattered([512], () => 0).aligned(1, 1), "no arena");
});

Deno.test("cleared segments hold no memory, whether there were few or many", () => {
  for (const count of [3, 100]) {
    const segments = scattered(new Array(count).fill(1), () => 1);
    segments.clear();
    assertEquals([segments.count, segments.bytes.every((bytes) => bytes.length === 0)], [0, true]);
    segments.add(null, new Uint8Array(4), 0, 4);
    assertEquals([segments.count, segments.length[0]], [1, 4]);
  }
});
