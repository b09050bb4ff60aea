/** What was written through the page cache, when the device is closed: it is on the medium, or close says that it is not. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BlockDevice, IoClient, SystemError } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { exists, settlesWithin, succeed } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const PATIENCE = 10_000;
const REGION = { sector: 0, count: 128 };
const DATA = pattern(128 * 512, 1);

/** Writes to a device, which must succeed: the page cache takes it. */
async function write(io: IoClient, bdev: BlockDevice): Promise<void> {
  assertEquals((await io.write([{ bdev, ...REGION }], DATA)).failures, []);
}

/** Fails unless close rejects with what `fdatasync` says, each time that it is called, and the file is closed. */
async function expectLost(device: BlockDevice, codes: readonly string[]): Promise<void> {
  for (const close of [() => device.close(), () => device[Symbol.asyncDispose](), () => device.close()]) {
    const error = await assertRejects(close, SystemError);
    assertEquals(error.syscall, "fdatasync");
    assert(codes.includes(error.code), `${error.code}, expected one of ${codes}`);
    for (const word of [device.path, "direct: true"]) assertStringIncludes(error.message, word);
  }
  assert(
    !exists(`/proc/self/fd/${device.fd}`) || Deno.readLinkSync(`/proc/self/fd/${device.fd}`) !== device.path,
  );
}

Deno.test("close rejects, each time, when a block device fails after its buffered writes succeeded", async () => {
  await using nbd = await NbdDevice.create();
  await using io = new IoClient({ pages: 32 });
  const device = BlockDevice.open(nbd.path, { write: true });
  await write(io, device);
  nbd.fail();
  await expectLost(device, ["EIO"]);
});

Deno.test("close rejects when the file system behind a loop device is full", async () => {
  await using scratch = await Scratch.create({ tmpfs: 1 << 20 });
  await using loop = await LoopDevice.create({ in: scratch.path, bytes: 8 << 20, directIo: false });
  const device = BlockDevice.open(loop.path, { write: true });
  await using io = new IoClient({ pages: 1024 });
  assertEquals(
    (await io.write([{ bdev: device, sector: 0, count: 8192 }], pattern(4 << 20, 1))).errorBits,
    0n,
  );
  await expectLost(device, ["ENOSPC", "EIO"]);
});

Deno.test("close rejects when the device under a regular file fails", async () => {
  await using nbd = await NbdDevice.create();
  await using scratch = await Scratch.create();
  await succeed("mkfs.ext4", "-q", "-F", nbd.path);
  await succeed("mount", nbd.path, scratch.path);
  try {
    await using io = new IoClient({ pages: 32 });
    const device = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
    await write(io, device);
    nbd.fail();
    await expectLost(device, ["EIO"]);
  } finally {
    nbd.heal();
    await succeed("umount", scratch.path);
  }
});

Deno.test("close writes the page cache to the medium", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  await using io = new IoClient({ pages: 32 });
  {
    await using device = BlockDevice.open(loop.path, { write: true });
    await write(io, device);
  }
  // The last close of a block device writes its page cache back as well; this program keeps the device open besides.
  expectSame(loop.bytes(0, DATA.length), DATA);
});

Deno.test("a `using` scope reports a sync that fails as an uncaught error", async () => {
  await using nbd = await NbdDevice.create();
  await using scratch = await Scratch.create();
  const program = runProgram({
    source: `
      import { BlockDevice, IoClient } from "./mod.ts";
      const [path, folder] = Deno.args;
      await using io = new IoClient({ pages: 32 });
      {
        using bdev = BlockDevice.open(path, { write: true });
        const { errorBits } = await io.write([{ bdev, sector: 0, count: 8 }], new Uint8Array(4096));
        console.log(errorBits);
        Deno.mkdirSync(folder + "/written");
        while (![...Deno.readDirSync(folder)].some(({ name }) => name === "failing")) {
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      }
      await new Promise(() => setTimeout(() => console.log("went on"), ${PATIENCE}));`,
    args: [nbd.path, scratch.path],
  });
  let ended = false;
  program.finally(() => ended = true);
  while (!ended && !exists(scratch.join("written"))) await new Promise((resolve) => setTimeout(resolve, 5));
  nbd.fail();
  Deno.mkdirSync(scratch.join("failing"));
  const { code, stdout, stderr } = await program;
  assertEquals([code, stdout.trim()], [1, "0n"], stderr);
  assertStringIncludes(stderr, "fdatasync: EIO");
});

Deno.test("timers run while close syncs a device that hangs", async () => {
  await using nbd = await NbdDevice.create();
  await using io = new IoClient({ pages: 32 });
  const device = BlockDevice.open(nbd.path, { write: true });
  await write(io, device);
  await nbd.hang();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  try {
    const closing = device.close();
    assert(!await settlesWithin(closing, 300), "close did not wait for the medium");
    assert(ticks > 5, `${ticks} ticks`);
    nbd.resume();
    assert(await settlesWithin(closing, PATIENCE), "close hangs");
    await closing;
  } finally {
    clearInterval(timer);
  }
});

Deno.test("a device is synced once, when it was written through the page cache, before it is closed", async () => {
  await using scratch = await Scratch.create();
  await using io = new IoClient({ pages: 32 });
  await using file = BlockDevice.open(scratch.join("file"), { write: true, create: 1 << 20 });
  for (
    const { direct, written } of [true, false].flatMap((direct) =>
      [true, false].map((written) => ({ direct, written }))
    )
  ) {
    const calls: string[] = [];
    const bdev = new BlockDevice({
      ...file,
      direct,
      syncFd: (fd, path) => {
        calls.push(`sync ${fd} ${path}`);
        return Promise.resolve();
      },
      closeFd: (fd) => void calls.push(`close ${fd}`),
    });
    const region = { bdev, sector: 0, count: 8 };
    if (written) await io.write([region], new Uint8Array(4096));
    else await io.read(region, new Uint8Array(4096));
    await Promise.all([bdev.close(), bdev.close()]);
    assertEquals(calls, [
      ...(written && !direct ? [`sync ${file.fd} ${file.path}`] : []),
      `close ${file.fd}`,
    ]);
  }
});

Deno.test("close syncs after the last request in flight, and rejects with what closeFd throws", async () => {
  await using nbd = await NbdDevice.create({ delay: 100 });
  await using io = new IoClient({ pages: 32 });
  await using loop = BlockDevice.open(nbd.path, { write: true, direct: true });
  const calls: string[] = [];
  const bdev = new BlockDevice({
    ...loop,
    direct: false,
    syncFd: () => Promise.resolve(void calls.push(`sync of ${bdev.inFlight} in flight`)),
    closeFd: () => {
      throw new Error("not closed");
    },
  });
  const answer = io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
  const closing = assertRejects(() => bdev.close(), Error, "not closed");
  assertEquals([bdev.inFlight, calls], [1, []]);
  assertEquals((await answer).errorBits, 0n);
  await closing;
  assertEquals(calls, ["sync of 0 in flight"]);
});
