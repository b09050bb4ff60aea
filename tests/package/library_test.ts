/** Loading the libraries, what is said when that fails, and Deno's permissions. */

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { assertPlatform } from "../../ffi/library.ts";
import { exists, succeed } from "../support/commands.ts";
import { ringTest } from "../support/engine.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { runTraced } from "../support/strace.ts";

const INSTALL = {
  "Debian, Ubuntu": "apt-get install liburing2",
  Fedora: "dnf install liburing",
  Arch: "pacman -S liburing",
  Alpine: "apk add liburing",
};

// Makes a client and prints the liburing in use, or the error.
const OPEN = `
import { IoClient } from "./mod.ts";

try {
  const io = new IoClient({ pages: 4, engine: "io_uring" });
  const used = new Set(Deno.readTextFileSync("/proc/self/maps").match(/\\S*uring\\S*\\.so\\S*/g));
  console.log("uses " + [...used].join(" "));
  await io.close();
} catch (error) {
  console.log((error as Error).name + ": " + (error as Error).message);
}
`;

/** The file of the liburing that the system's loader finds. */
async function systemLiburing(): Promise<string> {
  const { stdout } = await runProgram({ source: OPEN });
  assertMatch(stdout, /^uses \S+\n$/);
  return Deno.realPathSync(stdout.trim().slice("uses ".length));
}

/** Compiles a shared library that has one function, and not one of those that are needed. */
async function strangeLibrary(folder: Scratch, name: string): Promise<string> {
  Deno.writeTextFileSync(folder.join("strange.c"), "int io_uring_queue_init(void) { return 0; }\n");
  await succeed("gcc", "-shared", "-fPIC", "-o", folder.join(name), folder.join("strange.c"));
  return folder.join(name);
}

ringTest("LIBURING_PATH is tried before the system's liburing", async () => {
  await using folder = await Scratch.create();
  const path = folder.join("my-uring.so");
  Deno.copyFileSync(await systemLiburing(), path);
  const { stdout } = await runProgram({ source: OPEN, env: { LIBURING_PATH: path } });
  assertEquals(stdout, `uses ${path}\n`);
});

ringTest("a LIBURING_PATH that does not load leaves the system's liburing", async () => {
  await using folder = await Scratch.create();
  const system = await systemLiburing();
  for (const path of [folder.join("missing.so"), await strangeLibrary(folder, "strange.so")]) {
    const { stdout } = await runProgram({ source: OPEN, env: { LIBURING_PATH: path } });
    const used = stdout.trim().split(" ").map((name) =>
      name.startsWith("/") ? Deno.realPathSync(name) : name
    );
    assert(used.includes(system), stdout);
  }
});

ringTest("LIBURING_PATH is not read without --allow-env, and no permission prompt is shown", async () => {
  await using folder = await Scratch.create();
  const path = folder.join("my-uring.so");
  Deno.copyFileSync(await systemLiburing(), path);
  const source =
    `import { IoClient } from "./mod.ts"; await new IoClient({ pages: 4 }).close(); console.log("done");`;
  for (const [grant, taken] of [["--allow-env=OTHER", false], ["--allow-env=LIBURING_PATH", true]] as const) {
    const { stdout, stderr, calls } = await runTraced({
      source,
      env: { LIBURING_PATH: path },
      permissions: ["--allow-ffi", grant],
      trace: ["openat"],
    });
    assertEquals(stdout, "done\n", stderr);
    assertEquals(calls.some((call) => call.includes(path)), taken, grant);
  }
});

