/** 20,000 calls made up at random, right and wrong: each is carried out to the byte, or refused without a trace. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  BlockDevice,
  IoClient,
  type IoMemory,
  type IoRegion,
  type IoResult,
  pageSize,
  WRITE,
} from "../../mod.ts";
import { expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";

const CALLS = 20_000;
const RUNS = 100;
const BYTES = 128 << 10;
const SECTORS = BYTES / 512;
const PAGE = pageSize();
const PATIENCE = 10_000;

type Form = "read" | "write" | "readSync" | "writeSync" | "notify";
type Source = "pool" | "own" | "shared" | "freed" | "detached" | "none" | "words";

interface RegionPlan {
  device: number;
  sector: unknown;
  count: unknown;
  shape: "region" | "null" | "alike";
}

interface Plan {
  form: Form;
  regions: RegionPlan[];
  kind: "vm" | "pageList" | "bvecs";
  source: Source;
  skip: number;
  pages: number;
  odd: unknown;
  seed: number;
  options: unknown;
}

const mostly = <T, U>(right: fc.Arbitrary<T>, wrong: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
  fc.oneof({ arbitrary: right, weight: 24 }, { arbitrary: wrong, weight: 1 });
const oddNumbers = fc.constantFrom<unknown>(
  -1,
  0.5,
  NaN,
  Infinity,
  2 ** 53,
  "1",
  1n,
  null,
  undefined,
  {},
  SECTORS,
);
const blocks = (most: number) => fc.integer({ min: 0, max: most }).map((block) => block * 8);

const regionPlan: fc.Arbitrary<RegionPlan> = fc.record({
  device: mostly(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 3, max: 5 })),
  sector: mostly(fc.oneof(blocks(24), fc.integer({ min: 0, max: SECTORS - 40 })), oddNumbers),
  count: mostly(fc.oneof(blocks(4), fc.integer({ min: 0, max: 40 })), oddNumbers),
  shape: mostly(fc.constant("region" as const), fc.constantFrom("null" as const, "alike" as const)),
});

const plan: fc.Arbitrary<Plan> = fc.record({
  form: fc.constantFrom<Form>("read", "write", "readSync", "writeSync", "notify"),
  regions: mostly(
    fc.array(regionPlan, { minLength: 1, maxLength: 4 }),
    fc.constantFrom(0, 64, 65).map((count) => Array.from({ length: count }, () => aRegion)),
  ),
  kind: fc.constantFrom("vm" as const, "pageList" as const, "bvecs" as const),
  source: mostly(
    fc.constantFrom<Source>("pool", "own", "shared"),
    fc.constantFrom<Source>("freed", "detached", "none", "words"),
  ),
  skip: fc.constantFrom(0, 0, 0, 512, 1024, 100, 4095),
  pages: mostly(fc.constantFrom(6, 7), fc.integer({ min: 0, max: 5 })),
  odd: mostly(fc.constant(null), oddNumbers),
  seed: fc.integer(),
  options: mostly(
    fc.constantFrom<unknown>(undefined, { timeout: 60_000 }),
    fc.constantFrom<unknown>({ timeout: -1 }, { timeout: "1" }, { signal: {} }, null, 7),
  ),
});

const aRegion: RegionPlan = { device: 0, sector: 0, count: 1, shape: "region" };

/** The devices, what they should hold, and a client of few pages, so that copies have to wait for each other. */
class World {
  readonly models = [1, 2, 3].map((seed) => pattern(BYTES, seed));
  readonly devices: unknown[];
  readonly io = new IoClient({ pages: 24, queueDepth: 4 });
  calls = 0;
  refused = 0;

  constructor(readonly good: readonly BlockDevice[], closed: BlockDevice, readonly reader: BlockDevice) {
    this.devices = [...good, closed, reader, undefined];
  }

  region({ device, sector, count, shape }: RegionPlan): unknown {
    const bdev = this.devices[device];
    if (shape === "null") return null;
    return { bdev: shape === "alike" ? { ...(bdev as object) } : bdev, sector, count };
  }

