/** 5,000 flushes, discards and writes of zeroes made up at random, right and wrong: each does what it should, or is refused without a trace. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  BlockDevice,
  IoClient,
  type IoRegion,
  type IoResult,
  REQ_OP_DISCARD,
  REQ_OP_FLUSH,
  REQ_OP_WRITE_ZEROES,
} from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";

const CALLS = 5_000;
const RUNS = 50;
const BYTES = 128 << 10;
const SECTORS = BYTES / 512;
const PATIENCE = 10_000;
/** The devices by their place: a file, a direct device of 4096-byte blocks, a buffered one, one that is closed, one to read, none. */
const [FILE, DIRECT, , CLOSED, READER] = [0, 1, 2, 3, 4];

const OPS = { flush: REQ_OP_FLUSH, discard: REQ_OP_DISCARD, writeZeroes: REQ_OP_WRITE_ZEROES, writeSame: -1 };
type Op = keyof typeof OPS;

/** Blocks by name, so that a counterexample can be read. */
const BLOCKS: Readonly<Record<string, unknown>> = {
  zeros: new Uint8Array(512),
  threes: new Uint8Array(512).fill(3),
  long: pattern(4096, 1),
  none: null,
  words: "block",
  empty: new Uint8Array(0),
  odd: new Uint8Array(500),
  wide: new Uint16Array(256),
};

interface RegionPlan {
  readonly device: number;
  readonly sector: unknown;
  readonly count: unknown;
  readonly shape: "region" | "null" | "device";
}

interface Plan {
  readonly op: Op;
  readonly way: "promise" | "sync" | "notify";
  readonly regions: readonly RegionPlan[];
  readonly block: keyof typeof BLOCKS;
  readonly options: Readonly<Record<string, unknown>> | null | undefined;
}

