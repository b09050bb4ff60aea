/** What the kernel refuses, at set-up or while running: what can be done without is, and the rest is an error with a way out. */

import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { ringTest } from "../support/engine.ts";
import { LoopDevice } from "../support/loop.ts";
import { runTraced, type Traced } from "../support/strace.ts";

const MIB = 1 << 20;
const SYSTEM_CALLS = ["io_uring_setup", "io_uring_register", "io_uring_enter"];
/** Without any of the set-up flags. */
const NO_FLAGS = { singleIssuer: false, deferTaskrun: false, coopTaskrun: false };

// Prints a line of JSON: the features, and how many requests brought every byte, of how many; or the error of the set-up.
// Its arguments are "poll" or "sleep", then the devices.
const SOURCE = `
import { BlockDevice, IoClient, SystemError } from "./mod.ts";
import type { IoMemory, PageList } from "./mod.ts";

const [wait, loop] = Deno.args as [string, string];
let io: IoClient;
try {
  io = new IoClient({ pages: 256, queueDepth: 8, poll: wait === "poll", engine: "io_uring" });
} catch (error) {
  const { name, message, code, syscall } = error as SystemError;
  console.log(JSON.stringify({ typed: error instanceof SystemError, name, message, code, syscall }));
  Deno.exit();
}
const devices = [
  BlockDevice.open(loop, { write: true, direct: true }),
  BlockDevice.open("buffered.img", { write: true, create: 8 << 20 }),
];
let seed = 1;
function filled(data: Uint8Array): Uint8Array {
  for (let i = 0; i < data.length; i++) data[i] = (seed = Math.imul(seed, 69069) + 1) >>> 24;
  return data;
}
const listed = (list: PageList) => {
  const pages: Uint8Array[] = [];
  for (let node: PageList | null = list; node !== null; node = node.next) pages.push(node.page);
  return pages;
};
const same = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, i) => byte === b[i]);

// Memory of each kind, as a request takes it and as views of its bytes in order.
const run = io.pool.alloc(16);
const pages = listed(io.pool.allocList(16)).reverse();
const plain = new Uint8Array(1 << 20); // copied through the pool, in several windows
const kinds: [IoMemory, Uint8Array[]][] = [
  [run, [run]],
  [{ bvecs: pages.map((page, i) => ({ page, offset: 512 * (i % 4), len: 2048 })) },
    pages.map((page, i) => page.subarray(512 * (i % 4), 512 * (i % 4) + 2048))],
  [plain, [plain]],
];
let requests = 0;
let good = 0;
for (const [memory, views] of kinds) {
  const bytes = views.reduce((sum, view) => sum + view.length, 0);
  const regions = devices.map((bdev, i) => ({ bdev, sector: 8 + i, count: bytes / 512 }));
  for (const sync of [true, false]) {
    for (const view of views) filled(view);
    const expected = new Uint8Array(bytes);
    let at = 0;
    for (const view of views) expected.set(view, (at += view.length) - view.length);
    const wrote = sync ? io.writeSync(regions, memory) : await io.write(regions, memory);
    for (const region of regions) {
      for (const view of views) view.fill(0);
      const read = sync ? io.readSync(region, memory) : await io.read(region, memory);
      const all = new Uint8Array(bytes);
      at = 0;
      for (const view of views) all.set(view, (at += view.length) - view.length);
      requests++;
      if (wrote.errorBits === 0n && read.errorBits === 0n && same(all, expected)) good++;
    }
  }
}
// More than the ring holds, at once.
const many = Array.from({ length: 64 }, () => filled(io.pool.alloc(1)));
const wrote = await Promise.all(many.map((page, i) => io.write([{ bdev: devices[i % 2]!, sector: 8 * i, count: 8 }], page)));
const expected = many.map((page) => page.slice());
for (const page of many) page.fill(0);
const read = await Promise.all(many.map((page, i) => io.read({ bdev: devices[i % 2]!, sector: 8 * i, count: 8 }, page)));
for (let i = 0; i < many.length; i++) {
  requests++;
  if (wrote[i]!.errorBits === 0n && read[i]!.errorBits === 0n && same(many[i]!, expected[i]!)) good++;
}
for (const device of devices) await device.close();
const features = io.features;
await io.close();
console.log(JSON.stringify({ features, requests, good }));
`;

/** Runs the program with its system calls refused as `inject` says. */
async function refused(inject: readonly string[], wait: "poll" | "sleep" = "poll"): Promise<Traced> {
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  const traced = await runTraced({
    source: SOURCE,
    args: [wait, loop.path],
    trace: SYSTEM_CALLS,
    inject,
    timeout: 30,
  });
  assertEquals(traced.code, 0, traced.code === 137 ? "it was still waiting after 30 s" : traced.stderr);
  return traced;
}