ringTest(
  "when no liburing loads, the error names each attempt, its failure and the package to install",
  async () => {
    await using folder = await Scratch.create();
    // The loader looks here first: one name is no library at all, the other lacks the functions.
    Deno.writeTextFileSync(folder.join("liburing.so.2"), "no library");
    await strangeLibrary(folder, "liburing.so");
    const missing = folder.join("missing.so");
    const { stdout } = await runProgram({
      source: OPEN,
      env: { LIBURING_PATH: missing, LD_LIBRARY_PATH: folder.path },
    });
    const [first, ...lines] = stdout.trimEnd().split("\n");
    assertEquals(first, "Error: none of these libraries could be opened:");
    assertMatch(lines[0]!, new RegExp(`^  ${missing}: .*No such file`));
    assertMatch(lines[1]!, /^ {2}liburing\.so\.2: .*(too short|invalid ELF header|file format)/);
    assertMatch(lines[2]!, /^ {2}liburing\.so: .*io_uring_\w+/);
    const advice = lines.slice(3).join("\n");
    assertMatch(advice, /^Install liburing 2\.3 or later, or name its file in LIBURING_PATH/);
    for (const [system, command] of Object.entries(INSTALL)) {
      assertMatch(advice, new RegExp(`^ *${system}: +${command}$`, "m"));
    }
  },
);

ringTest("when no liburing loads and LIBURING_PATH may not be read, the error says so", async () => {
  await using folder = await Scratch.create();
  for (const name of ["liburing.so.2", "liburing.so"]) {
    Deno.writeTextFileSync(folder.join(name), "no library");
  }
  const source = `
import { IoClient } from "./mod.ts";
try {
  new IoClient({ engine: "io_uring" });
} catch (error) {
  console.log(error instanceof Deno.errors.NotCapable, (error as Error).message);
}`;
  const env = { LIBURING_PATH: folder.join("missing.so"), LD_LIBRARY_PATH: folder.path };
  const unread = "LIBURING_PATH could not be read without --allow-env=LIBURING_PATH";
  for (
    const [permissions, says] of [[["--allow-ffi"], true], [["--allow-ffi", "--allow-env"], false]] as const
  ) {
    const { stdout, stderr } = await runProgram({ source, env, permissions });
    assertMatch(stdout, /^false none of these libraries/, stderr);
    assertEquals([stdout.includes(unread), stdout.includes("missing.so")], [says, !says]);
  }
});

ringTest("a client that could not be made for want of liburing leaves no memory behind", async () => {
  await using folder = await Scratch.create();
  for (const name of ["liburing.so.2", "liburing.so"]) {
    Deno.writeTextFileSync(folder.join(name), "no library");
  }
  const source = `
import { IoClient } from "./mod.ts";
const kibibytes = () => Number(/VmSize:\\s+(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]);
let thrown = 0;
const fail = (times: number) => {
  for (let i = 0; i < times; i++) {
    try {
      new IoClient({ engine: "io_uring" });
    } catch {
      thrown++;
    }
  }
};
fail(1000);
const before = kibibytes();
fail(1000);
console.log(thrown, kibibytes() - before);
`;
  const { stdout, stderr } = await runProgram({ source, env: { LD_LIBRARY_PATH: folder.path } });
  const [thrown, grown] = stdout.trim().split(" ").map(Number);
  assertEquals(thrown, 2000, stderr);
  assert(grown! < 32 << 10, `1000 clients that were not made left ${grown} KiB mapped`);
});

Deno.test("assertPlatform throws on other systems", () => {
  const refusal = (os: string, arch: string) =>
    assertThrows(() => assertPlatform({ os, arch }), Error).message;
  for (const os of ["darwin", "windows", "freebsd", "android"]) {
    assertStringIncludes(refusal(os, "x86_64"), `needs Linux (io_uring); this is ${os}`);
  }
  for (const arch of ["x86", "arm", "riscv32"]) {
    assertStringIncludes(refusal("linux", arch), `needs a 64-bit system, x86_64 or aarch64; this is ${arch}`);
  }
  for (const arch of ["x86_64", "aarch64"]) assertPlatform({ os: "linux", arch });
  assertPlatform();
});

