/** Views of any subclass are memory like others: their bytes are where the engine says, whatever their methods say. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { BlockDevice, IoClient, type IoMemory, type IoResult, pageSize } from "../../mod.ts";
import { expectOnlyChanged, expectSame, pattern } from "../support/bytes.ts";
import { settlesWithin } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

const PAGE = pageSize();
const PATIENCE = 5000;
const SECTORS = PAGE / 512;

function fail(): never {
  throw new SyntaxError("a method of the caller's was called");
}

/** Makes its own sense of constructor arguments. */
class Frame extends Uint8Array {
  constructor(width: number, height: number) {
    super(width * height);
  }
}

/** Its subarrays are of another class, which puts them elsewhere. */
class Elsewhere extends Uint8Array {
  static get [Symbol.species](): Uint8ArrayConstructor {
    return class extends Uint8Array {
      constructor(_buffer: ArrayBufferLike, _byteOffset: number, length: number) {
        super(length);
      }
    } as unknown as Uint8ArrayConstructor;
  }
}

/** Says that it is long, and elsewhere. */
class Liar extends Uint8Array {
  override get length(): number {
    return 1 << 20;
  }
  override get byteLength(): number {
    return 1 << 20;
  }
  override get byteOffset(): number {
    return 1 << 20;
  }
  override get buffer(): ArrayBuffer {
    return new ArrayBuffer(1 << 21);
  }
}

/** Says that it is empty. */
class Modest extends Uint8Array {
  override get length(): number {
    return 0;
  }
  override get byteLength(): number {
    return 0;
  }
}

/** A subclass whose methods all throw. */
class Refuser extends Uint8Array {
  override set = fail;
  override fill = fail;
  override subarray = fail;
  override slice = fail;
  override copyWithin = fail;
  override [Symbol.iterator] = fail;
}

/** Has no properties of its own that could be read. */
class Sealed extends Uint8Array {
  override get length(): number {
    return fail();
  }
  override get byteLength(): number {
    return fail();
  }
  override get byteOffset(): number {
    return fail();
  }
  override get buffer(): ArrayBuffer {
    return fail();
  }
  override get [Symbol.toStringTag](): "Uint8Array" {
    return fail();
  }
}

type Make = (buffer: ArrayBuffer, byteOffset: number, length: number) => Uint8Array;
const over = (kind: Uint8ArrayConstructor): Make => (buffer, at, length) => new kind(buffer, at, length);
const VIEWS: Record<string, Make> = {
  "a subclass with a species of its own": over(Elsewhere),
  "a subclass that lies about its place and length": over(Liar),
  "a subclass that says it is empty": over(Modest),
  "a subclass that does nothing it is asked for": over(Refuser),
  "a subclass whose properties throw": over(Sealed),
  "a Node Buffer": (buffer, byteOffset, length) => Buffer.from(buffer, byteOffset, length),
  "a view with properties of its own": (buffer, byteOffset, length) =>
    Object.defineProperties(new Uint8Array(buffer, byteOffset, length), {
      byteLength: { value: 1 << 20 },
      byteOffset: { value: 512 },
      buffer: { value: new ArrayBuffer(1 << 20) },
      constructor: { value: fail },
      set: { value: fail },
      fill: { value: fail },
      subarray: { value: fail },
    }),
};

const FORMS: Record<string, (view: Uint8Array) => IoMemory> = {
  "as contiguous memory": (view) => view,
  "as a page of a list": (view) => ({ pageList: { next: null, page: view } }),
  "as a page of a bio vector": (view) => ({ bvecs: [{ page: view, offset: 0, len: PAGE }] }),
};

const BUFFERS: Record<string, (io: IoClient) => ArrayBuffer> = {
  "its own memory": () => new ArrayBuffer(8 * PAGE),
  "shared memory": () => new SharedArrayBuffer(8 * PAGE) as unknown as ArrayBuffer,
  "pages of the pool": (io) => io.pool.alloc(8).buffer as ArrayBuffer,
};

