/** Where io_uring is refused or liburing is missing: the client works by threads, and says why. */

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { IoClient } from "../../mod.ts";
import { LoopDevice } from "../support/loop.ts";
import { programFolder, runIn, runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { runTraced } from "../support/strace.ts";

const MIB = 1 << 20;
const URING = ["io_uring_setup", "io_uring_register", "io_uring_enter"];

// Prints the features, and how many operations did what they say, of how many. Its arguments are a direct device, and "plain" for writes
// without `fua`, which are not tried again.
const WORK = `
import { BlockDevice, IoClient } from "./mod.ts";

await using io = new IoClient({ pages: 600, queueDepth: 16 });
const { features } = io;
await using direct = BlockDevice.open(Deno.args[0]!, { write: true, direct: true });
await using buffered = BlockDevice.open("buffered.img", { write: true, create: 8 << 20 });
let done = 0;
let good = 0;
let seed = 1;
const fill = (data: Uint8Array) => data.forEach((_, i) => data[i] = (seed = Math.imul(seed, 69069) + 1) >>> 24);
const expect = (ok: boolean) => {
  done++;
  if (ok) good++;
};
const run = io.pool.alloc(256); // two SQEs
const list = io.pool.allocList(16);
const plain = new Uint8Array(1 << 20);
for (const memory of [run, { pageList: list }, plain]) {
  const views = memory instanceof Uint8Array ? [memory] : [list.page, list.next!.page];
  const count = memory instanceof Uint8Array ? memory.length / 512 : 16;
  const regions = [{ bdev: direct, sector: 8, count }, { bdev: buffered, sector: 9, count }];
  for (const sync of [true, false]) {
    for (const options of [{}, { fua: Deno.args[1] !== "plain", preflush: true }, { ioprio: 0x4007 }]) {
      views.forEach(fill);
      const expected = views.map((view) => view.slice());
      const wrote = sync ? io.writeSync(regions, memory, options) : await io.write(regions, memory, options);
      expect(wrote.errorBits === 0n);
      for (const region of regions) {
        views.forEach((view) => view.fill(0));
        const read = sync ? io.readSync(region, memory) : await io.read(region, memory);
        expect(read.errorBits === 0n && views.every((view, k) => view.every((byte, i) => byte === expected[k]![i])));
      }
    }
  }
}
// Many at once, more than threads; some of the reads find no page in the cache.
const pages = Array.from({ length: 64 }, () => io.pool.alloc(1));
for (const bdev of [direct, buffered]) {
  pages.forEach(fill);
  const expected = pages.map((page) => page.slice());
  const wrote = await Promise.all(pages.map((page, i) => io.write([{ bdev, sector: 16 * i, count: 8 }], page)));
  pages.forEach((page) => page.fill(0));
  const read = await Promise.all(pages.map((page, i) => io.read({ bdev, sector: 16 * i, count: 8 }, page)));
  pages.forEach((page, i) => expect(wrote[i]!.ok && read[i]!.ok && page.every((byte, k) => byte === expected[i]![k])));
}
const regions = [{ bdev: direct, sector: 0, count: 64 }, { bdev: buffered, sector: 0, count: 64 }];
for (const operation of ["flush", "writeZeroes", "discard"] as const) {
  expect((await io[operation](regions)).errorBits === 0n);
  expect(io[\`\${operation}Sync\`](regions).errorBits === 0n);
}
console.log(JSON.stringify({ features, done, good }));
`;

interface Worked {
  readonly features: Record<string, unknown> & { readonly ioUringRefused: string };
  readonly done: number;
  readonly good: number;
}

/** Runs the work with system calls refused, and expects that all of it is done. */
async function works(
  inject: readonly string[],
  trace: readonly string[] = URING,
  ...args: string[]
): Promise<Worked["features"]> {
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  const { code, stdout, stderr } = await runTraced({
    source: WORK,
    args: [loop.path, ...args],
    trace,
    inject,
    timeout: 40,
  });
  assertEquals(code, 0, code === 137 ? "it was still at work after 40 s" : stderr);
  const { features, done, good } = JSON.parse(stdout) as Worked;
  assertEquals(good, done, "operations that did what they say");
  return features;
}

const REFUSALS = [
  {
    what: "EPERM of io_uring_setup",
    inject: ["io_uring_setup:error=EPERM"],
    says: /^io_uring_setup: EPERM.*Docker/,
  },
  {
    what: "EACCES of io_uring_setup",
    inject: ["io_uring_setup:error=EACCES"],
    says: /^io_uring_setup: EACCES/,
  },
  {
    what: "ENOSYS of io_uring_setup",
    inject: ["io_uring_setup:error=ENOSYS"],
    says: /^io_uring_setup: ENOSYS/,
  },
  {
    what: "ENOMEM of io_uring_setup",
    inject: ["io_uring_setup:error=ENOMEM"],
    says: /^io_uring_setup: ENOMEM/,
  },
  {
    what: "Docker's default seccomp profile",
    inject: URING.map((call) => `${call}:error=EPERM`),
    says: /^io_uring_setup: EPERM/,
  },
  {
    what: "EPERM of io_uring_register",
    inject: ["io_uring_register:error=EPERM"],
    says: /^io_uring_register: EPERM/,
  },
  ...["EPERM", "EACCES", "ENOSYS", "ENOMEM"].map((error) => ({
    what: `${error} of io_uring_enter alone`,
    inject: [`io_uring_enter:error=${error}`],
    says: new RegExp(`^io_uring_enter: ${error}`),
  })),
];
for (const { what, inject, says } of REFUSALS) {
  Deno.test(`a client works by threads after ${what}, and its features say why`, async () => {
    const features = await works(inject);
    assertEquals([features.engine, features.kernelAio, features.fixedBuffers], ["threads", true, false]);
    assertMatch(features.ioUringRefused, says);
  });
}

Deno.test("a client works by threads alone where io_setup is refused too", async () => {
  const inject = ["io_uring_setup:error=EPERM", "io_setup:error=ENOSYS"];
  const features = await works(inject, ["io_uring_setup", "io_setup"]);
  assertEquals([features.engine, features.kernelAio], ["threads", false]);
});

Deno.test("a client works on this thread where the system allows it no thread", async () => {
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  await using folder = await programFolder(WORK);
  const edit = (name: string, from: string, to: string) => {
    const text = Deno.readTextFileSync(folder.join(name));
    assertStringIncludes(text, from);
    Deno.writeTextFileSync(folder.join(name), text.replace(from, to));
  };
  edit(
    "ffi/pthread.ts",
    "return functions.pthread_create(new Uint8Array(8), attr, code, argument);",
    "return 11;",
  );
  edit("program.ts", "queueDepth: 16", 'queueDepth: 16, engine: "threads"');
  const { code, stdout, stderr } = await runIn(folder, { source: WORK, args: [loop.path, "--no-check"] });
  assertEquals(code, 0, stderr);
  const { done, good } = JSON.parse(stdout) as Worked;
  assertEquals(good, done);
});

for (const call of ["io_submit", "preadv2", "pwritev2"]) {
  Deno.test(`EAGAIN, EINTR and EOPNOTSUPP of ${call} now and then cost no byte`, async () => {
    for (const error of call === "io_submit" ? ["EAGAIN", "EOPNOTSUPP", "EINVAL"] : ["EAGAIN", "EINTR"]) {
      const inject = ["io_uring_setup:error=EPERM", `${call}:error=${error}:when=2+3`];
      await works(inject, ["io_uring_setup", call], "plain");
    }
  });
}

Deno.test("a client works by threads without liburing, and its features say what to install", async () => {
  await using folder = await Scratch.create();
  for (const name of ["liburing.so.2", "liburing.so"]) {
    Deno.writeTextFileSync(folder.join(name), "no library");
  }
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  const env = { LD_LIBRARY_PATH: folder.path };
  const { code, stdout, stderr } = await runProgram({ source: WORK, args: [loop.path], env });
  assertEquals(code, 0, stderr);
  const { features, done, good } = JSON.parse(stdout) as Worked;
  assertEquals([features.engine, good], ["threads", done]);
  assertMatch(
    features.ioUringRefused,
    /^none of these libraries could be opened[^]*apt-get install liburing2/,
  );
});

Deno.test("the engine is chosen by its name, and no other name is taken", async () => {
  for (const engine of ["auto", "threads", "io_uring"] as const) {
    await using io = new IoClient({ pages: 1, engine });
    if (engine !== "auto") assertEquals(io.features.engine, engine);
    if (engine === "threads") assertStringIncludes(io.features.ioUringRefused ?? "", "threads");
    if (engine === "io_uring") assert(!("ioUringRefused" in io.features));
  }
  for (const engine of ["uring", "", null, 1, {}]) {
    assertThrows(() => new IoClient({ engine: engine as "auto" }), TypeError, "options.engine is");
  }
});

Deno.test("clients that come and go by threads leave no descriptor, context or mapping behind", async () => {
  const source = `
import { BlockDevice, IoClient } from "./mod.ts";
// Deno opens sockets of its own.
const isSocket = (fd: string) => {
  try {
    return Deno.readLinkSync("/proc/self/fd/" + fd).startsWith("socket:");
  } catch {
    return true;
  }
};
const held = () => [
  [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => !isSocket(name)).length,
  Number(Deno.readTextFileSync("/proc/sys/fs/aio-nr")) > 20_000,
];
const use = async (times: number) => {
  for (let i = 0; i < times; i++) {
    await using io = new IoClient({ pages: 8, engine: "threads" });
    await using bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
    await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1), { fua: true });
  }
};
await use(4);
const before = held();
const memory = () => Number(/VmSize:\\s+(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]);
const kibibytes = memory();
await use(100);
await new Promise((resolve) => setTimeout(resolve, 300));
console.log(JSON.stringify([before, held(), memory() - kibibytes < 65_536]));
`;
  const { stdout, stderr } = await runProgram({ source });
  const [before, after, small] = JSON.parse(stdout || JSON.stringify(stderr));
  assertEquals([after, small], [before, true]);
});

Deno.test("the demo works where io_uring is refused, and says in one line that it does without", async () => {
  const source = Deno.readTextFileSync(new URL("../../examples/mirror.ts", import.meta.url)).replaceAll(
    "../mod.ts",
    "./mod.ts",
  );
  const trace = { source, trace: ["io_uring_setup"], inject: ["io_uring_setup:error=EPERM"], timeout: 60 };
  const { code, stdout, stderr } = await runTraced(trace);
  assertEquals(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) => line.includes("io_uring"));
  assertEquals(lines.length, 1, stdout);
  assertMatch(lines[0]!, /^without io_uring.*io_uring_setup: EPERM/);
  const free = await runProgram({ source });
  assert(!free.stdout.includes("without io_uring"), free.stdout);
});
