/** A program that is restarted by `deno run --watch`: its isolate ends without a close, its process goes on. */

import { assertEquals } from "@std/assert";
import { runAsNobody } from "../support/as_nobody.ts";
import { ENGINE } from "../support/engine.ts";

const MIB = 1 << 20;
const RESTARTS = 6;

// Restarts itself by writing to its own file, which is watched. Prints, each time, the rings and devices that are left and how its I/O went. A read of a
// FIFO stays in flight when asked for.
const PROGRAM = `
import { openSync } from "node:fs";
import { BlockDevice, IoClient } from "./mod.ts";

const [pages, restarts, way] = [Number(Deno.args[0]), Number(Deno.args[1]), Deno.args[2]];
let round = 0;
try {
  round = Number(Deno.readTextFileSync("round"));
} catch { /* the first */ }
Deno.writeTextFileSync("round", String(round + 1));
const fds = (name: string) =>
  [...Deno.readDirSync("/proc/self/fd")].filter((fd) => {
    try {
      return Deno.readLinkSync("/proc/self/fd/" + fd.name).includes(name);
    } catch {
      return false;
    }
  }).length;
let line: unknown;
try {
  const before = fds("io_uring") + fds("file.img");
  const io = new IoClient({ pages });
  const bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
  const { errorBits } = await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
  if (way === "in flight") {
    if (round === 0) new Deno.Command("mkfifo", { args: ["fifo"] }).outputSync();
    const facts = { sectors: 2048, logicalBlockSize: 512, physicalBlockSize: 512, memoryAlignment: 1 };
    const flags = { readOnly: false, writable: true, direct: false, mayBlock: true };
    const fifo = new BlockDevice({ path: "fifo", fd: openSync("fifo", "r+"), ...facts, ...flags, closeFd: () => {} });
    void io.read({ bdev: fifo, sector: 0, count: 8 }, io.pool.alloc(1));
    void io.read({ bdev: fifo, sector: 0, count: 8 }, new Uint8Array(4096));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  line = { round, before, rings: fds("io_uring"), bits: Number(errorBits), fixed: io.features.fixedBuffers };
} catch (error) {
  line = { round, error: (error as Error).message };
}
console.log(JSON.stringify(line));
// The watcher outlives an exit of its program.
if (round === restarts) Deno.kill(Deno.pid, "SIGTERM");
// Again and again, as the watcher may not look yet; but not so often that it waits for the last of many changes.
const change = () => Deno.writeTextFileSync("program.ts", "\\n", { append: true });
setInterval(change, 1000);
change();
`;

for (const way of ["idle", "in flight"]) {
  Deno.test(`${RESTARTS} restarts by --watch, I/O ${way}, leave nothing open and find their memory free`, async () => {
    const { code, stdout, stderr } = await runAsNobody({
      source: PROGRAM,
      args: ["1024", `${RESTARTS}`, way],
      permissions: ["-A", "--watch", "--no-clear-screen"],
      memlock: 8 * MIB,
      timeout: 30,
    });
    assertEquals(code, 128 + 15, `SIGTERM ends it: ${stderr}`);
    const lines = stdout.trim().split("\n").map((line) => JSON.parse(line));
    const fixed = lines[0].fixed;
    assertEquals(
      lines,
      Array.from(
        { length: RESTARTS + 1 },
        (_, round) => ({ round, before: 0, rings: ENGINE === "threads" ? 0 : 1, bits: 0, fixed }),
      ),
    );
  });
}
