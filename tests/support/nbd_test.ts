import { assertEquals, assertGreater, assertLess, assertMatch, assertRejects } from "@std/assert";
import { expectSame, pattern } from "./bytes.ts";
import { exists, run, settlesWithin, until } from "./commands.ts";
import { directRead, directWrite } from "./dd.ts";
import { NbdDevice, type NbdError } from "./nbd.ts";
import { runProgram } from "./program.ts";
import { Scratch } from "./scratch.ts";
import { folderBehind, traces } from "./traces.ts";

const EIO = "Input/output error";
const ENOSPC = "No space left on device";

const MESSAGES: Record<NbdError, string> = {
  EIO,
  ENOMEM: "Cannot allocate memory",
  ENOSPC,
  EINVAL: "Invalid argument",
  EPERM: "Operation not permitted",
  ESHUTDOWN: "Cannot send after transport endpoint shutdown",
};

for (const [error, message] of Object.entries(MESSAGES) as [NbdError, string][]) {
  const loop = !["EPERM", "ESHUTDOWN"].includes(error);
  Deno.test(`an nbd ${loop ? "device" : "file"} gives ${error} until it is healed`, async () => {
    await using nbd = await NbdDevice.create({ error, loop });
    assertEquals(await directWrite(nbd.path, 4096, pattern(4096, 1)), "");
    nbd.fail();
    assertEquals(await directWrite(nbd.path, 4096, pattern(4096, 2)), message);
    assertEquals(await directRead(nbd.path, 4096, 4096), message);
    nbd.heal();
    assertEquals(await directRead(nbd.path, 4096, 4096), "");
  });
}

Deno.test("an nbd device that fails writes still reads", async () => {
  await using nbd = await NbdDevice.create({ failing: "writes" });
  nbd.fail();
  assertEquals(await directWrite(nbd.path, 0, pattern(4096, 1)), EIO);
  assertEquals(await directRead(nbd.path, 0, 4096), "");
});

Deno.test("an nbd device fails exactly the requests that touch a bad range", async () => {
  await using nbd = await NbdDevice.create({ bytes: 1 << 20, badRanges: [{ offset: 8192, length: 512 }] });
  assertEquals(await directWrite(nbd.path, 4096, pattern(4096, 1)), "");
  assertEquals(await directWrite(nbd.path, 8704, pattern(512, 1)), "");
  assertEquals(await directWrite(nbd.path, 8192, pattern(512, 1)), EIO);
  assertEquals(await directWrite(nbd.path, 0, pattern(65536, 1)), EIO);
  assertEquals(await directRead(nbd.path, 7680, 512), "");
  assertEquals(await directRead(nbd.path, 7680, 1024), EIO);
  nbd.setBadRanges([{ offset: 0, length: 512, error: "ENOSPC" }, { offset: 65536, length: 1 }]);
  assertEquals(await directRead(nbd.path, 0, 4096), ENOSPC);
  assertEquals(await directRead(nbd.path, 65536, 512), EIO);
  await using scratch = await Scratch.create();
  Deno.writeTextFileSync(scratch.join("out"), "");
  assertEquals(await directRead(nbd.path, 4096, 4096, scratch.join("out")), "");
  expectSame(Deno.readFileSync(scratch.join("out")), pattern(4096, 1));
});

Deno.test("an nbd device holds its flushes, and fails them once or each time", async () => {
  await using nbd = await NbdDevice.create({ bytes: 1 << 20, flushes: true, log: true });
  const sync = async () => (await run(["sync", nbd.path])).code;
  assertEquals(await directWrite(nbd.path, 4096, pattern(4096, 1)), "");
  expectSame(nbd.contents(4096, 4096), pattern(4096, 1));
  assertEquals(await sync(), 0);
  nbd.setFlushes("fail-once");
  assertEquals([await sync(), await sync()], [1, 0]);
  nbd.setFlushes("fail");
  assertEquals([await sync(), await sync()], [1, 1]);
  nbd.setFlushes("hold");
  const held = sync();
  assertEquals(await settlesWithin(held, 100), false);
  nbd.setFlushes("pass");
  assertEquals(await held, 0);
  const text = nbd.events().map(({ action, ended }) => `${ended ? "..." : ""}${action}`).join(" ");
  assertMatch(text, / Write \.\.\.Write( Flush \.\.\.Flush){6}$/);
});

