/** The mirror of examples/: over RAM disks that die or lose their power in the middle of writes, and as programs that are killed. */

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { Raid1 } from "../../examples/raid1/mirror.ts";
import { DATA } from "../../examples/raid1/state.ts";
import { BlockDevice, IoClient } from "../../mod.ts";
import { faults, ramDevice, reopen } from "../../src/testing/mod.ts";
import { Random } from "../../src/testing/random.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { killExample, runExample, untilFree } from "../support/example.ts";
import { dataOf } from "../support/raid1.ts";
import { LoopDevice, loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1 << 20;
const BLOCK = 4096;

/** What became of a block: the version that was flushed, the one whose write was answered, and the newest one made. */
interface Versions {
  flushed: number;
  answered: number;
  made: number;
}

/** A block of some version. */
function blockOf(at: number, version: number): Uint8Array<ArrayBuffer> {
  const block = pattern(BLOCK, at * 1000 + version);
  new DataView(block.buffer).setUint32(0, version);
  return version === 0 ? block.fill(0) : block;
}

/** Writes and flushes a mirror from several sides, until its legs die. */
async function writeUntilItDies(
  mirror: Raid1,
  blocks: Versions[],
  random: Random,
  crash: () => void,
): Promise<void> {
  const writers = random.between(1, 6);
  let left = random.between(1, 60);
  const writer = async (_: unknown, index: number) => {
    for (;;) {
      const at = random.below(blocks.length / writers | 0) * writers + index;
      const block = blocks[at]!;
      const version = ++block.made;
      await mirror.write(at * 48, blockOf(at, version));
      block.answered = version;
      if (--left === 0) crash();
      if (random.below(10) > 0) continue;
      const answered = blocks.map((block) => block.answered);
      await mirror.flush();
      for (const [i, block] of blocks.entries()) block.flushed = Math.max(block.flushed, answered[i]!);
    }
  };
  await Promise.allSettled(Array.from({ length: writers }, writer));
}

for (const how of ["SIGKILL", "power cut"] as const) {
  const name =
    `after a ${how} in writes that a leg may fail, the legs are equal and have what was answered, over 100 seeds`;
  Deno.test(name, async () => {
    let [failed, unanswered] = [0, 0];
    for (let seed = 0; seed < 100; seed++) {
      const random = new Random(seed);
      let legs = Array.from({ length: random.between(2, 3) }, () => ramDevice(4 * MIB, { blockSize: 4096 }));
      const blocks = Array.from({ length: 96 }, (): Versions => ({ flushed: 0, answered: 0, made: 0 }));
      for (let life = 0; life < 3; life++) {
        const io = new IoClient();
        const mirror = life === 0 ? await Raid1.create(io, legs) : await Raid1.open(io, legs);
        const unlucky = legs[random.below(legs.length)]!;
        if (random.below(2) === 0) {
          faults(unlucky).fail("EIO", {
            op: "write",
            nth: random.between(1, 40),
            times: random.between(1, 3),
          });
        }
        for (const leg of legs) faults(leg).slow(1, { nth: random.between(1, 40) });
        await writeUntilItDies(mirror, blocks, random, () => {
          for (const leg of legs) {
            if (how === "power cut") faults(leg).powerCut(random.next());
            faults(leg).die();
          }
        });
        if (mirror.legs.current.length < legs.length) failed++;
        await io.close();
        for (const leg of legs) {
          faults(leg).heal();
          await leg.close();
        }
        // In another order, so that the leg that failed may be the first one.
        legs = legs.map((leg) => reopen(leg)).sort(() => random.between(-1, 1));
        await using again = new IoClient();
        const opened = await Raid1.open(again, legs);
        const datas = await Promise.all(legs.map((leg) => dataOf(again, leg)));
        for (const data of datas) expectSame(data, datas[0]!, `seed ${seed}, life ${life}`);
        for (const [at, block] of blocks.entries()) {
          const found = new Uint8Array(BLOCK);
          await opened.read(at * 48, found);
          const version = new DataView(found.buffer).getUint32(0);
          const least = how === "power cut" ? block.flushed : block.answered;
          const what = `seed ${seed}, life ${life}, block ${at}: ${version} of ${JSON.stringify(block)}`;
          assert(version >= least && version <= block.made, what);
          expectSame(found, blockOf(at, version), what);
          if (version < block.made) unanswered++;
          block.flushed = block.answered = version;
          block.made = Math.max(block.made, version);
        }
      }
      for (const leg of legs) await leg.close();
    }
    assertGreater(failed, 25, "lives in which a leg failed");
    assertGreater(unanswered, 25, "writes that were lost before they were answered");
  });
}

// Writes all of a mirror, again and again, 64 writes at a time, and tells of each round that is done. A leg may have few in flight, so that
// the legs get far apart when one is slow.
const WRITER = `
  import { BlockDevice, IoClient } from "${new URL("../../mod.ts", import.meta.url)}";
  import { Raid1 } from "${new URL("../../examples/raid1/mirror.ts", import.meta.url)}";
  const [first, ...paths] = Deno.args;
  const io = new IoClient({ queueDepth: 2 });
  const mirror = await Raid1.open(io, paths.map((path) => BlockDevice.open(path, { write: true, direct: true })));
  for (let round = Number(first);; round++) {
    await Promise.all(Array.from({ length: 64 }, (_, i) => mirror.write(i * 64, new Uint8Array(32768).fill(round))));
    console.log(round);
  }`;

Deno.test("after SIGKILL in the middle of writes, the legs become equal and have what was answered", async () => {
  await using slow = await NbdDevice.create({ bytes: 3 * MIB, delay: 2 });
  await using fast = await LoopDevice.create({ bytes: 3 * MIB });
  await using scratch = await Scratch.create();
  Deno.writeTextFileSync(scratch.join("writer.ts"), WRITER);
  await using io = new IoClient();
  const open = () => [slow, fast].map(({ path }) => BlockDevice.open(path, { write: true, direct: true }));
  const close = (legs: BlockDevice[]) => Promise.all(legs.map((leg) => leg.close()));
  const created = open();
  await Raid1.create(io, created);
  await close(created);
  let apart = 0;
  for (let kill = 0; kill < 5 || (apart === 0 && kill < 50); kill++) {
    const paths = [slow.path, fast.path];
    const args = [`${kill % 10 * 20}`, ...(kill % 2 === 0 ? paths : paths.toReversed())];
    const { lines, signal } = await killExample(scratch.join("writer.ts"), args, [], 1 + kill % 4, 5 * kill);
    assertEquals(signal, "SIGKILL");
    for (const path of paths) await untilFree(path);
    const legs = open();
    const datas = () => Promise.all(legs.map((leg) => dataOf(io, leg)));
    const [a, b] = await datas() as [Uint8Array, Uint8Array];
    if (a.some((byte, i) => byte !== b[i])) apart++;
    const mirror = await Raid1.open(io, kill % 3 === 0 ? legs : legs.toReversed());
    assertGreater(mirror.copied, 0);
    const [first, second] = await datas() as [Uint8Array, Uint8Array];
    expectSame(first, second, `kill ${kill}`);
    const answered = Number(lines.at(-1));
    for (const byte of first) {
      assert(byte === answered || byte === answered + 1, `${byte}, answered ${answered}`);
    }
    await close(legs);
  }
  assertGreater(apart, 0, "kills that left the legs apart");
});

/** An image, a MiB at a time. */
function* image(seed: number): Generator<Uint8Array> {
  for (let i = 0; i < 15; i++) yield pattern(MIB, seed + i);
}

Deno.test("after SIGKILL the program makes loop devices equal, and each MiB that it had printed is there", async () => {
  await using loops = await loopDevices(2, { bytes: 16 * MIB });
  const paths = loops.devices.map(({ path }) => path);
  assertEquals((await runExample("raid1.ts", ["--create", ...paths])).code, 0);
  for (let kill = 0; kill < 4; kill++) {
    const { lines, signal } = await killExample("raid1.ts", paths, image(kill * 100), 3 + kill * 2);
    assertEquals(signal, "SIGKILL");
    for (const path of paths) await untilFree(path);
    const { code, stdout, stderr } = await runExample("raid1.ts", paths);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /[1-9]\d* parts were copied/);
    const [first, second] = loops.devices.map((loop) => loop.bytes(DATA * 512));
    expectSame(first!, second!, `kill ${kill}`);
    const answered = Number(lines.at(-1)) / MIB;
    assertGreater(answered, 1);
    for (let i = 0; i < answered; i++) {
      expectSame(
        first!.subarray(i * MIB, (i + 1) * MIB),
        pattern(MIB, kill * 100 + i),
        `kill ${kill}, MiB ${i}`,
      );
    }
  }
});
