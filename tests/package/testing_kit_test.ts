/** The kit for tests as others use it: in their own test file, without any permission. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { runProgram } from "../support/program.ts";

const MIRROR = `
import { IoClient } from "./mod.ts";
import { dmioLeaks, faults, ramDevice } from "./src/testing/mod.ts";

Deno.test.afterEach(() => {
  const leaks = dmioLeaks();
  if (leaks.length > 0) throw new Error(leaks.join("\\n"));
});

Deno.test("a mirror reads from its second leg", async () => {
  await using io = new IoClient({ pages: 16 });
  await using a = ramDevice(1 << 20);
  await using b = ramDevice(2 ** 40, { blockSize: 4096 });
  const legs = [a, b].map((bdev) => ({ bdev, sector: 8, count: 16 }));
  const data = io.pool.alloc(2).fill(7);
  (await io.write(legs, data, { fua: true })).orThrow();
  faults(a).badSectors(9);
  faults(b).slow(5);
  data.fill(0);
  if ((await io.read(legs[0]!, data)).ok) throw new Error("the sector is bad");
  faults(b).powerCut(1);
  (await io.read(legs[1]!, data)).orThrow();
  if (data.some((byte) => byte !== 7)) throw new Error("the second leg lost something");
  io.pool.free(data);
});

Deno.test("a test that forgets its client", () => {
  new IoClient({ pages: 1 }).pool.alloc(1);
});
`;

Deno.test("a test without permissions runs a mirror over RAM devices, and lists what it left open", async () => {
  const { code, stdout } = await runProgram({ source: MIRROR, test: true, permissions: [] });
  assertMatch(stdout, /a mirror reads from its second leg \.\.\. ok/);
  assertMatch(stdout, /a test that forgets its client \.\.\. FAILED/);
  assertMatch(stdout, /the client made at file:\/\/\S+\/program\.ts:\d+:\d+ is not closed/);
  assertMatch(stdout, /1 page of the client made at file:\/\/\S+\/program\.ts:\d+:\d+ is not freed/);
  assertEquals(code, 1);
});

Deno.test("a client without --allow-ffi refuses a device of the system plainly, and goes on with others", async () => {
  const source = `
import { BlockDevice, IoClient } from "./mod.ts";
import { ramDevice } from "./src/testing/mod.ts";
const io = new IoClient({ pages: 4 });
const ram = ramDevice(1 << 20);
const file = new BlockDevice({ ...ram, path: "/dev/some", fd: 99, closeFd: () => {} });
const page = io.pool.alloc(1);
for (const bdev of [file, ram]) {
  try {
    (await io.write([{ bdev, sector: 0, count: 8 }], page)).orThrow();
    console.log("written");
  } catch (error) {
    console.log((error as Error).name + ": " + (error as Error).message);
  }
}
io.readSync({ bdev: ram, sector: 0, count: 8 }, new Uint8Array(new SharedArrayBuffer(4096))).orThrow();
await io.close();
`;
  const { stdout, stderr } = await runProgram({ source, permissions: [] });
  const [refused, written] = stdout.trimEnd().split("\n");
  assertStringIncludes(refused!, "TypeError: the client was made without --allow-ffi", stderr);
  assertEquals(written, "written");
});

Deno.test("a RAM device takes memory only where it was written, and gives it back when it is closed", async () => {
  const source = `
import { IoClient } from "./mod.ts";
import { ramDevice } from "./src/testing/mod.ts";
const io = new IoClient({ pages: 64 });
const data = io.pool.alloc(64);
const mebibytes = () => Deno.memoryUsage().rss / 2 ** 20;
for (let round = 0; round < 40; round++) {
  const device = ramDevice(2 ** 40, { blockSize: 4096, cache: "none" });
  for (let at = 0; at < 64; at++) {
    (await io.write([{ bdev: device, sector: 2 ** 24 * at, count: 512 }], data)).orThrow();
  }
  await device.close();
}
console.log(Math.round(mebibytes()));
await io.close();
`;
  const { stdout, stderr } = await runProgram({ source, permissions: [] });
  // Each of the 40 held 16 MiB.
  assert(Number(stdout) > 0 && Number(stdout) < 400, `${stdout} MiB ${stderr}`);
});