async function withFile(
  body: (io: IoClient, device: BlockDevice, path: string) => Promise<void>,
): Promise<void> {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  const device = BlockDevice.open(path, { write: true, create: 1 << 20 });
  const io = new IoClient({ pages: 8 });
  await body(io, device, path);
  assertEquals([io.outstanding, device.inFlight], [0, 0]);
  assert(await settlesWithin(io.close(), PATIENCE), "the client does not close");
  assert(await settlesWithin(device.close(), PATIENCE), "the device does not close");
}

async function answered(request: Promise<IoResult>): Promise<IoResult> {
  assert(await settlesWithin(request, PATIENCE), "the request is not answered");
  return await request;
}

for (const [name, make] of Object.entries(VIEWS)) {
  for (const [where, bufferOf] of Object.entries(BUFFERS)) {
    Deno.test(`${name} over ${where} is written, read and zeroed at its true place`, () =>
      withFile(async (io, device, path) => {
        for (const [form, shape] of Object.entries(FORMS)) {
          const buffer = bufferOf(io);
          const whole = new Uint8Array(buffer);
          // A buffer may be longer than the region; a page may not be longer than a page.
          const length = form === "as contiguous memory" ? 3 * PAGE : PAGE;
          const memory = shape(make(buffer, 2 * PAGE, length));
          const around = { offset: 2 * PAGE, length: PAGE };
          whole.set(pattern(whole.length, 1));
          const region = { bdev: device, sector: 64, count: SECTORS };
          assertEquals((await answered(io.write([region], memory))).errorBits, 0n, form);
          const medium = Deno.readFileSync(path);
          expectSame(
            medium.subarray(32768, 32768 + PAGE),
            pattern(whole.length, 1).subarray(2 * PAGE, 3 * PAGE),
            form,
          );
          Deno.writeFileSync(path, pattern(1 << 20, 2));
          assertEquals((await answered(io.read(region, memory))).errorBits, 0n, form);
          expectSame(
            whole.slice(2 * PAGE, 3 * PAGE),
            pattern(1 << 20, 2).subarray(32768, 32768 + PAGE),
            form,
          );
          expectOnlyChanged(pattern(whole.length, 1), whole.slice(), [around], form);
          // Past the end of what is left of the file: half of it comes, the other half is zeros.
          Deno.truncateSync(path, 32768 + PAGE / 2);
          whole.subarray(2 * PAGE, 3 * PAGE).fill(0xff);
          const { errorBits, failures } = await answered(io.read(region, memory));
          assertEquals(
            [errorBits, failures[0]?.code, failures[0]?.sector],
            [1n, "EIO", 64 + SECTORS / 2],
            form,
          );
          const half = new Uint8Array(PAGE);
          half.set(pattern(1 << 20, 2).subarray(32768, 32768 + PAGE / 2));
          expectSame(whole.slice(2 * PAGE, 3 * PAGE), half, `${form}: what was not read`);
          expectOnlyChanged(pattern(whole.length, 1), whole.slice(), [around], form);
          Deno.truncateSync(path, 1 << 20);
          if (where === "pages of the pool") io.pool.free(whole);
        }
      }));
  }
}

for (const [name, make] of Object.entries(VIEWS)) {
  Deno.test(`${name} of pages of the pool frees the pages that it truly covers`, () =>
    withFile((io) => {
      const buffer = io.pool.alloc(8).buffer as ArrayBuffer;
      io.pool.free(make(buffer, 2 * PAGE, 2 * PAGE));
      assertEquals(io.pool.available, 2);
      assertThrows(() => io.pool.free(make(buffer, 2 * PAGE, PAGE)), TypeError, "freed before");
      io.pool.free({ next: { next: null, page: make(buffer, 7 * PAGE, PAGE) }, page: make(buffer, 0, PAGE) });
      assertEquals(io.pool.available, 4);
      assertEquals(io.pool.alloc(2).byteOffset, 2 * PAGE);
      return Promise.resolve();
    }));
}

Deno.test("a subclass with a constructor of its own is written and read", () =>
  withFile(async (io, device, path) => {
    const frame = new Frame(128, PAGE / 64);
    frame.set(pattern(PAGE, 4));
    const region = { bdev: device, sector: 0, count: SECTORS };
    assertEquals((await answered(io.write([region], frame))).errorBits, 0n);
    expectSame(Deno.readFileSync(path).subarray(0, PAGE), pattern(PAGE, 4));
    Deno.writeFileSync(path, pattern(1 << 20, 5));
    assertEquals(io.readSync(region, frame).errorBits, 0n);
    expectSame(new Uint8Array(frame.buffer, 0, PAGE), pattern(1 << 20, 5).subarray(0, PAGE));
  }));

