/** Waiting: the event loop runs on meanwhile, and a program ends when there is nothing left to wait for. */

import { assert, assertEquals, assertGreater, assertGreaterOrEqual, assertLess } from "@std/assert";
import { cpuUsage } from "node:process";
import { BlockDevice, IoClient, READ } from "../../mod.ts";
import { ringTest } from "../support/engine.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { processState } from "../support/process_state.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const BUSY_MILLISECONDS = 1000;
const INTERVAL = 10;

/** Keeps 64 requests under way for a while. */
async function busy(io: IoClient, devices: readonly BlockDevice[], depth = 64): Promise<number> {
  const end = performance.now() + BUSY_MILLISECONDS;
  let requests = 0;
  const worker = async (i: number) => {
    const bdev = devices[i % devices.length]!;
    const page = io.pool.alloc(1);
    const sectors = bdev.sectors / 8;
    while (performance.now() < end) {
      const { errorBits } = await io.read({ bdev, sector: (requests * 7919) % sectors * 8, count: 8 }, page);
      assertEquals(errorBits, 0n);
      requests++;
    }
    io.pool.free(page);
  };
  await Promise.all(Array.from({ length: depth }, (_, i) => worker(i)));
  return requests;
}

for (const poll of [true, false]) {
  Deno.test(`timers and sockets run while 64 requests are under way, poll: ${poll}`, async () => {
    await using loops = await loopDevices(2, { bytes: 16 << 20 });
    await using io = new IoClient({ pages: 128, poll });
    const devices = loops.devices.map(({ path }) => BlockDevice.open(path, { direct: true }));
    let ticks = 0;
    const timer = setInterval(() => ticks++, INTERVAL);
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response("pong"),
    );
    const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const echoing = (async () => {
      for await (const connection of echo) {
        await connection.readable.pipeTo(connection.writable).catch(() => {});
      }
    })();
    const client = await Deno.connect({ hostname: "127.0.0.1", port: echo.addr.port });
    let fetches = 0;
    let echoes = 0;
    let running = true;
    const fetching = (async () => {
      while (running) {
        const response = await fetch(`http://127.0.0.1:${server.addr.port}/`);
        assertEquals(await response.text(), "pong");
        fetches++;
      }
    })();
    const sending = (async () => {
      const back = new Uint8Array(1);
      while (running) {
        await client.write(new Uint8Array([echoes % 256]));
        assertEquals(await client.read(back), 1);
        assertEquals(back[0], echoes % 256);
        echoes++;
      }
    })();
    let requests = 0;
    try {
      requests = await busy(io, devices);
    } finally {
      running = false;
      clearInterval(timer);
      await Promise.all([fetching, sending]);
      client.close();
      echo.close();
      await echoing;
      await server.shutdown();
      await Promise.all(devices.map((device) => device.close()));
    }
    assertGreater(requests, 1000);
    assertGreaterOrEqual(ticks, BUSY_MILLISECONDS / INTERVAL / 2, "the interval starved");
    assertGreater(fetches, 20, "HTTP starved");
    assertGreater(echoes, 50, "TCP starved");
  });
}

Deno.test("callbacks that start the next request let timers run", async () => {
  await using scratch = await Scratch.create();
  await using device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  await using io = new IoClient({ pages: 64 });
  const end = performance.now() + BUSY_MILLISECONDS;
  let ticks = 0;
  const timer = setInterval(() => ticks++, INTERVAL);
  const worker = (i: number) =>
    new Promise<void>((resolve) => {
      const page = io.pool.alloc(1);
      const next = () => {
        if (performance.now() > end) resolve();
        else io.notify(READ, [{ bdev: device, sector: i * 8, count: 8 }], page, next, null);
      };
      next();
    });
  await Promise.all(Array.from({ length: 32 }, (_, i) => worker(i)));
  clearInterval(timer);
  assertGreaterOrEqual(ticks, BUSY_MILLISECONDS / INTERVAL / 2, "the interval starved");
});

Deno.test("a wait for a slow device takes next to no processor time", async () => {
  await using nbd = await NbdDevice.create({ delay: 500 });
  await using device = BlockDevice.open(nbd.path, { direct: true });
  for (const poll of [true, false]) {
    await using io = new IoClient({ pages: 4, poll });
    const where = { bdev: device, sector: 0, count: 8 };
    const before = cpuUsage();
    const began = performance.now();
    assertEquals((await io.read(where, io.pool.alloc(1))).errorBits, 0n);
    assertEquals(io.readSync(where, io.pool.alloc(1)).errorBits, 0n);
    const { user, system } = cpuUsage();
    assertGreater(performance.now() - began, 900);
    assertLess((user + system - before.user - before.system) / 1000, 400, "milliseconds of processor time");
  }
});

