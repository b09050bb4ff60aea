/** Any value at any place of a call's arguments: the call does its work, or refuses it by a message of its own. */

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import fc from "fast-check";
import {
  type BlockDevice,
  dmIo,
  IoClient,
  IOPRIO_PRIO_VALUE,
  REQ_FUA,
  REQ_OP_DISCARD,
  REQ_OP_READ,
  REQ_OP_WRITE,
  REQ_OP_WRITE_ZEROES,
} from "../../mod.ts";
import { faults, ramDevice } from "../../src/testing/mod.ts";

/** Messages of the runtime, which name nothing that a caller knows. */
const ACCIDENTAL =
  /undefined \(reading|private (member|name)|is not a function|of null|not iterable|Cannot (read|convert|mix|destructure)|call stack/;
const RUNS = 4000;

// deno-lint-ignore no-explicit-any
type Any = any;
interface Call {
  /** The arguments, all of them right. */
  readonly args: () => unknown[];
  readonly call: (...args: Any[]) => unknown;
}

function calls(io: IoClient, bdev: BlockDevice): Record<string, Call> {
  const region = () => ({ bdev, sector: 8, count: 16 });
  const regions = () => [region(), { bdev, sector: 64, count: 8 }];
  const memory = () => new Uint8Array(8192);
  const options = () => ({ preflush: true, fua: true, ioprio: 0, locate: false, timeout: 5000 });
  const scope = () => ({ op: "write", sector: 0, count: 8, nth: 1, times: 1 });
  return {
    read: {
      args: () => [region(), memory(), { locate: true }],
      call: (...args) => io.read(...args as [Any, Any]),
    },
    write: { args: () => [regions(), memory(), options()], call: (a, b, c) => io.write(a, b, c) },
    writeSync: { args: () => [regions(), memory(), { fua: true }], call: (a, b, c) => io.writeSync(a, b, c) },
    flush: { args: () => [[bdev, region()], { timeout: 5000 }], call: (a, b) => io.flush(a, b) },
    flushSync: { args: () => [[bdev, region()]], call: (a) => io.flushSync(a) },
    discard: { args: () => [regions(), { timeout: 5000 }], call: (a, b) => io.discard(a, b) },
    discardSync: { args: () => [regions()], call: (a) => io.discardSync(a) },
    writeZeroes: {
      args: () => [regions(), { unmap: true, fallback: true, timeout: 5000 }],
      call: (a, b) => io.writeZeroes(a, b),
    },
    writeZeroesSync: { args: () => [regions(), { unmap: true }], call: (a, b) => io.writeZeroesSync(a, b) },
    writeSame: {
      args: () => [regions(), new Uint8Array(512).fill(1), options()],
      call: (a, b, c) => io.writeSame(a, b, c),
    },
    writeSameSync: {
      args: () => [regions(), new Uint8Array(512), { fua: true }],
      call: (a, b, c) => io.writeSameSync(a, b, c),
    },
    notify: {
      args: () => [REQ_OP_WRITE_ZEROES, regions(), null, () => {}, 1, { unmap: true }],
      call: (a, b, c, d, e, f) =>
        typeof d === "function"
          ? new Promise<void>((answered) => io.notify(a, b, c, () => answered(), e, f))
          : io.notify(a, b, c, d, e, f),
    },
    "dmIo, a write": {
      args: () => [{ opf: REQ_OP_WRITE | REQ_FUA, mem: memory(), client: io, ioprio: 0 }, 2, regions(), null],
      call: (a, b, c, d) => dmIo(a, b, c, d),
    },
    "dmIo, a discard": {
      args: () => [{ opf: REQ_OP_DISCARD, client: io }, 1, regions(), new BigUint64Array(1)],
      call: (a, b, c, d) => dmIo(a, b, c, d),
    },
    "dmIo, a read": {
      args: () => [{ opf: REQ_OP_READ, mem: memory(), client: io }, 1, [region()], new BigUint64Array(1)],
      call: (a, b, c, d) => dmIo(a, b, c, d),
    },
    IOPRIO_PRIO_VALUE: { args: () => [2, 4], call: (a, b) => IOPRIO_PRIO_VALUE(a, b) },
    readable: {
      args: () => [region(), { chunk: 4096 }],
      call: (a, b) => io.readable(a, b).cancel(),
    },
    writable: {
      args: () => [regions(), { chunk: 4096, onFailure: "continue", flush: true }],
      call: (a, b) => io.writable(a, b).abort(),
    },
    ramDevice: {
      args: () => [1 << 20, { blockSize: 4096, cache: "none", write: true, name: "x" }],
      call: (a, b) => ramDevice(a, b).close(),
    },
    "faults, bad sectors": {
      args: () => [8, 4, { op: "read", errno: "EIO" }],
      call: (a, b, c) => faults(bdev).badSectors(a, b, c),
    },
    "faults, an errno": { args: () => ["EIO", scope()], call: (a, b) => faults(bdev).fail(a, b) },
    "faults, short transfers": { args: () => [512, scope()], call: (a, b) => faults(bdev).short(a, b) },
    "faults, a lie": { args: () => ["lose", scope()], call: (a, b) => faults(bdev).lie(a, b) },
    "faults, a power cut": { args: () => [1, scope()], call: (a, b) => faults(bdev).powerCutAt(a, b) },
  };
}

/** The places of a tree of arguments where a value may be put. */
function places(value: unknown, at: (string | number)[] = []): (string | number)[][] {
  const plain = Array.isArray(value) || Object.getPrototypeOf(value ?? 0) === Object.prototype;
  const below = plain
    ? Object.entries(value as object).flatMap(([key, each]) => places(each, [...at, key]))
    : [];
  return at.length === 0 ? below : [at, ...below];
}

function put(args: unknown[], at: readonly (string | number)[], value: unknown): void {
  let parent: Any = args;
  for (const key of at.slice(0, -1)) parent = parent[key];
  parent[at.at(-1)!] = value;
}

const oddities = fc.oneof(
  fc.anything(),
  fc.constantFrom<unknown>(NaN, -1, -0, 0.5, 2 ** 31, 2 ** 53, 10n, "", "EIO", null, undefined, [], {}),
  fc.constantFrom<unknown>(
    new Uint8Array(0),
    new Uint16Array(4096),
    new DataView(new ArrayBuffer(8)),
    () => {},
  ),
  fc.constantFrom<unknown>(Symbol("x"), Object.create(null), new Proxy({}, {}), new Date(NaN), [[]]),
);

Deno.test("any value in place of any argument of a new call is taken, or refused by name", async () => {
  await using io = new IoClient({ pages: 8 });
  await using bdev = ramDevice(1 << 20);
  const all = calls(io, bdev);
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...Object.keys(all)), fc.nat(), oddities, async (name, which, value) => {
      const { args: right, call } = all[name]!;
      const args = right();
      const at = places(args);
      put(args, at[which % at.length]!, value);
      // A read of random length would be right, and takes long.
      try {
        await call(...args);
      } catch (error) {
        refused++;
        // Without a client of its own, a dm-io request goes to that of `dmIoGet`, which is not there.
        if ((error as Error).message.startsWith("there is no pool: call dmIoGet")) return;
        assert(error instanceof TypeError || error instanceof RangeError, `${name} threw ${error}`);
        assert(!ACCIDENTAL.test(error.message), `${name}: ${error.message}`);
      } finally {
        faults(bdev).heal();
      }
      assertEquals([io.closed, name], [false, name]);
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  assert(refused > RUNS / 4, `${refused} were refused`);
  // A request with a callback may still be under way.
  for (let turn = 0; turn < 1000 && io.outstanding > 0; turn++) await delay(1);
  assertEquals([io.outstanding, io.pool.available], [0, 8]);
});
