import { assertEquals } from "@std/assert";
import { IORING_OP_READV, IORING_OP_WRITEV } from "../../ffi/uapi.ts";
import { BlockDevice, dmIoClient, dmIoGet, dmIoPut, type EngineFeatures, READ, WRITE } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import type { Completions, Engine } from "../../src/engine/engine.ts";
import type { Sqe } from "../../src/engine/sqe.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { succeed } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";
import { SERVICES } from "../support/services.ts";
import { listOf } from "../support/shaped_memory.ts";

const TIB = 2 ** 40;
const COUNT = 24;
const GUARD = 8;

/** Sparse files and devices, and first sectors whose number or byte offset takes many bits. */
const FAR = [
  {
    name: "file of 8 TiB",
    bytes: 8 * TIB,
    loop: false,
    sectors: [2 ** 31 - 9, 2 ** 31, 2 ** 32 - 12, 2 ** 33 + 123],
  },
  {
    name: "loop device of 8 TiB",
    bytes: 8 * TIB,
    loop: true,
    sectors: [2 ** 31 - 9, 2 ** 31 + 1, 2 ** 32 + 5],
  },
  { name: "file of 2 EiB", bytes: 2 ** 61, loop: false, sectors: [2 ** 44 - 7, 2 ** 44 + 1, 2 ** 51 + 77] },
];

for (const { name, bytes, loop, sectors } of FAR) {
  Deno.test(`far sectors of a sparse ${name} are written and read at their place`, async () => {
    await using parts = new AsyncDisposableStack();
    const folder = parts.use(await Scratch.create());
    const file = folder.join("sparse");
    await succeed("truncate", "-s", `${BigInt(bytes)}`, file);
    const path = loop ? parts.use(await LoopDevice.create({ in: file })).path : file;
    const bdev = parts.use(BlockDevice.open(path, { write: true, direct: loop }));
    assertEquals(bdev.sectors, bytes / 512);
    parts.defer(() => dmIoPut(64));
    dmIoGet(64);
    using medium = Deno.openSync(file, { read: true, write: true });
    for (const [i, sector] of sectors.entries()) {
      for (const [k, service] of Object.values(SERVICES).entries()) {
        const data = pattern(COUNT * 512, 10 * i + k);
        const around = pattern((COUNT + 2 * GUARD) * 512, 1000 + i);
        // Nothing but a big integer names such a place exactly.
        const at = BigInt(sector - GUARD) * 512n;
        medium.seekSync(at, Deno.SeekMode.Start);
        assertEquals(medium.writeSync(around), around.length);
        assertEquals(await service([{ bdev, sector, count: COUNT }], WRITE, data), 0n);
        const expected = around.slice();
        expected.set(data, GUARD * 512);
        const found = new Uint8Array(around.length);
        medium.seekSync(at, Deno.SeekMode.Start);
        assertEquals(medium.readSync(found), found.length);
        expectSame(found, expected, `sector ${sector}`);
        const back = dmIoClient().pool.alloc(3);
        assertEquals(await service([{ bdev, sector, count: COUNT }], READ, back), 0n);
        expectSame(back, data, `sector ${sector}`);
        dmIoClient().pool.free(back);
      }
    }
    // What those numbers leave when they are cut to 32 or 53 bits was never written.
    medium.seekSync(0, Deno.SeekMode.Start);
    const start = new Uint8Array(1 << 20);
    assertEquals(medium.readSync(start), start.length);
    expectSame(start, new Uint8Array(1 << 20), "the start of the file");
  });
}

/** Does nothing, at once, and notes the byte offset and length of each SQE. */
class Recorder implements Engine {
  readonly requested: { offset: bigint; length: number }[] = [];
  readonly capacity = 16;
  readonly tableEntries = 4;
  readonly due = Infinity;
  readonly inFlight = 0;
  readonly room = 16;
  readonly vectorRoom = 1024;
  readonly features: EngineFeatures;
  readonly completions: Completions = {
    userData: new Uint32Array(16),
    generation: new Uint32Array(16),
    result: new Int32Array(16),
  };
  #queued = 0;
  #iovecs = 0;

