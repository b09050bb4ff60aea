/** All of Deno's threads for what blocks are blocked, so that none can wait for the kernel. */

import { assertEquals } from "@std/assert";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";

// Opens more FIFOs than Deno has threads; nobody opens their other ends. Prints how the I/O and the close went meanwhile.
const PROGRAM = `
import { BlockDevice, IoClient } from "./mod.ts";

const [path, poll] = Deno.args as [string, string];
const names = Array.from({ length: 40 }, (_, i) => "fifo" + i);
new Deno.Command("mkfifo", { args: names }).outputSync();
let opened = 0;
for (const name of names) void Deno.open(name).then(() => opened++);
const bdev = BlockDevice.open(path, { write: true, direct: true });
const io = new IoClient({ pages: 4, poll: poll === "poll" });
const page = io.pool.alloc(1).fill(7);
const region = { bdev, sector: 0, count: 8 };
const bits = [];
for (let i = 0; i < 5; i++) {
  bits.push(Number((await io.write([region], page)).errorBits));
  bits.push(Number((await io.read(region, page)).errorBits));
}
await io.close();
await bdev.close();
console.log(JSON.stringify({ bits, opened }));
Deno.exit(0);
`;

for (const way of ["poll", "sleep"]) {
  Deno.test(`with every thread blocked, slow I/O is answered and the client closes (${way})`, async () => {
    await using nbd = await NbdDevice.create({ delay: 5 });
    const { code, stdout, stderr } = await runProgram({
      source: PROGRAM,
      args: [nbd.path, way],
      timeout: 20,
    });
    assertEquals(code, 0, code === 137 ? "it was still waiting after 20 s" : stderr);
    assertEquals(JSON.parse(stdout), { bits: Array(10).fill(0), opened: 0 });
  });
}
