import { assert, assertEquals, assertGreater, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { runAsNobody } from "./as_nobody.ts";
import { expectOnlyChanged, expectSame, fillPattern, pattern } from "./bytes.ts";
import { succeed } from "./commands.ts";
import { directRead, directWrite } from "./dd.ts";
import { LoopDevice, loopDevices } from "./loop.ts";
import { processState } from "./process_state.ts";
import { runProgram } from "./program.ts";
import { Scratch } from "./scratch.ts";
import { runTraced } from "./strace.ts";
import { traces } from "./traces.ts";

const EIO = "Input/output error";
const ENOSPC = "No space left on device";

Deno.test("a scratch folder is gone after its scope, and after a throw in it", async () => {
  let path = "";
  await assertRejects(
    async () => {
      await using scratch = await Scratch.create({ tmpfs: 1 << 20 });
      path = scratch.path;
      Deno.writeTextFileSync(scratch.join("left"), "here");
      assertEquals((await traces(path)).length, 2);
      throw new Error("in the scope");
    },
    Error,
    "in the scope",
  );
  assertEquals(await traces(path), []);
});

Deno.test("a scratch folder with a size is full when its bytes are used", async () => {
  await using scratch = await Scratch.create({ tmpfs: 1 << 20 });
  const file = scratch.join("file");
  Deno.writeFileSync(file, new Uint8Array(0));
  assertEquals(await directWrite(file, 0, pattern(1 << 19, 1)), "");
  assertEquals(await directWrite(file, 1 << 20, pattern(4096, 1)), "");
  assertEquals(await directWrite(file, 1 << 19, pattern(1 << 20, 1)), ENOSPC);
});

Deno.test("a direct write to a loop device changes exactly its bytes of the backing file", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  loop.fill(pattern(1 << 20, 1));
  const before = loop.bytes();
  assertEquals(await directWrite(loop.path, 4096, pattern(8192, 2)), "");
  expectSame(loop.bytes(4096, 8192), pattern(8192, 2));
  expectOnlyChanged(before, loop.bytes(), [{ offset: 4096, length: 8192 }]);
  await using scratch = await Scratch.create();
  Deno.writeTextFileSync(scratch.join("out"), "");
  assertEquals(await directRead(loop.path, 512, 65536, scratch.join("out")), "");
  expectSame(Deno.readFileSync(scratch.join("out")), loop.bytes(512, 65536));
});

Deno.test("a buffered write to a loop device is in the backing file after a flush", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  using file = Deno.openSync(loop.path, { read: true, write: true });
  file.writeSync(pattern(4096, 3));
  await loop.flush();
  expectSame(loop.bytes(0, 4096), pattern(4096, 3));
  loop.fill(pattern(4096, 4));
  await loop.flush();
  const back = new Uint8Array(4096);
  file.seekSync(0, Deno.SeekMode.Start);
  file.readSync(back);
  expectSame(back, pattern(4096, 4));
});

Deno.test("a loop device has the requested block size, mode and direct I/O", async () => {
  const fact = (path: string, name: string) =>
    Deno.readTextFileSync(path.replace("/dev", "/sys/block") + `/${name}`).trim();
  for (const sectorSize of [512, 4096] as const) {
    for (const directIo of [true, false]) {
      await using loop = await LoopDevice.create({ bytes: 1 << 20, sectorSize, directIo });
      assertEquals(fact(loop.path, "queue/logical_block_size"), `${sectorSize}`);
      assertEquals(fact(loop.path, "loop/dio"), directIo ? "1" : "0");
      assertEquals(await directRead(loop.path, 0, 512), sectorSize === 512 ? "" : "Invalid argument");
    }
  }
  await using loop = await LoopDevice.create({ bytes: 1 << 20, readOnly: true });
  assertEquals(fact(loop.path, "ro"), "1");
  assertMatch(await directWrite(loop.path, 0, pattern(4096, 1)), /not permitted|Read-only/);
});

Deno.test("a loop device whose backing file was cut keeps its size, and reads past the cut fail", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  loop.truncate(65536);
  assertEquals(await directRead(loop.path, 61440, 4096), "");
  assertEquals(await directRead(loop.path, 65536, 4096), EIO);
  assertEquals(await succeed("blockdev", "--getsize64", loop.path), `${1 << 20}`);
});