const mostly = <T, U>(right: fc.Arbitrary<T>, wrong: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
  fc.oneof({ arbitrary: right, weight: 24 }, { arbitrary: wrong, weight: 1 });
const oddNumbers = fc.constantFrom<unknown>(-1, 0.5, NaN, 2 ** 53, "1", 1n, null, undefined, {}, SECTORS);
const blocks = (most: number) => fc.integer({ min: 0, max: most }).map((block) => block * 8);
const regionPlan: fc.Arbitrary<RegionPlan> = fc.record({
  device: mostly(fc.integer({ min: FILE!, max: 2 }), fc.integer({ min: CLOSED!, max: 5 })),
  sector: mostly(fc.oneof(blocks(24), fc.integer({ min: 0, max: SECTORS - 40 })), oddNumbers),
  count: mostly(fc.oneof(blocks(4), fc.integer({ min: 0, max: 40 })), oddNumbers),
  shape: mostly(fc.constant("region" as const), fc.constantFrom("null" as const, "device" as const)),
});
const plan: fc.Arbitrary<Plan> = fc.record({
  op: fc.constantFrom<Op>("flush", "discard", "writeZeroes", "writeSame"),
  way: fc.constantFrom("promise" as const, "sync" as const, "notify" as const),
  regions: mostly(fc.array(regionPlan, { minLength: 1, maxLength: 4 }), fc.constant([])),
  block: mostly(
    fc.constantFrom("zeros", "threes", "long"),
    fc.constantFrom("none", "words", "empty", "odd", "wide"),
  ),
  options: mostly(
    fc.constantFrom<Plan["options"]>(undefined, {}, { timeout: 60_000 }, { unmap: true }, { fua: true }),
    fc.constantFrom<Plan["options"]>(null, { fallback: 1 }, { timeout: -1 }, { ioprio: 9 }, {
      preflush: "yes",
    }),
  ),
});

const NAMES: Record<Op, readonly string[]> = {
  flush: [],
  discard: [],
  writeZeroes: ["unmap", "fallback"],
  writeSame: ["fua", "preflush", "locate", "ioprio"],
};
/** Which calls that block take options: the others have nothing to choose. */
const CHOOSES: Record<Op, boolean> = { flush: false, discard: false, writeZeroes: true, writeSame: true };

function isRight({ op, way, regions, block: name, options }: Plan): boolean {
  const block = BLOCKS[name];
  if (regions.length < 1) return false;
  if (options === null && (way !== "sync" || CHOOSES[op])) return false;
  for (const [name, value] of Object.entries(way === "sync" && !CHOOSES[op] ? {} : options ?? {})) {
    const ok = name === "timeout" ? value === 60_000 : NAMES[op].includes(name) && value === true;
    if (!ok) return false;
  }
  const unit = op === "writeSame" ? lengthOf(block) / 512 : 1;
  if (op === "writeSame" && !(block instanceof Uint8Array && unit >= 1 && Number.isInteger(unit))) {
    return false;
  }
  return regions.every(({ device, sector, count, shape }) => {
    if (shape === "null" || device > READER! || device === CLOSED) return false;
    if (device === READER && op !== "flush") return false;
    if (shape === "device") return op === "flush";
    if (!isCount(sector) || !isCount(count) || sector + count > SECTORS) return false;
    if (count % unit !== 0) return false;
    return device !== DIRECT || (sector % 8 === 0 && count % 8 === 0);
  });
}

/** Left out are calls whose outcome nobody can tell: a block written again and again to regions that overlap. */
function isPlain({ op, regions }: Plan): boolean {
  if (op !== "writeSame") return true;
  const apart = (a: RegionPlan, b: RegionPlan) =>
    a.device !== b.device || !isCount(a.sector) || !isCount(b.sector) || !isCount(a.count) ||
    !isCount(b.count) || a.sector + a.count <= b.sector || b.sector + b.count <= a.sector;
  return regions.every((a, i) => regions.slice(0, i).every((b) => apart(a, b)));
}

function lengthOf(block: unknown): number {
  return block instanceof Uint8Array ? block.length : NaN;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

class World {
  readonly models = [1, 2, 3].map((seed) => pattern(BYTES, seed));
  readonly io = new IoClient({ pages: 8, queueDepth: 4 });
  calls = 0;
  refused = 0;

  constructor(readonly devices: readonly unknown[]) {}

  async call(plan: Plan): Promise<void> {
    this.calls++;
    let answer: Promise<IoResult | bigint>;
    try {
      answer = this.#start(plan);
    } catch (error) {
      this.refused++;
      assert(error instanceof TypeError || error instanceof RangeError, `threw ${error}`);
      const accidental = /undefined \(reading|private member|is not a function|of null|not iterable|Cannot/;
      assert(!accidental.test(error.message), error.message);
      assertEquals(isRight(plan), false, `refused a right call: ${error.message}`);
      return;
    }
    assert(isRight(plan), "accepted a wrong call");
    assert(await settlesWithin(answer, PATIENCE), "the call hangs");
    const result = await answer;
    assertEquals(typeof result === "bigint" ? result : result.failures, typeof result === "bigint" ? 0n : []);
    if (plan.op === "flush") return;
    for (const { device, sector, count } of plan.regions) {
      const [from, to] = [Number(sector) * 512, (Number(sector) + Number(count)) * 512];
      const model = this.models[device]!;
      model.fill(0, from, to);
      const block = BLOCKS[plan.block] as Uint8Array;
      if (plan.op === "writeSame") { for (let at = from; at < to; at += block.length) model.set(block, at); }
    }
  }

  #start({ op, way, regions, block: name, options }: Plan): Promise<IoResult | bigint> {
    const block = BLOCKS[name] as Uint8Array;
    const { io } = this;
    const where = regions.map(({ device, sector, count, shape }) => {
      const bdev = this.devices[device];
      return shape === "null" ? null : shape === "device" ? bdev : { bdev, sector, count };
    }) as IoRegion[];
    const how = options as never;
    if (op === "writeSame") {
      if (way === "sync") return Promise.resolve(io.writeSameSync(where, block, how));
      return io.writeSame(where, block, how);
    }
    if (way === "sync") {
      const call = { flush: io.flushSync, discard: io.discardSync, writeZeroes: io.writeZeroesSync }[op];
      return Promise.resolve(call.call(io, where, how));
    }
    // A flush by its number takes regions only.
    if (way === "promise" || regions.some(({ shape }) => shape === "device")) return io[op](where, how);
    const { promise, resolve } = Promise.withResolvers<bigint>();
    io.notify(OPS[op], where, null, resolve, null, how);
    return promise;
  }
}

Deno.test("5,000 random operations each do what they should, or are refused before any I/O", async () => {
  await using stack = new AsyncDisposableStack();
  const path = stack.use(await Scratch.create()).join("file");
  Deno.writeFileSync(path, pattern(BYTES, 1));
  const loops = [
    stack.use(await LoopDevice.create({ bytes: BYTES, sectorSize: 4096 })),
    stack.use(await LoopDevice.create({ bytes: BYTES })),
  ];
  loops.forEach((loop, i) => loop.fill(pattern(BYTES, i + 2)));
  const file = stack.use(BlockDevice.open(path, { write: true }));
  const direct = stack.use(BlockDevice.open(loops[0]!.path, { write: true, direct: true }));
  const buffered = stack.use(BlockDevice.open(loops[1]!.path, { write: true }));
  const reader = stack.use(BlockDevice.open(path));
  const closed = BlockDevice.open(path, { write: true });
  await closed.close();
  const world = new World([file, direct, buffered, closed, reader, undefined]);
  stack.use(world.io);
  // A failure prints the seed and the path that replay it: pass them here.
  await fc.assert(
    fc.asyncProperty(
      fc.array(plan.filter(isPlain), { minLength: CALLS / RUNS, maxLength: CALLS / RUNS, size: "max" }),
      async (calls) => {
        for (const call of calls) await world.call(call);
        expectSame(Deno.readFileSync(path), world.models[0]!, "the file");
        assert((await world.io.flush([buffered])).ok);
        for (const [i, loop] of loops.entries()) {
          expectSame(loop.bytes(), world.models[i + 1]!, `loop device ${i}`);
        }
        assertEquals([world.io.outstanding, world.io.pool.available], [0, 8]);
        for (const device of [file, direct, buffered, reader]) assertEquals(device.inFlight, 0);
      },
    ),
    { numRuns: RUNS, endOnFailure: true },
  );
  assertEquals(world.calls, CALLS);
  assert(world.refused > CALLS / 10 && world.refused < CALLS * 0.9, `${world.refused} were refused`);
});