// Each entry point throws on another system, at its first use.
Deno.test("on another system every first use throws, and the import does not", async () => {
  const source = `
Object.defineProperty(Deno, "build", { value: { ...Deno.build, os: "darwin" } });
const { BlockDevice, IoClient, dmIoGet, pageSize } = await import("./mod.ts");
const uses = [() => new IoClient(), () => BlockDevice.open("a.img", { write: true, create: 512 }), () => dmIoGet(1), pageSize];
for (const use of uses) {
  try {
    console.log("done " + use());
  } catch (error) {
    console.log((error as Error).message);
  }
}
console.log([...Deno.readDirSync(".")].some(({ name }) => name === "a.img"));
`;
  const { stdout, stderr } = await runProgram({ source });
  const line = "dmio needs Linux (io_uring); this is darwin";
  assertEquals(stdout.trim().split("\n"), [line, line, line, line, "false"], stderr);
});

ringTest("mod.ts is imported without any permission, and opens nothing", async () => {
  const source = `import * as dmio from "./mod.ts"; console.log(typeof dmio.IoClient, dmio.MAX_REGIONS);`;
  const trace = ["openat", "io_uring_setup", "eventfd2"];
  const opens = (calls: readonly string[]) =>
    calls.filter((it) => /liburing[^"]*\.so|io_uring_setup\(/.test(it));
  const imported = await runTraced({ source, permissions: [], trace });
  assertEquals([imported.stdout, imported.code], ["function 64\n", 0], imported.stderr);
  assertEquals(opens(imported.calls), []);
  const used = await runTraced({ source: OPEN, trace });
  assert(opens(used.calls).length >= 2, "the first use opens what the import did not");
});

const RIGHTS = `
import { BlockDevice, IoClient } from "./mod.ts";
const [image, fresh] = Deno.args as [string, string];
const attempt = (act: () => unknown): string => {
  try {
    act();
    return "ok";
  } catch (error) {
    return (error as Error).name;
  }
};
const open = (options: object) => attempt(() => void BlockDevice.open(image, options).close());
console.log(JSON.stringify({
  client: attempt(() => void new IoClient({ pages: 1 }).close()),
  read: open({}),
  write: open({ write: true }),
  create: attempt(() => void BlockDevice.open(fresh, { write: true, create: 512 }).close()),
}));
`;

const ACTS = ["client", "read", "write", "create"];
const GRANTS = [
  { given: [], refused: ["read", "write", "create"] },
  { given: ["--allow-read", "--allow-write"], refused: ["read", "write", "create"] },
  { given: ["--allow-ffi"], refused: ["read", "write", "create"] },
  { given: ["--allow-ffi", "--allow-read"], refused: ["write", "create"] },
  { given: ["--allow-ffi", "--allow-write"], refused: ["read", "write", "create"] },
  { given: ["--allow-ffi", "--allow-read", "--allow-write"], refused: [] },
  { given: ["--allow-ffi", "--allow-read=IMAGE", "--allow-write=IMAGE"], refused: ["create"] },
  { given: ["--allow-ffi", "--allow-read", "--allow-write", "--deny-write=IMAGE"], refused: ["write"] },
  {
    given: ["--allow-ffi", "--allow-read", "--allow-write", "--deny-read=IMAGE"],
    refused: ["read", "write"],
  },
];
for (const { given, refused } of GRANTS) {
  Deno.test(`with ${given.join(" ") || "no permission"}, ${refused.join(", ") || "nothing"} is refused`, async () => {
    // Not a folder in /dev: there Deno wants --allow-all.
    const folder = Deno.makeTempDirSync({ dir: "/tmp", prefix: "dmio-" });
    try {
      const [image, fresh] = [`${folder}/device.img`, `${folder}/fresh.img`];
      Deno.writeFileSync(image, new Uint8Array(4096));
      const permissions = given.map((it) => it.replace("IMAGE", image));
      const { stdout, stderr } = await runProgram({ source: RIGHTS, args: [image, fresh], permissions });
      assertEquals(
        JSON.parse(stdout || JSON.stringify(stderr)),
        Object.fromEntries(ACTS.map((it) => [it, refused.includes(it) ? "NotCapable" : "ok"])),
      );
      assertEquals(exists(fresh), !refused.includes("create"), "what was refused left no file behind");
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  });
}
