/** A user without rights or capabilities: what works on files, and what the limit of locked memory does. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type AsNobodyOptions, runAsNobody } from "../support/as_nobody.ts";
import { ringTest } from "../support/engine.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;

// Writes a pattern in each form to a file and reads it back; prints "same" when every byte came back.
const TRANSFER = `
import { BlockDevice, IoClient, SystemError } from "./mod.ts";

function filled(data: Uint8Array, seed: number): Uint8Array {
  for (let i = 0; i < data.length; i++) data[i] = (i * 31 + (i >> 9) + seed) & 255;
  return data;
}
const same = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, i) => byte === b[i]);

async function transfer(io: IoClient, data: Uint8Array, name: string): Promise<string> {
  const got = new Uint8Array(data.length);
  await using file = BlockDevice.open(name, { write: true, create: 2 * data.length + 512 });
  const region = { bdev: file, sector: 1, count: data.length / 512 };
  filled(data, 1);
  const bits = [io.writeSync([region], data).errorBits, io.readSync(region, got).errorBits];
  let good = same(got, data);
  filled(data, 2);
  bits.push((await io.write([region], data)).errorBits, (await io.read(region, got)).errorBits);
  good &&= same(got, data) && same(Deno.readFileSync(name).subarray(512, 512 + data.length), data);
  return (good ? "same" : "different") + ", bits " + bits;
}

function failure(act: () => unknown): string {
  try {
    act();
    return "no error";
  } catch (error) {
    return error instanceof SystemError ? JSON.stringify([error.code, error.syscall, error.message]) : "other " + error;
  }
}
`;

/** Runs a program after `TRANSFER` that prints lines, and returns them. */
async function lines(body: string, options: Omit<AsNobodyOptions, "source">): Promise<string[]> {
  const { code, stdout, stderr } = await runAsNobody({ source: TRANSFER + body, ...options });
  assertEquals(code, 0, stderr);
  return stdout.trim().split("\n");
}

