/** What the caller gives is an object of the caller's: it is read once, and what its getters do cannot break anything. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  BlockDevice,
  dmIoClient,
  dmIoGet,
  dmIoPut,
  dmIoSync,
  IoClient,
  type IoMemory,
  type IoRegion,
  pageSize,
  WRITE,
} from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

const PAGE = pageSize();
const PATIENCE = 5000;

/** Makes objects whose properties are right the first time they are read, and then wrong. */
class Readings {
  readonly #counts = new Map<string, number>();

  object<T extends object>(name: string, fields: T, wrong: Partial<Record<keyof T, unknown>> = {}): T {
    const made = {} as T;
    for (const key of Object.keys(fields) as (keyof T & string)[]) {
      const get = () => this.#read(`${name}.${key}`) === 1 || !(key in wrong) ? fields[key] : wrong[key];
      Object.defineProperty(made, key, { enumerable: true, get });
    }
    return made;
  }

  array<T>(name: string, elements: T[]): T[] {
    return new Proxy(elements, {
      get: (target, key, receiver) => {
        if (/^\d+$/.test(String(key))) this.#read(`${name}[${String(key)}]`);
        return Reflect.get(target, key, receiver);
      },
    });
  }

  get counts(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort());
  }

  #read(name: string): number {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    return count;
  }
}

function onceEach(names: string[]): Record<string, number> {
  return Object.fromEntries(names.sort().map((name) => [name, 1]));
}

async function withFiles(body: (devices: BlockDevice[], paths: string[]) => Promise<void>): Promise<void> {
  await using scratch = await Scratch.create();
  const paths = ["a", "b"].map((name) => scratch.join(name));
  const devices = paths.map((path) => BlockDevice.open(path, { write: true, create: 1 << 20 }));
  await body(devices, paths);
  for (const device of devices) {
    assertEquals(device.inFlight, 0);
    assert(await settlesWithin(device.close(), PATIENCE), "the device does not close");
  }
}

Deno.test("each property of regions and of a deadline is read once, and its first value is used", () =>
  withFiles(async ([a, b], [pathA, pathB]) => {
    await using io = new IoClient({ pages: 8 });
    const readings = new Readings();
    const wrong = { bdev: null, sector: 2 ** 40, count: 2 ** 40 };
    const regions = readings.array("regions", [
      readings.object("a", { bdev: a!, sector: 8, count: 8 }, wrong),
      readings.object("b", { bdev: b!, sector: 16, count: 4 }, wrong),
    ]);
    const { signal } = new AbortController();
    const options = readings.object("options", { timeout: 60_000, signal }, {
      timeout: -1,
      signal: { aborted: false },
    });
    const fields = ["bdev", "sector", "count"].flatMap((key) => [`a.${key}`, `b.${key}`]);
    const data = pattern(4096, 1);
    assertEquals((await io.write(regions, data, options)).errorBits, 0n);
    assertEquals(
      readings.counts,
      onceEach([...fields, "regions[0]", "regions[1]", "options.timeout", "options.signal"]),
    );
    expectSame(Deno.readFileSync(pathA!).subarray(4096, 8192), data);
    expectSame(Deno.readFileSync(pathB!).subarray(8192, 10240), data.subarray(0, 2048));
    const others = new Readings();
    const back = new Uint8Array(4096);
    const region = others.object("a", { bdev: a!, sector: 8, count: 8 }, wrong);
    assertEquals(io.readSync(region, back).errorBits, 0n);
    assertEquals(others.counts, onceEach(["a.bdev", "a.sector", "a.count"]));
    expectSame(back, data);
  }));

Deno.test("the operations without data read each property once, too", () =>
  withFiles(async ([a]) => {
    await using io = new IoClient({ pages: 8 });
    const wrong = { bdev: null, sector: 2 ** 40, count: 2 ** 40 };
    const block = pattern(512, 1);
    for (
      const call of [
        (regions: IoRegion[]) => io.flush(regions),
        (regions: IoRegion[]) => io.discard(regions),
        (regions: IoRegion[]) => io.writeZeroes(regions),
        (regions: IoRegion[]) => io.writeSame(regions, block),
      ]
    ) {
      const readings = new Readings();
      const regions = [readings.object("a", { bdev: a!, sector: 8, count: 8 }, wrong)];
      assertEquals((await call(regions)).errorBits, 0n, `${call}`);
      assertEquals(readings.counts, onceEach(["a.bdev", "a.sector", "a.count"]), `${call}`);
    }
  }));

Deno.test("a getter of the options that reads another region leaves the call its own region", () =>
  withFiles(async ([a, b]) => {
    await using io = new IoClient({ pages: 8 });
    const [mine, others] = [pattern(4096, 1), pattern(4096, 2)];
    const region = { bdev: a!, sector: 8, count: 8 };
    const other = { bdev: b!, sector: 0, count: 8 };
    io.writeSync([region], mine);
    io.writeSync([other], others);
    const options = {
      get locate() {
        const inner = new Uint8Array(4096);
        io.readSync(other, inner);
        expectSame(inner, others);
        return true;
      },
    };
    const [blocking, async] = [new Uint8Array(4096), new Uint8Array(4096)];
    assertEquals(io.readSync(region, blocking, options).ok, true);
    assertEquals((await io.read(region, async, options)).ok, true);
    expectSame(blocking, mine);
    expectSame(async, mine);
  }));