Deno.test("Node Buffers that share one ArrayBuffer are read into side by side", () =>
  withFile(async (io, device, path) => {
    Deno.writeFileSync(path, pattern(1 << 20, 6));
    // Small ones come out of one allocation, one after the other, at any offset.
    Buffer.allocUnsafe(3);
    const buffers = Array.from({ length: 6 }, () => Buffer.allocUnsafe(512));
    const reads = buffers.map((memory, i) => io.read({ bdev: device, sector: i, count: 1 }, memory));
    for (const read of reads) assertEquals((await answered(read)).errorBits, 0n);
    expectSame(Buffer.concat(buffers), pattern(1 << 20, 6).subarray(0, 3072));
    const text = Buffer.from("x".repeat(512));
    assertEquals((await answered(io.write([{ bdev: device, sector: 9, count: 1 }], text))).errorBits, 0n);
    expectSame(Deno.readFileSync(path).subarray(9 * 512, 10 * 512), new Uint8Array(512).fill(120));
  }));

Deno.test("an object that only looks like a Uint8Array is refused before any I/O", () =>
  withFile((io, device) => {
    const region = { bdev: device, sector: 0, count: SECTORS };
    const shams = [
      new Proxy(new Uint8Array(PAGE), {}),
      Object.create(Uint8Array.prototype),
      Object.setPrototypeOf(new Uint16Array(PAGE / 2), Uint8Array.prototype),
      Object.setPrototypeOf(new DataView(new ArrayBuffer(PAGE)), Uint8Array.prototype),
    ];
    for (const [i, sham] of shams.entries()) {
      for (const [form, shape] of Object.entries(FORMS)) {
        // A Uint16Array by another name has that many bytes all the same; whether it is taken is no matter of safety.
        if (i === 2) continue;
        assertThrows(() => void io.write([region], shape(sham)), TypeError, "", `${i}, ${form}`);
        assertThrows(() => io.readSync(region, shape(sham)), TypeError, "", `${i}, ${form}`);
      }
      assertThrows(() => io.pool.free(sham), TypeError);
    }
    return Promise.resolve();
  }));

Deno.test("a view that claims to be longer than it is does not reach beyond its end", () =>
  withFile((io, device) => {
    const region = { bdev: device, sector: 0, count: 2 * SECTORS };
    const page = io.pool.alloc(1);
    for (const buffer of [new ArrayBuffer(PAGE), new SharedArrayBuffer(PAGE), page.buffer]) {
      const view = new Liar(buffer as ArrayBuffer, 0, PAGE);
      assertThrows(() => void io.write([region], view), RangeError, `${PAGE}`);
      assertThrows(() => io.readSync(region, view), RangeError, `${PAGE}`);
    }
    assertThrows(() => io.pool.free(new Liar(page.buffer as ArrayBuffer, 0, 8 * PAGE)), TypeError, "memory");
    assertEquals(io.pool.available, 7);
    return Promise.resolve();
  }));

Deno.test("a view that frees pages while it is freed itself does not free them twice", () =>
  withFile((io) => {
    const buffer = io.pool.alloc(8).buffer as ArrayBuffer;
    const first = new Uint8Array(buffer, 0, PAGE);
    let acted = false;
    const act = () => {
      if (acted) return;
      acted = true;
      io.pool.free(first);
    };
    class Meddler extends Uint8Array {
      override get byteOffset(): number {
        act();
        return PAGE;
      }
    }
    const list = { next: { next: null, page: new Meddler(buffer, PAGE, PAGE) }, page: first };
    try {
      io.pool.free(list);
    } catch (error) {
      assert(error instanceof TypeError);
    }
    const { available } = io.pool;
    const owners = new Set(Array.from({ length: available }, () => io.pool.alloc(1).byteOffset));
    assertEquals([owners.size, available <= 2], [available, true], "more pages are free than were freed");
    return Promise.resolve();
  }));