/** Checks what a {@linkcode SystemError} says of the limit. */
function expectLimit(line: string | undefined, syscall: string, kibibytes: number): void {
  assertMatch(line ?? "", /^\["ENOMEM"/);
  const [, failed, message] = JSON.parse(line!) as string[];
  assertEquals(failed, syscall);
  expectAdvice(message!, kibibytes);
}

/** Checks what is said of the limit. */
function expectAdvice(message: string, kibibytes: number): void {
  assertStringIncludes(message, `RLIMIT_MEMLOCK, which is ${kibibytes} KiB`);
  for (const wayOut of ["ulimit -l", "/etc/security/limits.conf", "LimitMEMLOCK=", "CAP_IPC_LOCK"]) {
    assertStringIncludes(message, wayOut);
  }
}

Deno.test("nobody may give a request any priority but a realtime one, which is refused at the call", async () => {
  const [idle, realtime] = await lines(
    `
    import { IOPRIO_CLASS_IDLE, IOPRIO_CLASS_RT, IOPRIO_PRIO_VALUE } from "./mod.ts";
    await using io = new IoClient({ pages: 16 });
    await using bdev = BlockDevice.open("file", { write: true, create: 1 << 20 });
    const regions = [{ bdev, sector: 0, count: 8 }];
    const memory = new Uint8Array(4096);
    const write = (ioprio: number) => io.write(regions, memory, { ioprio });
    console.log((await write(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE))).errorBits);
    console.log(failure(() => write(IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 4))), io.outstanding);
    `,
    { memlock: 8 * MIB },
  );
  assertEquals(idle, "0n");
  assertMatch(realtime ?? "", /^\["EPERM".*CAP_SYS_NICE.*\] 0$/);
});

ringTest(
  "without rights, and with 8 MiB of lockable memory, the default client does I/O on files",
  async () => {
    const found = await lines(
      `
await using io = new IoClient();
console.log(io.pool.pages + " pages, fixed " + io.features.fixedBuffers);
console.log(await transfer(io, io.pool.alloc(512), "pages.img"));
console.log(await transfer(io, new Uint8Array(1 << 20), "copied.img"));
console.log(await transfer(io, new Uint8Array(new SharedArrayBuffer(1 << 20)), "shared.img"));
console.log(Deno.uid() !== 0);`,
      { memlock: 8 * MIB },
    );
    const good = "same, bits 0,0,0,0";
    assertEquals(found, ["1024 pages, fixed true", good, good, good, "true"]);
  },
);

ringTest("a pool above the limit works unregistered, and the features name the limit", async () => {
  const found = await lines(
    `
await using io = new IoClient();
const held = io.pool.alloc(8).fill(0x5a);
console.log(io.features.fixedBuffers);
io.pool.get(4096);
console.log(io.features.fixedBuffers, io.features.fixedBuffersRefused);
console.log(io.pool.pages + " " + io.pool.available + " " + held.every((byte) => byte === 0x5a));
console.log(await transfer(io, held, "held.img"));
console.log(await transfer(io, io.pool.alloc(2048), "fresh.img"));
io.pool.get(16);
console.log(io.pool.pages);`,
    { memlock: 8 * MIB },
  );
  assertEquals(found[0], "true");
  expectAdvice(found[1]!, 8192);
  const good = "same, bits 0,0,0,0";
  assertEquals(found.slice(2), ["5120 5112 true", good, good, "5136"]);
});

ringTest("a second default client works beside the first, with locked memory or without", async () => {
  const found = await lines(
    `
await using first = new IoClient();
await using second = new IoClient();
console.log(await transfer(first, first.pool.alloc(256), "first.img"));
console.log(await transfer(second, second.pool.alloc(256), "second.img"));
console.log(first.features.fixedBuffers, second.features.fixedBuffers);`,
    { memlock: 8 * MIB },
  );
  const good = "same, bits 0,0,0,0";
  assertEquals(found, [good, good, "true false"]);
});

ringTest("clients with pools above the limit leave locked memory to later clients", async () => {
  const found = await lines(
    `
for (let i = 0; i < 8; i++) await new IoClient({ pages: 4096 }).close();
await using io = new IoClient();
console.log(io.features.fixedBuffers);
console.log(await transfer(io, io.pool.alloc(256), "next.img"));`,
    { memlock: 8 * MIB },
  );
  assertEquals(found, ["true", "same, bits 0,0,0,0"]);
});

ringTest("memory of pages that were put can be locked by another client", async () => {
  const found = await lines(
    `
await using io = new IoClient({ pages: 0 });
for (let i = 0; i < 20; i++) {
  io.pool.get(1536);
  io.pool.put(1536);
}
io.pool.get(512);
console.log(await transfer(io, io.pool.alloc(256), "again.img"));`,
    { memlock: 8 * MIB },
  );
  assertEquals(found, ["same, bits 0,0,0,0"]);
});

ringTest("with 64 KiB of lockable memory the default pool works unregistered", async () => {
  const found = await lines(
    `
await using io = new IoClient({ queueDepth: 8 });
console.log(await transfer(io, io.pool.alloc(4), "small.img"));
console.log(io.features.fixedBuffers, io.features.fixedBuffersRefused);`,
    { memlock: 64 * KIB },
  );
  assertEquals(found[0], "same, bits 0,0,0,0");
  expectAdvice(found[1]!, 64);
});

ringTest("when not even the ring may be locked, the error says so and how to raise the limit", async () => {
  const found = await lines(
    `
console.log(failure(() => new IoClient({ queueDepth: 4096, engine: "io_uring" })));
console.log(failure(() => new IoClient({ pages: 0, queueDepth: 4096, engine: "io_uring" })));`,
    { memlock: 64 * KIB },
  );
  for (const line of found) {
    expectLimit(line, "io_uring_setup", 64);
    assertStringIncludes(line, "a ring of 4096 entries");
  }
});

ringTest("without a file descriptor left, the error names the object that could not be made", async () => {
  const found = await lines(
    `
const open: Deno.FsFile[] = [];
const client = new IoClient({ pages: 4 }); // what it takes to load the libraries is loaded
await client.close();
try {
  for (;;) open.push(Deno.openSync("/dev/null"));
} catch { /* none is left */ }
const errors = [failure(() => new IoClient({ pages: 4 }))];
open.pop()!.close(); // one: enough for the ring, not for the eventfd beside it
errors.push(failure(() => new IoClient({ pages: 4 })));
for (const file of open) file.close();
for (const line of errors) console.log(line);
await using io = new IoClient({ pages: 8 });
console.log(await transfer(io, io.pool.alloc(4), "after.img"));`,
    { memlock: 8 * MIB, limits: ["--nofile=64:64"] },
  );
  assertMatch(found[0]!, /^\["EMFILE","io_uring_setup"/);
  assertMatch(found[1]!, /^\["EMFILE","eventfd".*ulimit -n/);
  assertEquals(found[2], "same, bits 0,0,0,0");
});