  constructor(plainOpcodes: boolean) {
    const off = { singleIssuer: false, deferTaskrun: false, coopTaskrun: false };
    this.features = {
      engine: "io_uring",
      ...off,
      fixedBuffers: false,
      fixedFiles: false,
      plainOpcodes,
      extArg: true,
    };
  }

  get queued(): number {
    return this.#queued;
  }
  push({ opcode, offsetLow, offsetHigh, length, userData, generation }: Sqe): void {
    const { completions } = this;
    const vectored = opcode === IORING_OP_READV || opcode === IORING_OP_WRITEV;
    const bytes = vectored ? this.#iovecs : length;
    if (vectored) this.#iovecs = 0;
    completions.userData[this.#queued] = userData;
    completions.generation[this.#queued] = generation;
    completions.result[this.#queued++] = bytes;
    assertEquals([offsetLow, offsetHigh], [offsetLow >>> 0, offsetHigh >>> 0]);
    this.requested.push({ offset: BigInt(offsetHigh) << 32n | BigInt(offsetLow), length: bytes });
  }
  vector(_address: number, length: number): void {
    this.#iovecs += length;
  }
  useVectors(): void {}
  submit(): number {
    return this.#queued;
  }
  reap(): number {
    const count = this.#queued;
    this.#queued = 0;
    return count;
  }
  wait(): void {}
  relax(): void {}
  waitAsync(): Promise<void> {
    return Promise.resolve();
  }
  wake(): void {}
  registerBuffer(): number {
    return 0;
  }
  registerFile(): number {
    return 0;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

// The last sectors that are safe integers.
const MOST = Number.MAX_SAFE_INTEGER;
const SECTORS = [
  0,
  1,
  2 ** 22,
  2 ** 23 - 1,
  2 ** 23,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 44 - 1,
  2 ** 44,
]
  .concat([2 ** 44 + 1, 2 ** 45 + 3, 2 ** 52 + 1, 2 ** 53 - 5000]);

for (const plainOpcodes of [true, false]) {
  Deno.test(`byte offsets are exact up to the last safe sector, ${plainOpcodes ? "plain" : "vectored"}`, async () => {
    const engine = new Recorder(plainOpcodes);
    await using io = clientOn(engine, { pages: 0 });
    using bdev = new BlockDevice({
      path: "far",
      fd: -1,
      sectors: MOST,
      tailBytes: 0,
      logicalBlockSize: 512,
      physicalBlockSize: 512,
      memoryAlignment: 1,
      isBlockDevice: false,
      readOnly: false,
      mayBlock: false,
      writable: true,
      direct: false,
      closeFd: () => {},
      syncFd: () => Promise.resolve(),
    });
    // Above 512 KiB takes several SQEs, and 1024 of these bvecs, which is what one takes, end in the middle of a sector.
    const long = new Uint8Array(new SharedArrayBuffer(4900 * 512));
    const pages = Array.from({ length: 4902 }, () => new Uint8Array(new SharedArrayBuffer(4096)));
    const bvecs = pages.map((page, i) => ({ page, offset: 0, len: 511 + i % 3 }));
    const memories = [long, { pageList: listOf(pages), offset: 77 }, { bvecs }];
    for (const sector of SECTORS) {
      for (const memory of memories) {
        for (const count of [1, 4900]) {
          engine.requested.length = 0;
          const region = { bdev, sector, count };
          const result = count === 1 ? io.writeSync([region], memory) : io.readSync(region, memory);
          assertEquals(result.errorBits, 0n);
          let next = BigInt(sector) * 512n;
          for (const { offset, length } of engine.requested) {
            assertEquals(offset, next, `sector ${sector}`);
            next += BigInt(length);
          }
          assertEquals(next, BigInt(sector + count) * 512n);
        }
      }
    }
  });
}