  /** Makes the call; a refusal leaves no trace, and what is accepted does what the model says. */
  async call(plan: Plan): Promise<void> {
    this.calls++;
    const { io } = this;
    const reads = plan.form.startsWith("read");
    const regions = plan.regions.map((region) => this.region(region)) as IoRegion[];
    const available = io.pool.available;
    const memory = new Memory(io, plan);
    let answer: Promise<IoResult | bigint>;
    try {
      answer = this.#start(plan.form, regions, memory.memory, plan.options);
    } catch (error) {
      this.refused++;
      assert(error instanceof TypeError || error instanceof RangeError, `threw ${error}`);
      assert(
        !(/undefined \(reading|private member|is not a function|of null|not iterable/.test(error.message)),
        error.message,
      );
      assertEquals(isRight(plan, this.good.length), false, `refused a right call: ${error.message}`);
      memory.free(io);
      assertEquals(io.pool.available, available, "a refused call holds pages");
      return;
    }
    assert(isRight(plan, this.good.length), "accepted a wrong call");
    assert(await settlesWithin(answer, PATIENCE), "the call hangs");
    const result = await answer;
    assertEquals(typeof result === "bigint" ? result : result.errorBits, 0n);
    if (plan.source === "detached") return; // the call was refused
    const bytes = memory.bytes();
    for (const { device, sector, count } of reads ? plan.regions.slice(0, 1) : plan.regions) {
      const from = Number(sector) * 512;
      const length = Number(count) * 512;
      const held = this.models[device === 4 ? 0 : device]!;
      if (reads) {
        expectSame(bytes.subarray(0, length), held.subarray(from, from + length), "read");
        expectSame(bytes.subarray(length), memory.before.subarray(length), "memory behind what was read");
      } else {
        // Regions of one request that overlap hold the same bytes only where they agree, so the plans have none.
        held.set(memory.before.subarray(0, length), from);
      }
    }
    if (!reads) expectSame(bytes, memory.before, "memory that was written from");
    memory.free(io);
    assertEquals(io.pool.available, available, "an answered call holds pages");
  }

  #start(form: Form, regions: IoRegion[], memory: IoMemory, options: unknown): Promise<IoResult | bigint> {
    const { io } = this;
    switch (form) {
      case "read":
        return io.read(regions[0]!, memory, options as never);
      case "write":
        return io.write(regions, memory, options as never);
      case "readSync":
        return Promise.resolve(io.readSync(regions[0]!, memory));
      case "writeSync":
        return Promise.resolve(io.writeSync(regions, memory));
      case "notify": {
        const { promise, resolve } = Promise.withResolvers<bigint>();
        io.notify(WRITE, regions, memory, resolve, null);
        return promise;
      }
    }
  }
}

/** The memory of one call, of the kind and in the state that the plan wants. */
class Memory {
  readonly memory: IoMemory;
  readonly before: Uint8Array;
  readonly #pages: Uint8Array;
  readonly #skip: number;
  readonly #pooled: boolean;

