import { assertEquals, assertStringIncludes } from "@std/assert";
import { ringTest } from "../support/engine.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { programFolder, runIn } from "../support/program.ts";

// A full collection runs after every submit of SQEs. The caller drops memory, pages, promise and result at once. Each write has its own
// content and place. Each read goes to memory without a reference. If that were freed, a late byte of the read would fall on other
// memory: on that of a write in flight, which the device then shows, or on a canary.
const PROGRAM = `
  import { BlockDevice } from "./mod.ts";
  import { clientOn } from "./src/client.ts";
  import { IoUring } from "./src/engine/io_uring.ts";

  let submits = 0;
  class CollectingRing extends IoUring {
    override submit() {
      const taken = super.submit();
      if (taken > 0) { submits++; gc(); }
      return taken;
    }
  }

  const REQUESTS = 100_000;
  const BATCH = 400;
  const LENGTH = 1024;
  const SLOTS = 8192;
  const SLOW = 97;
  const PAGES = 256;
  const [slow, ...devices] = Deno.args.map((path) => BlockDevice.open(path, { write: true, direct: true }));
  const io = clientOn(new CollectingRing(1024), { pages: PAGES });

  let writes = 0, done = 0, checked = 0, pooled = 0;

  // Word j of what write i of a round has.
  const word = (i, j) => Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(j + 7, 0x85ebca6b);
  const fill = (bytes, i) => {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, LENGTH / 4);
    for (let j = 0; j < words.length; j++) words[j] = word(i, j);
    return bytes;
  };
  const page = (i, at) => { const bytes = new Uint8Array(4096); fill(bytes.subarray(at, at + LENGTH), i); return bytes; };
  // A page of the pool, unless they are all in use or others wait for them.
  const take = () => {
    try {
      const pages = io.pool.alloc(1);
      pooled++;
      return pages;
    } catch {
      return null;
    }
  };
  const drop = (i) => {
    const region = (k) => ({ bdev: devices[k], sector: (i % SLOTS) * 2, count: 2 });
    const both = [region(0), region(1)];
    // The slow device has its memory over many collections; prime, so that each kind of memory comes by.
    if (i % SLOW === 0) both.push({ bdev: slow, sector: i / SLOW * 2, count: 2 });
    switch (i % 6) {
      case 0: return void io.write(both, fill(new Uint8Array(LENGTH), i));
      case 1: return void io.write(both, fill(new Uint8Array(new SharedArrayBuffer(LENGTH)), i));
      case 2: {
        const pages = take();
        if (pages === null) return void io.write(both, fill(new Uint8Array(new SharedArrayBuffer(LENGTH)), i));
        void io.write(both, fill(pages, i));
        return io.pool.free(pages);
      }
      case 3: return void io.write(both, { bvecs: [{ page: page(i, 1024), offset: 1024, len: LENGTH }] });
      case 4: {
        const page = take();
        const list = { page: page ?? new Uint8Array(new SharedArrayBuffer(4096)), next: null };
        fill(list.page, i);
        void io.write(both, { pageList: list });
        return page === null ? undefined : io.pool.free(list);
      }
      case 5: {
        const done = (bits) => { if (bits !== 0n) throw new Error("write " + i + " failed"); };
        return io.notify(1, both, fill(new Uint8Array(LENGTH), i), done, null);
      }
    }
  };
  const read = (i) => {
    // From a part that is written only once, and looks like nothing else.
    const region = { bdev: i % 81 === 80 ? slow : devices[i % 2], sector: SLOTS * 2, count: 2 };
    switch ((i / 3 | 0) % 3) {
      case 0: return void io.read(region, new Uint8Array(LENGTH));
      case 1: return void io.read(region, new Uint8Array(new SharedArrayBuffer(LENGTH)));
      case 2: {
        const pages = take();
        if (pages === null) return void io.read(region, new Uint8Array(new SharedArrayBuffer(LENGTH)));
        void io.read(region, pages);
        return io.pool.free(pages);
      }
    }
  };
  const stray = new Uint8Array(LENGTH).fill(0xdd);
  await io.write([slow, ...devices].map((bdev) => ({ bdev, sector: SLOTS * 2, count: 2 })), stray);

  const check = (from, to) => {
    const now = new Uint8Array(SLOTS * LENGTH);
    for (const bdev of devices) {
      if (io.readSync({ bdev, sector: 0, count: SLOTS * 2 }, now).errorBits !== 0n) throw new Error("read");
      const words = new Int32Array(now.buffer);
      for (let i = from; i < to; i++) {
        for (let j = 0; j < LENGTH / 4; j++) {
          const found = words[(i % SLOTS) * (LENGTH / 4) + j];
          if (found !== word(i, j)) throw new Error("write " + i + ", word " + j + " on " + bdev.path + ": " + found);
        }
      }
    }
  };

  const canaries = [];
  while (done < REQUESTS) {
    for (let k = 0; k < BATCH; k++, done++) {
      if (done % 3 === 2) read(done);
      else drop(writes++);
    }
    // Memory held for a while, as a canary: a write of the kernel to memory that was freed and reused would change it.
    canaries.push(new Uint8Array(LENGTH).fill(0x11));
    for (let page, k = 0; k < 8 && (page = take()) !== null; k++) canaries.push(page.fill(0x11));
    while (canaries.length > 100) {
      const canary = canaries.shift();
      if (canary.some((byte) => byte !== 0x11)) throw new Error("a canary has died");
      if (canary.length > LENGTH) io.pool.free(canary);
    }
    // Let some of it come back, and keep a little in flight over the next batch.
    while (io.outstanding > 60) await new Promise((resolve) => setTimeout(resolve, 0));
    if (writes - checked > SLOTS - 2 * BATCH) {
      while (io.outstanding > 0) await new Promise((resolve) => setTimeout(resolve, 0));
      check(checked, writes);
      checked = writes;
    }
  }
  while (io.outstanding > 0) await new Promise((resolve) => setTimeout(resolve, 0));
  check(checked, writes);
  const late = new Int32Array(SLOTS * LENGTH / 4);
  io.readSync({ bdev: slow, sector: 0, count: SLOTS * 2 }, new Uint8Array(late.buffer));
  for (let i = 0; i < writes; i += SLOW) {
    for (let j = 0; j < LENGTH / 4; j++) {
      if (late[i / SLOW * (LENGTH / 4) + j] !== word(i, j)) throw new Error("write " + i + " on the slow device");
    }
  }
  if (pooled < REQUESTS / 10) throw new Error("only " + pooled + " requests had pages of the pool");
  for (const canary of canaries) {
    if (canary.some((byte) => byte !== 0x11)) throw new Error("a canary has died");
    if (canary.length > LENGTH) io.pool.free(canary);
  }
  if (io.pool.available !== PAGES) throw new Error(io.pool.available + " pages are free");
  for (const device of [slow, ...devices]) if (device.inFlight !== 0) throw new Error("held");
  await io.close();
  console.log(done + " requests, " + submits + " collections, " + pooled + " with pages of the pool");`;

ringTest(
  "100,000 requests without a reference of their callers survive a collection at every submit",
  async () => {
    await using loops = await loopDevices(2, { bytes: 16 << 20 });
    await using slow = await NbdDevice.create({ bytes: 16 << 20, delay: 30 });
    await using folder = await programFolder(PROGRAM);
    const { code, stdout, stderr } = await runIn(folder, {
      source: PROGRAM,
      args: [slow, ...loops.devices].map(({ path }) => path),
      permissions: ["-A", "--v8-flags=--expose-gc", "--no-check"],
    });
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "100000 requests");
    console.log(stdout.trim());
  },
);
