/** The bisection: which ranges it asks for on its way to the first bad block. */

import { assert, assertEquals, assertFalse, assertGreater, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { EIO, ENODATA, ENOSPC, EOPNOTSUPP, ETIMEDOUT } from "../../../ffi/errno.ts";
import { isMediumError, moved, nextLength, searchesOn } from "../../../src/op/locate.ts";
import { Transfer } from "../../../src/schedule/io.ts";
import { deviceOf, ioOf, plainOperation, segmentsOf } from "../parts.ts";

/** A transfer of the bytes from `start` to `end` of its region. */
function transferOf(start: number, end: number, block: number): Transfer {
  const device = deviceOf({ direct: block > 512, logicalBlockSize: block });
  const sectors = Math.ceil(end / 512);
  const [region] = ioOf(plainOperation(), [device], sectors, segmentsOf(sectors * 512)).regions;
  region!.frame(start, end);
  const transfer = new Transfer(0);
  transfer.start(region!, end - start);
  return transfer;
}

/**
 * Searches a transfer until the bad block is found.
 *
 * @param bad The bad block.
 * @param check Called with each range before it is tried.
 * @param cut Tells how many of so many good bytes a short transfer moves first.
 * @returns How many SQEs that took, the first one included.
 */
function search(
  transfer: Transfer,
  bad: number,
  check: (from: number, to: number) => void,
  cut: (good: number) => number = () => 0,
): number {
  for (let sqes = 1;; sqes++) {
    // The kernel moves some of the good bytes before it tells of the bad ones.
    const short = cut(Math.min(bad * transfer.block - transfer.offset, transfer.requested));
    if (short > 0) {
      moved(transfer, short);
      transfer.requested = nextLength(transfer);
    }
    const from = transfer.offset;
    const to = from + transfer.requested;
    assertLessOrEqual(sqes, 100, "it goes on for ever");
    assertGreater(to, from, "an empty range");
    assertLessOrEqual(to, transfer.end, "a range past the transfer's end");
    check(from, to);
    if (from < (bad + 1) * transfer.block && to > bad * transfer.block) {
      if (!searchesOn(transfer, EIO)) return sqes;
    } else {
      moved(transfer, to - from);
    }
    transfer.requested = nextLength(transfer);
  }
}

const searches = fc.record({
  block: fc.constantFrom(512, 4096),
  first: fc.nat(200),
  blocks: fc.integer({ min: 1, max: 1024 }),
}).chain((shape) =>
  fc.record({ ...constants(shape), bad: fc.nat(shape.blocks - 1).map((nth) => shape.first + nth) })
);

function constants<T extends object>(shape: T): { [K in keyof T]: fc.Arbitrary<T[K]> } {
  return Object.fromEntries(Object.entries(shape).map(([key, value]) => [key, fc.constant(value)])) as {
    [K in keyof T]: fc.Arbitrary<T[K]>;
  };
}

Deno.test("the search ends at the one bad block in about log2 of the blocks, asking for whole blocks only", () => {
  fc.assert(fc.property(searches, ({ block, first, blocks, bad }) => {
    const transfer = transferOf(first * block, (first + blocks) * block, block);
    const sqes = search(transfer, bad, (from, to) => {
      assertEquals([from % block, to % block], [0, 0], "a range off the blocks");
    });
    assertEquals(transfer.offset, bad * block);
    assertLessOrEqual(sqes, Math.ceil(Math.log2(blocks)) + 2);
  }));
});

Deno.test("a search that begins and ends within a block stops at the first byte asked for of the bad one", () => {
  fc.assert(
    fc.property(searches, fc.nat(511), fc.nat(511), ({ first, blocks, bad }, head, tail) => {
      const start = first * 512 + head;
      const end = Math.max((first + blocks) * 512 - tail, start + 1);
      fc.pre(bad * 512 < end);
      const transfer = transferOf(start, end, 512);
      const sqes = search(transfer, bad, (from, to) => {
        assert(from === start || from % 512 === 0, "it goes on within a block");
        assert(to === end || to % 512 === 0, "it stops within a block");
      });
      assertEquals(transfer.offset, Math.max(bad * 512, start));
      assertLessOrEqual(sqes, Math.ceil(Math.log2(blocks + 1)) + 3);
    }),
  );
});

Deno.test("a short transfer that ends within a block does not lead the search past the bad one", () => {
  fc.assert(fc.property(searches, fc.array(fc.nat()), ({ first, blocks, bad }, cuts) => {
    const transfer = transferOf(first * 512, (first + blocks) * 512, 512);
    search(transfer, bad, () => {}, (good) => good > 1 ? 1 + (cuts.pop() ?? -1) % (good - 1) : 0);
    assertEquals(transfer.offset, bad * 512);
  }));
});

Deno.test("all that is left is asked for at once when the suspect bytes were transferred after all", () => {
  const transfer = transferOf(0, 64 * 512, 512);
  transfer.requested = 16 * 512;
  searchesOn(transfer, EIO);
  moved(transfer, nextLength(transfer));
  assertEquals(nextLength(transfer), 4 * 512, "half of what is suspect");
  moved(transfer, 8 * 512);
  assertEquals([transfer.suspect, nextLength(transfer)], [0, 48 * 512]);
});

Deno.test("a search keeps the error that began it, whatever it meets later", () => {
  const transfer = transferOf(0, 64 * 512, 512);
  searchesOn(transfer, ENODATA);
  transfer.requested = nextLength(transfer);
  searchesOn(transfer, EIO);
  assertEquals(transfer.cause, ENODATA);
});

Deno.test("a single block is not searched", () => {
  const transfer = transferOf(4096, 8192, 4096);
  assertFalse(searchesOn(transfer, EIO));
  assertEquals(transfer.suspect, 0);
});

Deno.test("an error of the device as a whole is no medium error", () => {
  assertEquals([EIO, ENODATA, ENOSPC].map(isMediumError), [true, true, true]);
  assertEquals([0, EOPNOTSUPP, ETIMEDOUT].map(isMediumError), [false, false, false]);
});
