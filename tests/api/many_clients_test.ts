/** Many clients in one program: those that sleep do not take what others need to be woken. */

import { assert, assertEquals } from "@std/assert";
import { BlockDevice, IoClient } from "../../mod.ts";
import { settlesWithin, until } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";
import { processState } from "../support/process_state.ts";
import { Scratch } from "../support/scratch.ts";
import { targets } from "../support/targets.ts";

// Deno runs what blocks, and what FFI calls "nonblocking", on a pool of 32 threads.
const CLIENTS = 40;
const PATIENCE = 5000;

Deno.test(`${CLIENTS} clients that sleep for a device that hangs hold up neither other clients nor Deno`, async () => {
  await using nbd = await NbdDevice.create();
  await using scratch = await Scratch.create();
  await using made = await targets("direct loop device", 1, 1 << 20);
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  const healthy = made.all[0]!.bdev;
  const path = scratch.join("file");
  Deno.writeTextFileSync(path, "there");
  const clients = Array.from({ length: CLIENTS }, () => new IoClient({ pages: 1, queueDepth: 8 }));
  await using sleeping = new AsyncDisposableStack();
  for (const io of clients) sleeping.use(io);
  await nbd.hang();
  sleeping.defer(() => nbd.resume());
  const reads = clients.map((io) => io.read({ bdev: device, sector: 0, count: 8 }, io.pool.alloc(1)));
  // All of them wait: what a client counts as a wait begins before it sleeps, so they get a while for the rest.
  assert(await until(() => clients.every((io) => io.stats().waits > 0), PATIENCE), "not all of them wait");
  await until(() => false, 200);
  assertEquals(await settlesWithin(Promise.race(reads), 1), false, "the device does not hang");

  const file = Deno.readTextFile(path);
  assert(await settlesWithin(file, PATIENCE), "Deno.readTextFile waits");
  assertEquals(await file, "there");
  for (const poll of [true, false]) {
    await using io = new IoClient({ pages: 1, poll });
    const page = io.pool.alloc(1);
    for (let i = 0; i < 20; i++) {
      const write = io.write([{ bdev: healthy, sector: 8 * i, count: 8 }], page.fill(i));
      assert(await settlesWithin(write, PATIENCE), `write ${i} of another client waits`);
      assertEquals((await write).errorBits, 0n);
      // The client rests, and has to be woken for the next one.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert(await settlesWithin(io.close(), PATIENCE), "another client does not close");
  }
  assert(await settlesWithin(Deno.stat(path), PATIENCE), "Deno.stat waits");

  nbd.resume();
  assert(await settlesWithin(Promise.all(reads), PATIENCE), "a client was not woken");
  for (const { errorBits } of await Promise.all(reads)) assertEquals(errorBits, 0n);
  assert(
    await settlesWithin(Promise.all(clients.map((io) => io.close())), PATIENCE),
    "a client does not close",
  );
});

Deno.test("clients made and closed while others sleep leave no thread and no file behind", async () => {
  await using nbd = await NbdDevice.create();
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  await using made = await targets("direct loop device", 1, 1 << 20);
  const healthy = made.all[0]!.bdev;
  const round = async () => {
    const clients = Array.from({ length: 20 }, () => new IoClient({ pages: 1, queueDepth: 8 }));
    const one = { bdev: healthy, sector: 0, count: 8 };
    const writes = clients.map((io) => io.write([one], io.pool.alloc(1)));
    for (const { errorBits } of await Promise.all(writes)) assertEquals(errorBits, 0n);
    assert(
      await settlesWithin(Promise.all(clients.map((io) => io.close())), PATIENCE),
      "a client does not close",
    );
  };
  await using io = new IoClient({ pages: 1 });
  await nbd.hang();
  using parts = new DisposableStack();
  parts.defer(() => nbd.resume());
  const read = io.read({ bdev: device, sector: 0, count: 8 }, io.pool.alloc(1));
  await round();
  const before = processState();
  for (let i = 0; i < 5; i++) await round();
  assert(await until(() => processState().openFiles <= before.openFiles, PATIENCE), "files stay open");
  assert(
    processState().threads <= before.threads + 2,
    `${processState().threads} threads, ${before.threads} before`,
  );
  nbd.resume();
  assert(await settlesWithin(read, PATIENCE), "the client that slept was not woken");
  assertEquals((await read).errorBits, 0n);
});

Deno.test("the first client to close leaves the shared eventfd to the others", async () => {
  await using nbd = await NbdDevice.create({ delay: 100 });
  await using device = BlockDevice.open(nbd.path, { write: true, direct: true });
  for (const order of [[0, 1, 2], [2, 1, 0], [1, 0, 2]]) {
    const clients = [0, 1, 2].map(() => new IoClient({ pages: 1, poll: false }));
    const read = (io: IoClient) => io.read({ bdev: device, sector: 0, count: 8 }, new Uint8Array(4096));
    for (const k of order) {
      const reads = clients.filter((io) => !io.closed).map(read);
      const closing = clients[k]!.close();
      assert(
        await settlesWithin(Promise.all(reads), PATIENCE),
        `${order}: a client was not woken after close ${k}`,
      );
      for (const { errorBits } of await Promise.all(reads)) assertEquals(errorBits, 0n);
      assert(await settlesWithin(closing, PATIENCE), `${order}: client ${k} does not close`);
    }
  }
});
