/** A Worker fires nothing when it ends: one that has closed its client leaves nothing behind. */

import { assertEquals } from "@std/assert";
import { runAsNobody } from "../support/as_nobody.ts";

const MIB = 1 << 20;
const WORKERS = 6;

// The main program runs itself as Workers, one after the other, and prints the rings and mappings that are left after each.
const PROGRAM = `
import { BlockDevice, IoClient } from "./mod.ts";

if (self.name === "worker") {
  let message: unknown;
  try {
    await using bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
    const io = new IoClient({ pages: 1024 });
    const data = io.pool.alloc(1);
    const bits = [io.writeSync([{ bdev, sector: 0, count: 8 }], data).errorBits];
    bits.push((await io.read({ bdev, sector: 0, count: 8 }, data)).errorBits);
    await io.close();
    message = bits.map(Number);
  } catch (error) {
    message = (error as Error).message;
  }
  (self as unknown as { postMessage(message: unknown): void }).postMessage(message);
  self.close();
} else {
  const rings = () =>
    [...Deno.readDirSync("/proc/self/fd")].filter((fd) => {
      try {
        return Deno.readLinkSync("/proc/self/fd/" + fd.name).includes("io_uring");
      } catch {
        return false;
      }
    }).length;
  for (let i = 0; i < Number(Deno.args[0]); i++) {
    const worker = new Worker(import.meta.url, { type: "module", name: "worker" });
    const message = await new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
    console.log(JSON.stringify({ message, rings: rings() }));
  }
}
`;

Deno.test(`Workers that close their client and then themselves leave no ring and no locked memory behind`, async () => {
  const { code, stdout, stderr } = await runAsNobody({
    source: PROGRAM,
    args: [`${WORKERS}`],
    memlock: 8 * MIB,
  });
  assertEquals(code, 0, stderr);
  const lines = stdout.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(lines, Array.from({ length: WORKERS }, () => ({ message: [0, 0], rings: 0 })));
});