/** How many system calls were refused. */
function injected({ calls }: Traced, name: string): number {
  return calls.filter((call) => call.includes(`${name}(`) && call.includes("(INJECTED)")).length;
}

interface Done {
  readonly features: Record<string, boolean | string>;
  readonly requests: number;
  readonly good: number;
}

function everyByte({ stdout }: Traced): Done["features"] {
  const { features, requests, good } = JSON.parse(stdout) as Done;
  assertEquals(good, requests, "requests that brought every byte");
  assertGreater(requests, 70);
  return features;
}

/** What the kernel of this machine offers. */
let offered: Promise<Done["features"]> | undefined;
const features = () => offered ??= refused([]).then(everyByte);

ringTest("on a kernel that refuses nothing, every feature of its version is in use", async () => {
  const [major = 0, minor = 0] = Deno.osRelease().split(".").map(Number);
  const since = (first: number, second: number) => major > first || (major === first && minor >= second);
  const found = await features();
  if (since(5, 11)) assertEquals([found.plainOpcodes, found.extArg], [true, true]);
  if (since(5, 19)) assertEquals([found.fixedBuffers, found.fixedFiles], [true, true]);
  if (since(6, 1)) {
    assertEquals([found.singleIssuer, found.deferTaskrun, found.coopTaskrun], [true, true, false]);
  }
});

for (const attempts of [1, 2]) {
  for (const wait of ["poll", "sleep"] as const) {
    ringTest(
      `a client works without set-up flags that were refused ${attempts} times (${wait})`,
      async () => {
        const traced = await refused([`io_uring_setup:error=EINVAL:when=1..${attempts}`], wait);
        assertEquals(injected(traced, "io_uring_setup"), attempts);
        const { coopTaskrun, ...found } = everyByte(traced);
        assertEquals({ ...found, coopTaskrun: false }, { ...await features(), ...NO_FLAGS });
        if (attempts === 2) assertEquals(coopTaskrun, false);
        else if ((await features()).deferTaskrun) assertEquals(coopTaskrun, true);
      },
    );
  }
}

/** The places of the set-up's `io_uring_register` calls in their order. */
async function registerCalls(): Promise<string[]> {
  const { calls } = await refused([]);
  return calls.filter((call) => call.includes("io_uring_register(")).map((call) =>
    /IORING_\w+/.exec(call)?.[0] ?? ""
  );
}

const REFUSALS = [
  { call: "IORING_REGISTER_BUFFERS2", lacks: { fixedBuffers: false } },
  { call: "IORING_REGISTER_FILES2", lacks: { fixedFiles: false } },
  { call: "IORING_REGISTER_PROBE", lacks: { plainOpcodes: false } },
];
for (const { call, lacks } of REFUSALS) {
  ringTest(`a client works when ${call} is refused`, async () => {
    const at = (await registerCalls()).indexOf(call) + 1;
    assertGreater(at, 0, `${call} is called`);
    const traced = await refused([`io_uring_register:error=EINVAL:when=${at}`]);
    assertEquals(injected(traced, "io_uring_register"), 1);
    assertEquals(everyByte(traced), { ...await features(), ...lacks });
  });
}

for (const wait of ["poll", "sleep"] as const) {
  ringTest(`with every optional feature refused at once, every byte is right (${wait})`, async () => {
    const from = (await registerCalls()).indexOf("IORING_REGISTER_BUFFERS2") + 1;
    const inject = ["io_uring_setup:error=EINVAL:when=1..2", `io_uring_register:error=EINVAL:when=${from}+1`];
    assertEquals(everyByte(await refused(inject, wait)), {
      ...NO_FLAGS,
      ...{ engine: "io_uring" },
      ...{ fixedBuffers: false, fixedFiles: false, plainOpcodes: false },
      extArg: (await features()).extArg!,
    });
  });
}

// On Linux 5.10 a wait carries no timeout. The features are the bytes from 20 on of what io_uring_setup fills in.
ringTest("without IORING_FEAT_EXT_ARG, while the kernel is busy, every byte is right", async () => {
  const params = "08000000" + "20000000" + "00000000".repeat(3) + "7f000000";
  const inject = [`io_uring_setup:poke_exit=@arg2=${params}`, "io_uring_enter:error=EBUSY:when=2+3"];
  assertEquals(everyByte(await refused(inject)), { ...await features(), extArg: false });
});

