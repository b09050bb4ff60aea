import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { BlockDevice, type IoClient, IoClient as Client, type IoMemory, type IoResult } from "../../mod.ts";
import { expectOnlyChanged, expectSame, fillPattern, pattern } from "../support/bytes.ts";
import { succeed } from "../support/commands.ts";
import { LoopDevice, type LoopOptions } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { folderBehind } from "../support/traces.ts";

const DEVICE_BYTES = 1 << 20;
const SECTORS = 128;
const LENGTH = SECTORS * 512;
/** Where the shrunk device ends now: 8 sectors into its region. */
const SHRUNK_SECTORS = 808;

/** Device 0 is healthy, 6 is only slow; each of the others fails in its own way, at its own sector. */
const EXPECTED = [
  { region: 1, errno: 5, code: "EIO", sector: 100 },
  { region: 2, errno: 28, code: "ENOSPC", sector: 200 },
  { region: 3, errno: 1, code: "EPERM", sector: 300 },
  { region: 4, errno: 28, code: "ENOSPC", sector: SHRUNK_SECTORS },
  { region: 5, errno: 12, code: "ENOMEM", sector: 500 },
  { region: 7, errno: 5, code: "EIO", sector: 700 },
];
const SECTOR = [0, 100, 200, 300, 800, 500, 600, 700];

/** Seven of the devices; the eighth dies in each write, so there is a new one each time. */
class Array7 implements AsyncDisposable {
  private constructor(
    readonly healthy: LoopDevice,
    readonly slow: NbdDevice,
    readonly open: readonly BlockDevice[],
    readonly parts: AsyncDisposableStack,
  ) {}

  static async create(): Promise<Array7> {
    await using parts = new AsyncDisposableStack();
    const loop = async (options: LoopOptions = {}) =>
      parts.use(await LoopDevice.create({ bytes: DEVICE_BYTES, ...options }));
    const nbd = async (options: Parameters<typeof NbdDevice.create>[0]) =>
      parts.use(await NbdDevice.create({ bytes: DEVICE_BYTES, ...options }));
    const [healthy, broken, full, readOnly, shrunk, noMemory, slow] = await Promise.all([
      loop(),
      nbd({ error: "EIO" }),
      nbd({ full: true }),
      loop(),
      loop(),
      nbd({ error: "ENOMEM" }),
      nbd({ delay: 300 }),
    ]);
    const open = [healthy, broken, full, readOnly, shrunk, noMemory, slow]
      .map(({ path }) => parts.use(BlockDevice.open(path, { write: true, direct: true })));
    broken.fail();
    noMemory.fail();
    await readOnly.refuseWrites();
    // The device is smaller from here on, but its open BlockDevice still has the old size.
    shrunk.truncate(SHRUNK_SECTORS * 512);
    await succeed("losetup", "-c", shrunk.path);
    return new Array7(healthy, slow, open, parts.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.parts.disposeAsync();
  }
}

/** Kills the server of a hung remote device, from another process, as soon as a request is in flight there. */
function killInMidWrite(remote: NbdDevice): Deno.ChildProcess {
  const inFlight = `/sys/block/${remote.path.slice("/dev/".length)}/inflight`;
  const pidFile = `${folderBehind(remote.path)}/nbdkit.pid`;
  const script =
    'for i in $(seq 1000); do grep -q "[1-9]" "$0" && break; sleep 0.01; done; kill -9 $(cat "$1")';
  return new Deno.Command("sh", { args: ["-c", script, inFlight, pidFile], stdin: "null" }).spawn();
}

type Form = (io: IoClient, seed: number) => IoMemory;

const PAGES = LENGTH / 4096;

const FORMS: Record<string, Form> = {
  "one run of pool pages": (io, seed) => fillPattern(io.pool.alloc(PAGES), seed),
  "one ordinary buffer": (_, seed) => pattern(LENGTH, seed),
  "one shared buffer": (_, seed) => fillPattern(new Uint8Array(new SharedArrayBuffer(LENGTH)), seed),
  "a list of pool pages": (io, seed) => {
    const list = io.pool.allocList(PAGES);
    const bytes = pattern(LENGTH, seed);
    for (let node: typeof list | null = list, i = 0; node !== null; node = node.next, i++) {
      node.page.set(bytes.subarray(i * 4096, (i + 1) * 4096));
    }
    return { pageList: list };
  },
  "a list of ordinary pages": (_, seed) => {
    let list = null;
    for (let i = PAGES - 1; i >= 0; i--) {
      list = { page: pattern(LENGTH, seed).slice(i * 4096, (i + 1) * 4096), next: list };
    }
    return { pageList: list! };
  },
  "bvecs of pool pages": (io, seed) => bvecs(seed, () => io.pool.alloc(1)),
  "bvecs of ordinary pages": (_, seed) => bvecs(seed, () => new Uint8Array(4096)),
};

// Every page gives a half, and they alternate, so that no two pieces lie side by side.
function bvecs(seed: number, page: () => Uint8Array): IoMemory {
  const bytes = pattern(LENGTH, seed);
  return {
    bvecs: Array.from({ length: PAGES * 2 }, (_, i) => {
      const offset = i % 2 === 0 ? 2048 : 0;
      const bvec = { page: page(), offset, len: 2048 };
      bvec.page.set(bytes.subarray(i * 2048, (i + 1) * 2048), offset);
      return bvec;
    }),
  };
}

let nextSeed = 1;

async function writeToEight(
  array: Array7,
  make: Form,
  write: (...a: Parameters<Client["write"]>) => IoResult | Promise<IoResult>,
  io: IoClient,
) {
  const seed = nextSeed++;
  await using remote = await NbdDevice.create({ bytes: DEVICE_BYTES, remote: true });
  using dying = BlockDevice.open(remote.path, { write: true, direct: true });
  const memory = make(io, seed);
  const regions = [...array.open, dying].map((bdev, i) => ({ bdev, sector: SECTOR[i]!, count: SECTORS }));
  const before = array.healthy.bytes();
  await remote.hang();
  const killer = killInMidWrite(remote);
  const start = performance.now();
  const result = await write(regions, memory);
  const took = performance.now() - start;
  assertEquals((await killer.status).code, 0);
  assertEquals(result.failures, EXPECTED);
  assertEquals(result.errorBits, 0b10111110n);
  assertGreaterOrEqual(took, 300, "the answer waits for the slow device");
  const after = array.healthy.bytes();
  expectSame(after.subarray(0, LENGTH), pattern(LENGTH, seed), "the healthy device");
  expectOnlyChanged(before, after, [{ offset: 0, length: LENGTH }], "the healthy device");
  const back = new Uint8Array(LENGTH);
  assertEquals(
    (await io.read({ bdev: array.open[6]!, sector: SECTOR[6]!, count: SECTORS }, back)).errorBits,
    0n,
  );
  expectSame(back, pattern(LENGTH, seed), "the slow device");
}

Deno.test("one write to eight devices, each failing in its own way, reports each one's outcome", async (t) => {
  await using array = await Array7.create();
  await using io = new Client();
  for (const [name, make] of Object.entries(FORMS)) {
    await t.step(`from ${name}, async`, () => writeToEight(array, make, (r, m) => io.write(r, m), io));
    await t.step(`from ${name}, blocking`, () => writeToEight(array, make, (r, m) => io.writeSync(r, m), io));
  }
});