Deno.test("a getter of a region that aborts the request's own signal cancels the request", () =>
  withFiles(async ([device], [path]) => {
    await using io = new IoClient({ pages: 8 });
    const controller = new AbortController();
    const region = {
      bdev: device!,
      sector: 0,
      get count() {
        controller.abort();
        return 8;
      },
    };
    const { failures } = await io.write([region], pattern(4096, 1), { signal: controller.signal });
    assertEquals(failures.map(({ code }) => code), ["ECANCELED"]);
    assertEquals(io.outstanding, 0);
    expectSame(Deno.readFileSync(path!).subarray(0, 4096), new Uint8Array(4096));
  }));

for (const kind of ["pool", "shared", "own"] as const) {
  Deno.test(`each property of a page list and of bio vectors is read once: ${kind} pages`, () =>
    withFiles(async ([device], [path]) => {
      await using io = new IoClient({ pages: 8 });
      const data = pattern(2 * PAGE, 3);
      const page = (k: number): Uint8Array => {
        const memory = kind === "pool"
          ? io.pool.alloc(1)
          : kind === "own"
          ? new Uint8Array(PAGE)
          : new Uint8Array(new SharedArrayBuffer(PAGE));
        memory.set(data.subarray(k * PAGE, (k + 1) * PAGE));
        return memory;
      };
      const short = { page: new Uint8Array(new SharedArrayBuffer(16)) };
      const wrong = { ...short, next: null, pageList: null, offset: -1, len: 2 ** 31, bvecs: null };
      const where = (sector: number): IoRegion => ({ bdev: device!, sector, count: 2 * PAGE / 512 });
      const list = new Readings();
      const second = list.object("second", { page: page(1), next: null }, { page: short.page });
      const first = list.object("first", { page: page(0), next: second }, { ...short, next: null });
      const pageList = list.object("memory", { pageList: first, offset: 0 }, { pageList: null, offset: -1 });
      assertEquals((await io.write([where(0)], pageList)).errorBits, 0n);
      const { "second.next": _, ...counts } = list.counts;
      assertEquals(
        counts,
        onceEach(["memory.pageList", "memory.offset", "first.page", "first.next", "second.page"]),
      );
      const vectors = new Readings();
      const bvecs = [0, 1].map((k) =>
        vectors.object(`${k}`, { page: page(k), offset: 0, len: PAGE }, {
          ...short,
          offset: 9,
          len: wrong.len,
        })
      );
      const memory = vectors.object("memory", { bvecs: vectors.array("bvecs", bvecs) }, { bvecs: null });
      assertEquals((await io.write([where(64)], memory)).errorBits, 0n);
      const fields = ["page", "offset", "len"].flatMap((key) => [`0.${key}`, `1.${key}`]);
      assertEquals(vectors.counts, onceEach([...fields, "memory.bvecs", "bvecs[0]", "bvecs[1]"]));
      const now = Deno.readFileSync(path!);
      expectSame(now.subarray(0, 2 * PAGE), data, "from the page list");
      expectSame(now.subarray(32768, 32768 + 2 * PAGE), data, "from the bio vectors");
    }));
}

/** Requests that run `act` while their arguments are read, one for each place where that can be. */
type Ask = (io: IoClient, devices: BlockDevice[], act: () => void) => unknown;
const region = (bdev: BlockDevice): IoRegion => ({ bdev, sector: 0, count: 8 });
const acting = <T extends object>(fields: T, key: keyof T, act: () => void): T =>
  Object.defineProperty({ ...fields }, key, { get: () => (act(), fields[key]) });
const page = () => new Uint8Array(PAGE);
const ASKS: Record<string, Ask> = {
  "a region's bdev": (io, [a], act) => io.write([acting(region(a!), "bdev", act)], page()),
  "a region's count": (io, [a], act) => io.read(acting(region(a!), "count", act), page()),
  "a later region's sector": (io, [a, b], act) =>
    io.write([region(a!), acting(region(b!), "sector", act)], page()),
  "a page list": (io, [a], act) =>
    io.write([region(a!)], acting({ pageList: { next: null, page: page() } }, "pageList", act)),
  "a page": (io, [a], act) =>
    io.write([region(a!)], { pageList: acting({ next: null, page: page() }, "page", act) }),
  "a page of the pool": (io, [a], act) => {
    const list = io.pool.allocList(1);
    return io.write([region(a!)], { pageList: acting(list, "page", act) });
  },
  "a bio vector, blocking": (io, [a], act) => {
    const bvecs = [acting({ page: page(), offset: 0, len: PAGE }, "len", act)];
    return io.writeSync([region(a!)], { bvecs });
  },
  "a page, with a callback": (io, [a], act) => {
    const memory: IoMemory = { pageList: acting({ next: null, page: page() }, "page", act) };
    io.notify(WRITE, [region(a!)], memory, () => {
      throw new Error("fn was called for a request that was refused");
    }, null);
  },
  "a timeout": (io, [a], act) => io.write([region(a!)], page(), acting({ timeout: 1000 }, "timeout", act)),
  "a signal": (io, [a], act) => {
    const { signal } = new AbortController();
    return io.write([region(a!)], page(), acting({ signal }, "signal", act));
  },
};

