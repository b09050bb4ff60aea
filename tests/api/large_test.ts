import { assertEquals } from "@std/assert";
import { dmIoClient, dmIoGet, dmIoPut, type IoMemory, type IoRegion, READ, WRITE } from "../../mod.ts";
import { expectOnlyChanged, expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { SERVICES } from "../support/services.ts";
import { aligned, listOf, type Origin, ORIGINS, shapedMemory } from "../support/shaped_memory.ts";
import { type TargetKind, targets } from "../support/targets.ts";

const PAGE = 4096;
const MIB = 1 << 20;

/** Pages that lie apart, by where they come from. */
const APART: Record<string, (count: number) => { pages: Uint8Array[]; done: () => void }> = {
  "pool pages": (count) => {
    const { pool } = dmIoClient();
    const all = pool.alloc(2 * count);
    const pages = Array.from({ length: count }, (_, i) => all.subarray(2 * i * PAGE, (2 * i + 1) * PAGE));
    return { pages, done: () => pool.free(all) };
  },
  "ArrayBuffers of their own": (count) => {
    return { pages: Array.from({ length: count }, () => new Uint8Array(PAGE)), done: () => {} };
  },
  "SharedArrayBuffers of their own": (count) => {
    const pages = Array.from({ length: count }, () => aligned(SharedArrayBuffer, PAGE));
    return { pages, done: () => {} };
  },
};

// One array of iovecs holds 1024.
const COUNT = 3000;
const PARTS = [
  {
    what: "pages in a list",
    bytes: PAGE,
    of: (pages: Uint8Array[]): IoMemory => ({ pageList: listOf(pages) }),
  },
  {
    what: "bvecs of 512 bytes",
    bytes: 512,
    of: (pages: Uint8Array[]): IoMemory => ({
      bvecs: pages.map((page, i) => ({ page, offset: (i % 8) * 512, len: 512 })),
    }),
  },
  {
    // 1024 of these end in the middle of a sector.
    what: "bvecs of odd lengths",
    bytes: 512,
    of: (pages: Uint8Array[]): IoMemory => ({
      bvecs: pages.map((page, i) => ({ page, offset: (i % 7) * 512 + 1, len: 511 + i % 3 })),
    }),
  },
];

for (const kind of ["direct loop device", "buffered file"] as TargetKind[]) {
  for (const [from, make] of Object.entries(APART)) {
    for (const { what, bytes, of } of PARTS) {
      Deno.test(`3000 ${what} that lie apart go in one request: ${from}, ${kind}`, async () => {
        const size = COUNT * bytes + 2 * PAGE;
        await using made = await targets(kind, 2, size);
        // A few more, for what has to be copied.
        dmIoGet(2 * COUNT + 64);
        const { pages, done } = make(COUNT);
        try {
          const memory = of(pages);
          const where = made.all.map(({ bdev }, i) => ({ bdev, sector: 1 + i, count: COUNT * bytes / 512 }));
          for (const [i, [name, service]] of Object.entries(SERVICES).entries()) {
            for (const target of made.all) target.fill(pattern(size, i));
            const before = pattern(size, i);
            for (const [k, page] of pages.entries()) fillPattern(page, (i + 1) * COUNT + k);
            const data = joined(memory, bytes);
            assertEquals(await service(where, WRITE, memory), 0n, name);
            for (const [k, target] of made.all.entries()) target.expectWritten(before, where[k]!, data, name);
            // The same again, out of another pattern.
            for (const page of pages) page.fill(0xee);
            assertEquals(await service([where[1]!], READ, memory), 0n, name);
            expectSame(joined(memory, bytes), data, name);
            if (bytes < PAGE) expectUntouched(memory, name);
          }
        } finally {
          done();
          dmIoPut(2 * COUNT + 64);
        }
      });
    }
  }
}

function joined(memory: IoMemory, bytes: number): Uint8Array {
  const out = new Uint8Array(COUNT * bytes);
  let at = 0;
  const append = (part: Uint8Array) => {
    out.set(part, at);
    at += part.length;
  };
  if ("bvecs" in memory) {
    for (const { page, offset, len } of memory.bvecs) append(page.subarray(offset, offset + len));
  } else if ("pageList" in memory) {
    for (let node: typeof memory.pageList | null = memory.pageList; node !== null; node = node.next) {
      append(node.page);
    }
  }
  assertEquals(at, out.length);
  return out;
}

function expectUntouched(memory: IoMemory, name: string): void {
  if (!("bvecs" in memory)) return;
  const untouched = new Uint8Array(PAGE).fill(0xee);
  for (const { page, offset, len } of memory.bvecs) {
    expectOnlyChanged(untouched, page, [{ offset, length: len }], name);
  }
}

const VM = 256 * MIB;
const STEP = 8 * MIB;

for (const [i, origin] of (["pool pages", "a SharedArrayBuffer", "an ArrayBuffer"] as Origin[]).entries()) {
  Deno.test(`a vm buffer of 256 MiB goes in one request: ${origin}`, async () => {
    await using made = await targets("direct loop device", 1, VM + 2 * PAGE);
    const [target] = made.all;
    const { from } = ORIGINS[origin];
    dmIoGet(from === "pool" ? VM / PAGE : 1024);
    try {
      const kind = from === "shared" ? SharedArrayBuffer : ArrayBuffer;
      const memory = from === "pool" ? dmIoClient().pool.alloc(VM / PAGE) : aligned(kind, VM);
      const where: IoRegion[] = [{ bdev: target!.bdev, sector: 8, count: VM / 512 }];
      // Each takes a while: one service writes and another reads, others by each origin.
      const services = Object.values(SERVICES);
      for (let at = 0; at < VM; at += STEP) fillPattern(memory.subarray(at, at + STEP), i * VM + at);
      assertEquals(await services[i]!(where, WRITE, memory), 0n);
      eachStep((at, expected) => expectSame(target!.contents(PAGE + at, STEP), expected, `at ${at}`), i);
      expectSame(target!.contents(0, PAGE), new Uint8Array(PAGE), "before the region");
      expectSame(target!.contents(PAGE + VM, PAGE), new Uint8Array(PAGE), "behind the region");
      memory.fill(0);
      assertEquals(await services[(i + 3) % 4]!(where, READ, memory), 0n);
      eachStep((at, expected) => expectSame(memory.subarray(at, at + STEP), expected, `at ${at}`), i);
    } finally {
      dmIoPut(dmIoClient().pool.pages);
    }
  });
}

function eachStep(compare: (at: number, expected: Uint8Array) => void, i: number): void {
  const expected = new Uint8Array(STEP);
  for (let at = 0; at < VM; at += STEP) compare(at, fillPattern(expected, i * VM + at));
}

Deno.test("a region longer than the pool is copied in windows", async () => {
  for (const pages of [1, 2, 3, 300]) {
    await using made = await targets("direct loop device of 4096-byte blocks", 3, 4 * MIB);
    dmIoGet(pages);
    try {
      using shaped = shapedMemory("bvecs of every length", "an ArrayBuffer", 3 * MIB, dmIoClient().pool);
      const where = made.all.map(({ bdev }, i) => ({ bdev, sector: 8 + 8 * i, count: [6000, 16, 2056][i]! }));
      for (const [name, service] of Object.entries(SERVICES)) {
        const before = pattern(4 * MIB, pages);
        for (const target of made.all) target.fill(before);
        shaped.fill(pages + 1);
        const data = shaped.gather(3 * MIB);
        assertEquals(await service(where, WRITE, shaped.memory), 0n, name);
        for (const [i, target] of made.all.entries()) target.expectWritten(before, where[i]!, data, name);
        shaped.fill(pages + 2);
        const expected = shaped.expected(data.subarray(0, 6000 * 512));
        assertEquals(await service([where[0]!], READ, shaped.memory), 0n, name);
        expectSame(shaped.whole, expected, name);
      }
    } finally {
      dmIoPut(pages);
    }
  }
});
