import { assert, assertEquals } from "@std/assert";
import { Disk } from "../../../src/testing/disk.ts";
import { Random } from "../../../src/testing/random.ts";

const BLOCK = 512;
const MIB = 1 << 20;

const filled = (byte: number, length = BLOCK) => new Uint8Array(length).fill(byte);

function read(disk: Disk, at: number, length = BLOCK): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  disk.read(at, bytes);
  return bytes;
}

/** The first byte of a block after each of many power cuts, on disks that `prepare` made. */
function afterCuts(prepare: (disk: Disk) => void, at = 0): Set<number> {
  const seen = new Set<number>();
  for (let seed = 0; seed < 200; seed++) {
    const disk = new Disk(MIB, BLOCK, "volatile");
    prepare(disk);
    disk.powerCut(new Random(seed));
    assertEquals(disk.unflushed, 0);
    const block = read(disk, at);
    assert(block.every((byte) => byte === block[0]), "a block is half old, half new");
    seen.add(block[0]!);
  }
  return seen;
}

for (const cache of ["volatile", "none"] as const) {
  Deno.test(`a disk reads what was written last, at any offset (cache: ${cache})`, () => {
    const disk = new Disk(MIB, 4096, cache);
    const model = new Uint8Array(MIB);
    const random = new Random(1);
    for (let i = 0; i < 500; i++) {
      const from = random.below(MIB);
      const to = Math.min(MIB, from + random.skewed(1, 100_000));
      const bytes = filled(random.below(256), to - from);
      switch (random.below(6)) {
        case 0:
          disk.zero(from, to);
          model.fill(0, from, to);
          break;
        case 1:
          disk.flush();
          break;
        case 2: {
          const [first, last] = [Math.ceil(from / 4096) * 4096, Math.floor(to / 4096) * 4096];
          disk.discard(from, to);
          if (first < last) model.fill(0, first, last);
          break;
        }
        default:
          disk.write(from, bytes, random.chance(0.3));
          model.set(bytes, from);
      }
      assertEquals(read(disk, from, to - from), model.subarray(from, to));
    }
    assertEquals(read(disk, 0, MIB), model);
  });
}

Deno.test("a disk of a tebibyte takes memory only where it was written", () => {
  const disk = new Disk(2 ** 40, 4096, "volatile");
  for (const at of [0, 2 ** 39, 2 ** 40 - 4096]) disk.write(at, filled(7, 4096));
  disk.flush();
  assertEquals(read(disk, 2 ** 39, 4096), filled(7, 4096));
  assert(disk.held < MIB);
  disk.zero(0, 2 ** 40);
  disk.flush();
  assertEquals(read(disk, 2 ** 39, 4096), filled(0, 4096));
  disk.write(2 ** 39, filled(7, 4096));
  disk.discard(0, 2 ** 40);
  assertEquals([read(disk, 2 ** 39, 1)[0], disk.unflushed], [0, 0]);
  assert(disk.held < MIB);
});

Deno.test("a power cut leaves a block old or new, when it was written once", () => {
  assertEquals(afterCuts((disk) => disk.write(0, filled(1))), new Set([0, 1]));
});

Deno.test("a power cut leaves any version of a block, when it was written several times", () => {
  const seen = afterCuts((disk) => {
    disk.write(0, filled(9), true);
    for (const byte of [1, 2, 3]) disk.write(0, filled(byte));
  });
  assertEquals(seen, new Set([9, 1, 2, 3]));
});

Deno.test("a power cut keeps one block of a write and drops another, either way", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const disk = new Disk(MIB, BLOCK, "volatile");
    disk.write(0, filled(1, 2 * BLOCK));
    disk.powerCut(new Random(seed));
    seen.add(`${read(disk, 0)[0]}${read(disk, BLOCK)[0]}`);
  }
  assertEquals(seen, new Set(["00", "01", "10", "11"]));
});

Deno.test("a power cut drops nothing that was flushed", () => {
  const seen = afterCuts((disk) => {
    disk.write(0, filled(1));
    disk.flush();
  });
  assertEquals(seen, new Set([1]));
});

Deno.test("a durable write survives a power cut, and does not make its neighbours durable", () => {
  const prepare = (disk: Disk) => {
    disk.write(0, filled(1));
    disk.write(BLOCK, filled(2));
    disk.write(0, filled(3), true);
  };
  assertEquals(afterCuts(prepare), new Set([3]));
  assertEquals(afterCuts(prepare, BLOCK), new Set([0, 2]));
});

Deno.test("a power cut may undo zeroes that were not flushed", () => {
  const seen = afterCuts((disk) => {
    disk.write(0, filled(5), true);
    disk.zero(0, MIB);
  });
  assertEquals(seen, new Set([5, 0]));
});

Deno.test("a power cut takes nothing from a disk without a cache", () => {
  const disk = new Disk(MIB, BLOCK, "none");
  disk.write(0, filled(1));
  disk.powerCut(new Random(0));
  assertEquals(read(disk, 0), filled(1));
});

Deno.test("a power cut with the same seed drops the same blocks", () => {
  const cut = (seed: number) => {
    const disk = new Disk(MIB, BLOCK, "volatile");
    for (let at = 0; at < 64; at++) disk.write(at * BLOCK, filled(at + 1));
    disk.powerCut(new Random(seed));
    return read(disk, 0, 64 * BLOCK).toString();
  };
  for (let seed = 0; seed < 20; seed++) assertEquals(cut(seed), cut(seed));
  assert(new Set(Array.from({ length: 20 }, (_, seed) => cut(seed))).size > 5);
});

Deno.test("the first bad byte of a range is that of the lowest bad part that fails the operation", () => {
  const disk = new Disk(MIB, BLOCK, "none");
  disk.bad.add({ from: 4096, to: 4608, errno: 5, reads: true, writes: false });
  disk.bad.add({ from: 1024, to: 1536, errno: 61, reads: false, writes: true });
  disk.bad.add({ from: 2048, to: 2560, errno: 74, reads: true, writes: true });
  assertEquals(disk.firstBad(false, 0, MIB), { at: 2048, errno: 74 });
  assertEquals(disk.firstBad(true, 0, MIB), { at: 1024, errno: 61 });
  assertEquals(disk.firstBad(false, 2100, MIB), { at: 2100, errno: 74 });
  assertEquals(disk.firstBad(true, 2560, MIB), null);
  assertEquals(disk.firstBad(false, 0, 2048), null);
});
