/** A Worker that ends with I/O in flight: the memory that the kernel writes to is not freed. */

import { assertEquals } from "@std/assert";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";

/** The worker reads from a slow device into each kind of memory that V8 owns, and is terminated before the device answers. */
const PROGRAM = `
  const [path] = Deno.args;
  const source = \`
    import { BlockDevice, IoClient } from "\${new URL("./mod.ts", import.meta.url)}";
    const io = new IoClient();
    const bdev = BlockDevice.open("\${path}", { direct: true });
    for (let i = 0; i < 128; i++) {
      const memory = i % 2 === 0 ? new SharedArrayBuffer(1536) : new ArrayBuffer(1536);
      void io.read({ bdev, sector: i * 2, count: 2 }, new Uint8Array(memory, 0, 1024));
    }
    postMessage("submitted");
  \`;
  for (let round = 0; round < 4; round++) {
    const worker = new Worker("data:application/javascript," + encodeURIComponent(source), { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    worker.terminate();
    // Memory of the isolate that ended becomes memory of this one. The kernel's late writes would land here.
    const kept = [];
    const until = performance.now() + 500;
    for (let i = 0; performance.now() < until; i++) {
      kept.push(new Uint8Array(new SharedArrayBuffer(1536)), new Uint8Array(1536));
      if (i % 1000 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (kept.some((bytes) => bytes.some((byte) => byte !== 0))) throw new Error("the kernel wrote into another's memory");
  }
  console.log("whole");
`;

Deno.test("a Worker terminated with reads in flight leaves no memory that the kernel writes into", async () => {
  await using nbd = await NbdDevice.create({ delay: 300 });
  Deno.writeFileSync(nbd.path, new Uint8Array(1 << 17).fill(0xff));
  const { code, stdout, stderr } = await runProgram({ source: PROGRAM, args: [nbd.path] });
  assertEquals([code, stdout.trim(), stderr], [0, "whole", ""]);
});