Deno.test("no more than one thread waits for a client", async () => {
  await using nbd = await NbdDevice.create({ delay: 100 });
  await using device = BlockDevice.open(nbd.path, { direct: true });
  await using io = new IoClient({ pages: 64 });
  const where = { bdev: device, sector: 0, count: 8 };
  await io.read(where, io.pool.alloc(1));
  const before = processState().threads;
  const answers = Array.from({ length: 20 }, () => io.read(where, io.pool.alloc(1)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  // Deno may start one of its own; a thread for each request would be twenty.
  assert(processState().threads <= before + 4, `${processState().threads} threads, were ${before}`);
  await Promise.all(answers);
});

/** Runs a program that prints what it did; returns that and the seconds it took to end. */
async function ending(body: string, path: string): Promise<{ printed: string; seconds: number }> {
  const source = `
    import { BlockDevice, dmIoAsyncVm, dmIoGet, IoClient, WRITE } from "./mod.ts";
    const device = BlockDevice.open(${JSON.stringify(path)}, { write: true });
    const where = { bdev: device, sector: 0, count: 8 };
    ${body}`;
  const began = performance.now();
  const { code, stdout, stderr } = await runProgram({ source, timeout: 15 });
  assertEquals(code, 0, `the program did not end by itself: ${stderr}`);
  return { printed: stdout.trim(), seconds: (performance.now() - began) / 1000 };
}

async function file(scratch: Scratch): Promise<string> {
  const path = scratch.join("file");
  await Deno.writeFile(path, new Uint8Array(1 << 20));
  return path;
}

for (const poll of [true, false]) {
  Deno.test(`a program whose requests are done ends without close, poll: ${poll}`, async () => {
    await using scratch = await Scratch.create();
    const { printed, seconds } = await ending(
      `
      const io = new IoClient({ pages: 64, poll: ${poll} });
      const page = io.pool.alloc(1);
      let done = 0;
      for (let i = 0; i < 200; i++) {
        await Promise.all(Array.from({ length: 16 }, () => io.write([where], page).then(() => done++)));
      }
      await io.read(where, new Uint8Array(4096));
      io.readSync(where, page);
      console.log(done);`,
      await file(scratch),
    );
    assertEquals(printed, "3200");
    assertLess(seconds, 8);
  });
}

Deno.test("a program that only made a client ends", async () => {
  await using scratch = await Scratch.create();
  const { printed } = await ending(`new IoClient(); dmIoGet(8); console.log("made");`, await file(scratch));
  assertEquals(printed, "made");
});

Deno.test("a program lives until its outstanding requests have called back", async () => {
  await using nbd = await NbdDevice.create({ delay: 700 });
  for (const poll of [true, false]) {
    const { printed } = await ending(
      `
      const io = new IoClient({ pages: 8, poll: ${poll} });
      dmIoGet(8);
      const page = io.pool.alloc(1);
      dmIoAsyncVm(1, [where], WRITE, new Uint8Array(4096), (error) => console.log("dmIo", error), null);
      io.notify(WRITE, [where], page, () => {
        io.write([where], page, { timeout: 10_000 }).then(({ errorBits }) => console.log("promise", errorBits));
      }, null);`,
      nbd.path,
    );
    assertEquals(printed.split("\n").sort(), ["dmIo 0n", "promise 0n"]);
  }
});

Deno.test("a timeout of an answered request does not keep the program alive", async () => {
  await using scratch = await Scratch.create();
  const { printed, seconds } = await ending(
    `
    const io = new IoClient({ pages: 8 });
    const { errorBits } = await io.write([where], io.pool.alloc(1), { timeout: 60_000 });
    await io.close({ timeout: 60_000 });
    console.log(errorBits);`,
    await file(scratch),
  );
  assertEquals(printed, "0n");
  assertLess(seconds, 8);
});

for (const form of ["io.readSync", "await io.read"]) {
  ringTest(
    `a program exits by itself when another read reaped the CQE of an asynchronous wait: ${form}`,
    async () => {
      await using scratch = await Scratch.create();
      const { code, stdout } = await runProgram({
        timeout: 10_000,
        source: `
        import { BlockDevice, IoClient } from "./mod.ts";
        const io = new IoClient({ pages: 4 });
        const path = ${JSON.stringify(scratch.join("file"))};
        const file = BlockDevice.open(path, { write: true, create: 4096 });
        const fifo = ${JSON.stringify(scratch.join("fifo"))};
        await new Deno.Command("mkfifo", { args: [fifo] }).output();
        const pipe = Deno.openSync(fifo, { read: true, write: true });
        // A read of an empty pipe completes at the next write to it; the pipe is the last file that was opened.
        const numbers = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name));
        const fd = numbers.find((n) => {
          try {
            return Deno.readLinkSync("/proc/self/fd/" + n) === fifo;
          } catch {
            return false;
          }
        });
        const slow = new BlockDevice({
          path: fifo, fd, sectors: 8, tailBytes: 0, logicalBlockSize: 512, physicalBlockSize: 512, memoryAlignment: 1,
          isBlockDevice: false,
          readOnly: false, mayBlock: false, writable: true, direct: false, closeFd: () => {},
        });
        const late = io.read({ bdev: slow, sector: 0, count: 1 }, io.pool.alloc(1));
        await new Promise((resolve) => setTimeout(resolve, 50));
        pipe.writeSync(new Uint8Array(512));
        ${form}({ bdev: file, sector: 0, count: 8 }, io.pool.alloc(1));
        console.log((await late).errorBits);
      `,
      });
      assertEquals([code, stdout.trim()], [0, "0n"]);
    },
  );
}