for (const [name, ask] of Object.entries(ASKS)) {
  for (const victim of ["device", "client"] as const) {
    Deno.test(`a getter of ${name} that closes the ${victim} makes the request throw, and nothing is held`, () =>
      withFiles(async (devices, paths) => {
        const io = new IoClient({ pages: 8 });
        let closed: Promise<void> | undefined;
        const act = () => {
          closed ??= victim === "client" ? io.close() : devices[0]!.close();
        };
        assertThrows(() => void ask(io, devices, act), TypeError, "closed");
        assertEquals(devices.map(({ inFlight }) => inFlight), [0, 0]);
        assertEquals(io.outstanding, 0);
        assert(await settlesWithin(closed!, PATIENCE), "it does not close");
        if (victim === "device") assertEquals((await io.write([region(devices[1]!)], page())).errorBits, 0n);
        assert(await settlesWithin(io.close(), PATIENCE), "the client does not close");
        for (const path of paths) assert(Deno.readFileSync(path).every((byte) => byte === 0));
      }));
  }
}

Deno.test("a getter that throws passes its error on, and nothing stays outstanding", () =>
  withFiles(async (devices) => {
    await using io = new IoClient({ pages: 8 });
    const act = () => {
      throw new SyntaxError("of the caller's own");
    };
    for (const [name, ask] of Object.entries(ASKS)) {
      assertThrows(() => void ask(io, devices, act), SyntaxError, "of the caller's own", name);
      assertEquals([io.outstanding, devices[0]!.inFlight, devices[1]!.inFlight], [0, 0, 0], name);
    }
    assertEquals((await io.write([region(devices[0]!)], page())).errorBits, 0n);
  }));

Deno.test("a getter that makes a request of its own does not change the request that reads it", () =>
  withFiles(async (devices, paths) => {
    await using io = new IoClient({ pages: 8 });
    for (const [name, ask] of Object.entries(ASKS)) {
      if (name.endsWith("callback")) continue;
      const inner: unknown[] = [];
      const act = () => {
        inner.push(io.write([{ bdev: devices[1]!, sector: 8, count: 8 }], pattern(PAGE, 7)));
        inner.push(io.writeSync([{ bdev: devices[1]!, sector: 16, count: 8 }], pattern(PAGE, 8)));
      };
      await ask(io, devices, act);
      assertEquals((await Promise.all(inner)).length, 2, name);
    }
    const now = Deno.readFileSync(paths[1]!);
    expectSame(now.subarray(PAGE, 2 * PAGE), pattern(PAGE, 7));
    expectSame(now.subarray(2 * PAGE, 3 * PAGE), pattern(PAGE, 8));
    assertEquals(io.outstanding, 0);
  }));

Deno.test("an array of regions that changes its length while it is read is used at its first length", () =>
  withFiles(async (devices) => {
    await using io = new IoClient({ pages: 8 });
    for (const later of [0, 2, 65]) {
      let reads = 0;
      const where = new Proxy([region(devices[0]!)], {
        get: (target, key) => key === "length" ? (reads++ === 0 ? 1 : later) : Reflect.get(target, key),
      });
      assertEquals((await io.write(where, page())).errorBits, 0n, `later ${later}`);
    }
    dmIoGet(4);
    const regions = new Readings().array("where", [region(devices[0]!), region(devices[1]!)]);
    const list = dmIoClient().pool.allocList(1);
    assertEquals(dmIoSync(1, regions, WRITE, list, 0, null), 0);
    assertEquals(dmIoSync(2, regions, WRITE, list, 0, null), 0);
    dmIoPut(4);
  }));

Deno.test("a request that an aborted signal refuses does not count in the latencies", () =>
  withFiles(async ([device]) => {
    await using io = new IoClient({ pages: 8 });
    const began = performance.now();
    const { failures } = await io.write([region(device!)], page(), { signal: AbortSignal.abort() });
    assertEquals(failures[0]!.code, "ECANCELED");
    await io.write([region(device!)], page());
    await io.write([region(device!)], page(), { signal: AbortSignal.abort() });
    const { p50, p99, max } = io.stats().latency;
    const most = (performance.now() - began) * 1000;
    assert(p50 <= p99 && p99 <= max && max > 0, `p50 ${p50}, p99 ${p99}, max ${max}`);
    assert(max <= most, `a latency of ${max} us, though all of it took ${most} us`);
  }));
