/** A program that is restarted by `deno run --watch` while its system calls wait for a slow device. */

import { assertEquals } from "@std/assert";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";

// Restarts itself while calls wait for the device. The next round waits until nobody has the device open, and uses it.
const PROGRAM = `
import { BlockDevice, IoClient } from "./mod.ts";

const [path] = Deno.args as [string];
let round = 0;
try {
  round = Number(Deno.readTextFileSync("round"));
} catch { /* the first */ }
Deno.writeTextFileSync("round", String(round + 1));
const open = () =>
  [...Deno.readDirSync("/proc/self/fd")].filter(({ name }) => {
    try {
      return Deno.readLinkSync("/proc/self/fd/" + name) === path;
    } catch {
      return false;
    }
  }).length;
const left = open();
const end = performance.now() + 20_000;
while (open() > 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
let line: unknown;
try {
  const io = new IoClient({ pages: 64, engine: "threads" });
  const buffered = BlockDevice.open(path, { write: true }); // exclusive
  const direct = BlockDevice.open(path, { write: true, direct: true, exclusive: false });
  const { ok } = await io.write([{ bdev: direct, sector: 8 * round, count: 8 }], io.pool.alloc(1).fill(round));
  // More than have threads, at places that the page cache does not hold.
  for (let i = 0; i < 20; i++) void io.read({ bdev: buffered, sector: 2048 * (i + 1) + 8 * round, count: 8 }, io.pool.alloc(1));
  for (let i = 0; i < 4; i++) void io.write([{ bdev: direct, sector: 16_384 + 8 * i, count: 8 }], io.pool.alloc(1));
  void io.flush([buffered]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  line = { round, ok, waits: io.outstanding >= 5, left: round === 0 ? left : left > 0 };
} catch (error) {
  line = { round, error: (error as Error).message };
}
console.log(JSON.stringify(line));
if (round === 3) Deno.kill(Deno.pid, "SIGTERM");
const change = () => Deno.writeTextFileSync("program.ts", "\\n", { append: true });
setInterval(change, 1000);
change();
`;

Deno.test("restarts by --watch while threads wait for a device leave its file to them, and it is free afterwards", async () => {
  await using nbd = await NbdDevice.create({ bytes: 64 << 20, delay: 400 });
  const { code, stdout, stderr } = await runProgram({
    source: PROGRAM,
    args: [nbd.path],
    permissions: ["-A", "--watch", "--no-clear-screen"],
    timeout: 60,
  });
  assertEquals(code, 128 + 15, `SIGTERM ends it: ${stderr}`);
  const lines = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(
    lines,
    [0, 1, 2, 3].map((round) => ({ round, ok: true, waits: true, left: round === 0 ? 0 : true })),
  );
});