for (const error of ["EINTR", "EAGAIN", "EBUSY"]) {
  for (const when of ["1..9", "2+2", "3+5"]) {
    for (const wait of ["poll", "sleep"] as const) {
      ringTest(`io_uring_enter gives ${error} at calls ${when}: every byte is right (${wait})`, async () => {
        const traced = await refused([`io_uring_enter:error=${error}:when=${when}`], wait);
        assertGreater(injected(traced, "io_uring_enter"), 8);
        assertEquals(everyByte(traced), await features());
      });
    }
  }
}

interface Failed {
  readonly typed: boolean;
  readonly name: string;
  readonly code: string;
  readonly syscall: string;
  readonly message: string;
}

/** The error that the client gives when its set-up is refused. */
async function failure(inject: string): Promise<Failed> {
  const { stdout } = await refused([inject]);
  const failed = JSON.parse(stdout) as Failed;
  assert(failed.typed, `${failed.name}: ${failed.message}`);
  assertEquals(failed.name, "SystemError");
  return failed;
}

const FORBIDDEN = [
  { error: "EPERM", says: ["kernel.io_uring_disabled", "sysctl kernel.io_uring_disabled=0", "seccomp"] },
  { error: "EACCES", says: ["security module", "SELinux", "seccomp"] },
  { error: "ENOSYS", says: ["no io_uring", "Linux 5.10", "CONFIG_IO_URING", "seccomp"] },
  { error: "ENOMEM", says: ["RLIMIT_MEMLOCK", "ulimit -l", "ring of 8 entries"] },
  { error: "EINVAL", says: ["ring of 8 entries"] },
];
for (const { error, says } of FORBIDDEN) {
  ringTest(`${error} at set-up is an error that names the cause and the remedy`, async () => {
    const { code, syscall, message } = await failure(`io_uring_setup:error=${error}:when=1+1`);
    assertEquals([code, syscall], [error, "io_uring_setup"]);
    for (const part of says) assertStringIncludes(message, part);
  });
}

ringTest("ENOMEM for the pool's pages is no error: the client works, and its features say why", async () => {
  const at = (await registerCalls()).lastIndexOf("IORING_REGISTER_PROBE") + 2;
  const source = `
    import { BlockDevice, IoClient } from "./mod.ts";
    await using io = new IoClient({ pages: 256 });
    await using bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
    const { ok } = await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
    console.log(ok, io.features.fixedBuffers, io.features.fixedBuffersRefused);`;
  const { code, stdout, stderr } = await runTraced({
    source,
    trace: ["io_uring_register"],
    inject: [`io_uring_register:error=ENOMEM:when=${at}+1`],
  });
  assertEquals(code, 0, stderr);
  assertStringIncludes(stdout, "true false Locked memory is limited by RLIMIT_MEMLOCK");
});

ringTest("a ring that takes no eventfd is an error that says so", async () => {
  const { code, syscall, message } = await failure("io_uring_register:error=EBUSY:when=1");
  assertEquals([code, syscall], ["EBUSY", "io_uring_register"]);
  assertMatch(message, /eventfd/);
});

// Prints what becomes of a request in flight, of the next one, and of the close, once the ring fails.
const FAILING = `
import { BlockDevice, IoClient, SystemError } from "./mod.ts";
const io = new IoClient({ pages: 8, queueDepth: 8 });
const file = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
const page = io.pool.alloc(1).fill(7);
const region = { bdev: file, sector: 0, count: 8 };
const name = (error: unknown) => error instanceof SystemError ? error.syscall + " " + error.code : String(error);
const sync = Deno.args[0] === "sync";
const attempt = async () => {
  try {
    const { errorBits } = sync ? io.writeSync([region], page) : await io.write([region], page);
    return "bits " + errorBits;
  } catch (error) {
    return name(error);
  }
};
const results: string[] = [];
for (let i = 0; i < 200 && !results.at(-1)?.startsWith("io_uring"); i++) results.push(await attempt());
let called = 0;
try {
  io.notify?.(1, [region], page, () => called++, null);
} catch (error) {
  results.push(name(error));
}
results.push(await attempt());
await file.close();
await io.close();
console.log(JSON.stringify({ called, good: results.indexOf("bits 0"), last: results.slice(-3) }));
`;

for (const way of ["sync", "async"]) {
  ringTest(
    `a ring that fails for good fails waiting and later requests, and can be closed (${way})`,
    async () => {
      const { code, stdout, stderr } = await runTraced({
        source: FAILING,
        args: [way],
        trace: SYSTEM_CALLS,
        inject: ["io_uring_enter:error=EBADF:when=9+1"],
        timeout: 20,
      });
      assertEquals(code, 0, stderr || "it was still waiting after 20 s");
      const failed = "io_uring_enter EBADF";
      assertEquals(JSON.parse(stdout), { called: 0, good: 0, last: [failed, failed, failed] });
    },
  );
}