Deno.test("sixty-four loop devices are made at once and all of them end", async () => {
  await using scratch = await Scratch.create();
  {
    await using loops = await loopDevices(64, { bytes: 65536, in: scratch.path });
    const { devices } = loops;
    assertEquals(new Set(devices.map(({ path }) => path)).size, 64);
    devices.forEach((loop, i) => loop.fill(pattern(4096, i)));
    assertEquals(await directWrite(devices[63]?.path ?? "", 4096, pattern(4096, 99)), "");
    expectSame(devices[63]?.bytes(4096, 4096) ?? new Uint8Array(0), pattern(4096, 99));
    devices.forEach((loop, i) => expectSame(loop.bytes(0, 4096), pattern(4096, i), loop.path));
  }
  assertEquals(await succeed("sh", "-c", `losetup -a | grep -c ${scratch.path} || true`), "0");
});

Deno.test("patterns repeat by seed, differ between seeds and fit any alignment", () => {
  expectSame(pattern(10_001, 7), pattern(10_001, 7));
  assertThrows(() => expectSame(pattern(4096, 7), pattern(4096, 8)));
  expectSame(fillPattern(new Uint8Array(10_010).subarray(3, 3 + 10_001), 7), pattern(10_001, 7));
  const sectors = new Set(
    Array.from({ length: 64 }, (_, i) => pattern(32768, 0).subarray(i * 512, i * 512 + 512).join()),
  );
  assertEquals(sectors.size, 64);
});

Deno.test("a comparison names the first byte that differs", () => {
  const changed = pattern(1 << 20, 1);
  changed[1000] = ~(changed[1000] ?? 0);
  changed[5000] = ~(changed[5000] ?? 0);
  assertThrows(
    () => expectSame(changed, pattern(1 << 20, 1), "disk"),
    Error,
    "disk: byte 1000 (sector 1, 488 in it)",
  );
  const ranges = [{ offset: 4096, length: 4096 }, { offset: 512, length: 512 }];
  expectOnlyChanged(pattern(1 << 20, 1), changed, ranges);
  for (const offset of [1001, 999 - 512]) {
    const wrong = [{ offset, length: 512 }, { offset: 5000, length: 1 }];
    assertThrows(() => expectOnlyChanged(pattern(1 << 20, 1), changed, wrong), Error, "byte 1000");
  }
  assertThrows(() => expectSame(new Uint8Array(3), new Uint8Array(4)), Error, "3 bytes, expected 4");
});

Deno.test("the state of the process counts its open files and its memory", () => {
  const before = processState();
  using _file = Deno.openSync("/dev/null");
  const after = processState();
  assertEquals(after.openFiles, before.openFiles + 1);
  assertGreater(after.resident, 1 << 20);
  assert(after.locked >= 0 && after.pinned >= 0 && after.threads > 0);
});

Deno.test("a program runs as nobody, with its limits and without capabilities", async () => {
  const { code, stdout, stderr } = await runAsNobody({
    memlock: 65536,
    limits: ["--nofile=256:256"],
    args: ["one"],
    source: `
      const status = Deno.readTextFileSync("/proc/self/status");
      const limits = Deno.readTextFileSync("/proc/self/limits");
      Deno.writeTextFileSync("mine", "");
      let refused = "";
      try { Deno.writeTextFileSync("/etc/dmio-test", ""); } catch (error) { refused = error.name; }
      console.log(JSON.stringify({
        args: Deno.args, root: Deno.uid() === 0, refused,
        capabilities: /CapEff:\\s*(\\w+)/.exec(status)[1],
        memlock: /Max locked memory +(\\d+)/.exec(limits)[1],
        nofile: /Max open files +(\\d+)/.exec(limits)[1],
      }));`,
  });
  assertEquals([code, stderr], [0, ""]);
  assertEquals(JSON.parse(stdout), {
    args: ["one"],
    root: false,
    refused: "PermissionDenied",
    capabilities: "0000000000000000",
    memlock: "65536",
    nofile: "256",
  });
});

Deno.test("a program's system calls fail as requested of strace, and are listed", async () => {
  const { code, stdout, calls } = await runTraced({
    trace: ["symlink", "symlinkat"],
    inject: ["symlink,symlinkat:error=ENOSPC:when=2"],
    source: `
      Deno.symlinkSync("a", "b");
      try { Deno.symlinkSync("a", "c"); } catch (error) { console.log(error.message); }
      Deno.exit(7);`,
  });
  assertEquals(code, 7);
  assertMatch(stdout, /No space left on device/);
  assertEquals(calls.length, 2);
  assertMatch(calls[1] ?? "", /ENOSPC.*INJECTED/);
});

Deno.test("a program that does not end is killed after its timeout, under strace as well", async () => {
  const source = "setInterval(() => {}, 1000);";
  assertEquals((await runProgram({ source, timeout: 1 })).code, 137);
  assertEquals((await runTraced({ source, timeout: 1, trace: ["symlink"] })).code, 137);
});