Deno.test("a full nbd device refuses writes and reads zeros", async () => {
  await using nbd = await NbdDevice.create({ full: true });
  assertEquals(await directWrite(nbd.path, 0, pattern(4096, 1)), ENOSPC);
  assertEquals(await directRead(nbd.path, 0, 4096), "");
});

Deno.test("an nbd device with a delay is late by it", async () => {
  await using nbd = await NbdDevice.create({ delay: 200 });
  const start = performance.now();
  assertEquals(await directRead(nbd.path, 0, 4096), "");
  assertGreater(performance.now() - start, 200);
});

Deno.test("a hung nbd device holds a request until it is resumed", async () => {
  await using nbd = await NbdDevice.create();
  await nbd.hang();
  const reading = directRead(nbd.path, 0, 4096);
  assertEquals(await settlesWithin(reading, 300), false);
  nbd.resume();
  assertEquals(await reading, "");
});

Deno.test("an nbd device that hangs with requests in flight ends within seconds", async () => {
  let reading: Promise<string> | undefined;
  let start = 0;
  {
    await using nbd = await NbdDevice.create();
    await nbd.hang();
    reading = directRead(nbd.path, 0, 4096);
    assertEquals(await settlesWithin(reading, 100), false);
    start = performance.now();
  }
  assertLess(performance.now() - start, 3000);
  assertEquals(await reading, "");
});

Deno.test("a remote nbd device dies when its server is killed", async () => {
  await using nbd = await NbdDevice.create({ remote: true });
  assertEquals(await directRead(nbd.path, 0, 4096), "");
  await nbd.hang();
  const reading = directRead(nbd.path, 0, 4096);
  assertEquals(await settlesWithin(reading, 100), false);
  await nbd.kill();
  assertEquals(await reading, EIO);
  assertMatch(await directRead(nbd.path, 0, 4096), /Input\/output error|Invalid argument/);
});

Deno.test("an nbd device leaves nothing behind, whatever state a throw leaves it in", async () => {
  const states: ((nbd: NbdDevice) => void | Promise<void>)[] = [
    () => {},
    (nbd) => nbd.fail(),
    (nbd) => nbd.hang(),
    (nbd) => nbd.kill(),
  ];
  for (const state of states) {
    for (const loop of [true, false]) {
      let folder = "";
      await assertRejects(async () => {
        await using nbd = await NbdDevice.create({ loop });
        folder = folderBehind(nbd.path);
        assertGreater((await traces(folder)).length, 3);
        await state(nbd);
        throw new RangeError("in the scope");
      }, RangeError);
      assertEquals(await traces(folder), []);
    }
  }
});

for (const signal of ["exit", "SIGTERM", "SIGKILL"] as const) {
  Deno.test(`a process that ends by ${signal} leaves no device, mount or process behind`, async () => {
    const last = signal === "exit" ? "Deno.exit(3)" : `Deno.kill(Deno.pid, "${signal}")`;
    const { stdout } = await runProgram({
      source: `
        import { NbdDevice } from "${new URL("./nbd.ts", import.meta.url)}";
        const nbd = await NbdDevice.create();
        console.log(Deno.readTextFileSync(nbd.path.replace("/dev", "/sys/block") + "/loop/backing_file"));
        ${signal === "SIGKILL" ? "" : "await nbd.hang();"}
        ${last};
        await new Promise((resolve) => setTimeout(resolve, 20_000));`,
    });
    const folder = /^.*\/dmio-[^/]+/.exec(stdout)?.[0] ?? "";
    let left: string[] = [];
    for (let i = 0; i < 200; i++) {
      left = (await traces(folder)).filter((line) => line !== folder);
      if (left.length === 0) break;
      await until(() => false, 20);
    }
    assertEquals(left, []);
    assertEquals(exists(folder), signal === "SIGKILL");
    if (signal === "SIGKILL") Deno.removeSync(folder, { recursive: true });
  });
}
