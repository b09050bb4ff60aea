/** A closed client frees everything at once: its devices can be opened exclusively or unmounted, its locked memory used by another client. */

import { assertEquals } from "@std/assert";
import { BlockDevice, IoClient } from "../../mod.ts";
import { runAsNobody } from "../support/as_nobody.ts";
import { pattern } from "../support/bytes.ts";
import { run, succeed } from "../support/commands.ts";
import { ringTest } from "../support/engine.ts";
import { LoopDevice } from "../support/loop.ts";
import { Scratch } from "../support/scratch.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;
const ROUNDS = 20;

ringTest(
  "a device opens exclusively right after its client and the device were closed, 20 times",
  async () => {
    await using loop = await LoopDevice.create({ bytes: MIB });
    const refused: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      {
        await using bdev = BlockDevice.open(loop.path, { write: true, direct: true, exclusive: true });
        await using io = new IoClient({ pages: 16 });
        const { errorBits } = await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, round));
        assertEquals(errorBits, 0n);
      }
      try {
        await BlockDevice.open(loop.path, { write: true, direct: true, exclusive: true }).close();
      } catch (error) {
        refused.push(`${round}: ${(error as Error).message}`);
      }
    }
    assertEquals(refused, []);
  },
);

ringTest(
  "a file system unmounts right after the close of a client that used its file, 20 times",
  async () => {
    await using loop = await LoopDevice.create({ bytes: 16 * MIB });
    await using scratch = await Scratch.create();
    await succeed("mkfs.ext4", "-q", loop.path);
    const refused: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await succeed("mount", loop.path, scratch.path);
      try {
        {
          await using bdev = BlockDevice.open(scratch.join("file"), { write: true, create: MIB });
          await using io = new IoClient({ pages: 16 });
          const { errorBits } = await io.write([{ bdev, sector: 0, count: 8 }], pattern(4096, round));
          assertEquals(errorBits, 0n);
        }
        const { code, stderr } = await run(["umount", scratch.path]);
        if (code !== 0) refused.push(`${round}: ${stderr.trim()}`);
      } finally {
        // Does nothing when it is unmounted already.
        await run(["umount", "-l", scratch.path]);
      }
    }
    assertEquals(refused, []);
  },
);

// Prints how many of so many clients, each opened when the last was closed, did their I/O.
const CLIENTS = `
import { BlockDevice, IoClient } from "./mod.ts";

const [pages, queueDepth, rounds] = Deno.args.map(Number) as [number, number, number];
await using bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
const failures = [];
for (let round = 0; round < rounds; round++) {
  try {
    await using io = new IoClient({ pages, queueDepth });
    const { errorBits } = await io.write([{ bdev, sector: 0, count: 8 }], io.pool.alloc(1));
    if (errorBits !== 0n) failures.push(round + ": bits " + errorBits);
    if (!io.features.fixedBuffers) failures.push(round + ": no fixed buffers");
  } catch (error) {
    failures.push(round + ": " + (error as Error).message);
  }
}
console.log(JSON.stringify(failures));
`;

for (
  const { memlock, limit, pages, queueDepth } of [
    { memlock: 64 * KIB, limit: "64 KiB", pages: 8, queueDepth: 8 },
    { memlock: 8 * MIB, limit: "8 MiB", pages: 1800, queueDepth: 128 },
  ]
) {
  ringTest(
    `with ${limit} of lockable memory a client of ${pages} pages can follow another, 20 times`,
    async () => {
      const { code, stdout, stderr } = await runAsNobody({
        source: CLIENTS,
        args: [`${pages}`, `${queueDepth}`, `${ROUNDS}`],
        memlock,
      });
      assertEquals(code, 0, stderr);
      assertEquals(JSON.parse(stdout), []);
    },
  );
}