  constructor(io: IoClient, { kind, source, skip, pages, odd, seed }: Plan) {
    const length = pages * PAGE;
    this.#pooled = source === "pool" && pages > 0;
    this.#skip = skip;
    this.#pages = this.#pooled
      ? io.pool.alloc(pages)
      : source === "freed" && pages > 0
      ? io.pool.alloc(pages)
      : new Uint8Array(source === "shared" ? new SharedArrayBuffer(length) : new ArrayBuffer(length));
    fillPattern(this.#pages, seed);
    this.before = this.bytes().slice();
    if (source === "freed" && pages > 0) io.pool.free(this.#pages);
    const each = Array.from({ length: pages }, (_, i) => this.#pages.subarray(i * PAGE, (i + 1) * PAGE));
    const wrong = source === "none" ? null : source === "words" ? new Uint32Array(1024) : undefined;
    if (kind === "vm") {
      this.memory = (wrong === undefined
        ? this.#pages.subarray(Math.min(skip, this.#pages.length))
        : wrong) as Uint8Array;
    } else if (kind === "pageList") {
      const pageList = each.reduceRight<unknown>((next, page) => ({ next, page: wrong ?? page }), null);
      this.memory = {
        pageList: (wrong === null ? "list" : pageList) as never,
        offset: (odd ?? skip) as number,
      };
    } else {
      const bvecs = each.map((page, i) => {
        const offset = i === 0 ? skip : 0;
        return {
          page: (wrong === null ? null : wrong ?? page) as Uint8Array,
          offset: (odd ?? offset) as number,
          len: PAGE - offset,
        };
      });
      this.memory = { bvecs };
    }
    if (source === "detached") (this.#pages.buffer as ArrayBuffer).transfer();
  }

  /** What the call sees of it, as one run. */
  bytes(): Uint8Array {
    return this.#pages.subarray(Math.min(this.#skip, this.#pages.length));
  }

  free(io: IoClient): void {
    if (this.#pooled) io.pool.free(this.#pages);
  }
}

/** Whether a call is right, by the rules of the documentation and by no code of the library. */
function isRight(plan: Plan, good: number): boolean {
  const reads = plan.form.startsWith("read");
  const regions = reads ? plan.regions.slice(0, 1) : plan.regions;
  if (regions.length < 1 || regions.length > 64) return false;
  let need = 0;
  for (const { device, sector, count, shape } of regions) {
    if (shape !== "region" || !(device < good || (reads && device === 4))) return false;
    if (!isCount(sector) || !isCount(count) || sector + count > SECTORS) return false;
    if (device === DIRECT && (sector % 8 !== 0 || count % 8 !== 0)) return false;
    need = Math.max(need, count * 512);
  }
  if ((plan.form === "read" || plan.form === "write") && !isOptions(plan.options)) return false;
  const { kind, source, skip, pages, odd } = plan;
  // An odd number is an offset, where there is one to give; without it, the offset is right.
  const offsets = kind === "pageList" || (kind === "bvecs" && pages > 0);
  if (offsets && odd !== null && odd !== undefined) return false;
  const bad = source === "none" || source === "words";
  // Every bvec is looked at, of a page list only as much as is needed, and of pages that were freed nothing else.
  if ((bad && kind === "vm") || ((bad || source === "detached") && kind === "bvecs" && pages > 0)) {
    return false;
  }
  if (need === 0) return true;
  return !bad && source !== "detached" && !(source === "freed" && pages > 0) &&
    pages * PAGE - skip >= need;
}

const DIRECT = 1;

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isOptions(options: unknown): boolean {
  return options === undefined || (options as { timeout?: unknown } | null)?.timeout === 60_000;
}

/** Calls whose outcome the model cannot tell are left out: regions that overlap, and an odd offset that happens to be right. */
function isPlain({ form, regions, kind, odd }: Plan): boolean {
  if (isCount(odd) && kind !== "vm") return false;
  if (form.startsWith("read")) return true;
  const apart = (a: RegionPlan, b: RegionPlan) =>
    a === b || a.device !== b.device || !isCount(a.sector) || !isCount(b.sector) || !isCount(a.count) ||
    !isCount(b.count) || a.sector + a.count <= b.sector || b.sector + b.count <= a.sector;
  return regions.every((a, i) => regions.slice(0, i).every((b) => apart(a, b)));
}

async function makeWorld(stack: AsyncDisposableStack): Promise<{ world: World; check: () => Promise<void> }> {
  const scratch = stack.use(await Scratch.create());
  const loops = [
    stack.use(await LoopDevice.create({ bytes: BYTES, sectorSize: 4096 })),
    stack.use(await LoopDevice.create({ bytes: BYTES })),
  ];
  const path = scratch.join("file");
  Deno.writeFileSync(path, pattern(BYTES, 1));
  loops.forEach((loop, i) => loop.fill(pattern(BYTES, i + 2)));
  const file = stack.use(BlockDevice.open(path, { write: true }));
  const direct = loops.map((loop) => stack.use(BlockDevice.open(loop.path, { write: true, direct: true })));
  const closed = BlockDevice.open(path, { write: true });
  await closed.close();
  const world = new World([file, ...direct], closed, stack.use(BlockDevice.open(path)));
  stack.use(world.io);
  const check = async () => {
    expectSame(Deno.readFileSync(path), world.models[0]!, "the file");
    for (const [i, loop] of loops.entries()) {
      await loop.flush();
      expectSame(loop.bytes(), world.models[i + 1]!, `loop device ${i}`);
    }
    assertEquals([world.io.outstanding, world.io.pool.available], [0, 24]);
    for (const device of [...world.good, world.reader]) assertEquals(device.inFlight, 0);
  };
  return { world, check };
}

Deno.test("20,000 random calls are each carried out to the byte, or refused before any I/O", async () => {
  await using stack = new AsyncDisposableStack();
  const { world, check } = await makeWorld(stack);
  const plans = fc.array(plan.filter(isPlain), {
    minLength: CALLS / RUNS,
    maxLength: CALLS / RUNS,
    size: "max",
  });
  // A failure prints the seed and the path that replay it: pass them here.
  await fc.assert(
    fc.asyncProperty(plans, async (calls) => {
      for (const call of calls) await world.call(call);
      await check();
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  assertEquals(world.calls, CALLS);
  assert(world.refused > CALLS / 10 && world.refused < CALLS * 0.9, `${world.refused} were refused`);
});
