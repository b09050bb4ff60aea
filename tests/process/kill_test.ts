import { assert, assertEquals, assertGreater } from "@std/assert";
import { expectSame, pattern } from "../support/bytes.ts";
import { loopDevices } from "../support/loop.ts";
import { programFolder } from "../support/program.ts";

const BLOCK = 4096;
const BLOCKS = 512;
const BYTES = BLOCK * BLOCKS;
const KILLS = 20;

// Writes the whole of two devices, again and again, in 64 requests a round, and tells of each round that is done. Each block
// begins with the round's number, and all of it is that number's pattern.
const WRITER = `
  import { BlockDevice, IoClient } from "./mod.ts";
  const [a, b, first] = Deno.args;
  // The kernel ends the ring of a killed process in the background, and with it the hold on its devices.
  const open = async (path) => {
    for (let tries = 0;; tries++) {
      try {
        return BlockDevice.open(path, { write: true, direct: true });
      } catch (error) {
        if (error.code !== "EBUSY" || tries === 200) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  };
  const devices = [await open(a), await open(b)];
  const io = new IoClient();
  const data = io.pool.alloc(${BLOCKS});
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length / 4);
  for (let round = Number(first);; round++) {
    for (let i = 0; i < words.length; i++) words[i] = i % 1024 === 0 ? round : Math.imul(round * 1024 + i % 1024, 0x9e3779b1);
    const answers = [];
    for (let i = 0; i < 64; i++) {
      const part = data.subarray(i * ${BYTES / 64}, (i + 1) * ${BYTES / 64});
      const regions = devices.map((bdev) => ({ bdev, sector: i * ${BYTES / 64 / 512}, count: ${
  BYTES / 64 / 512
} }));
      // Every other request goes through copies.
      answers.push(io.write(regions, i % 2 === 0 ? part : part.slice()));
    }
    for (const { errorBits } of await Promise.all(answers)) if (errorBits !== 0n) throw new Error("a write failed");
    Deno.stdout.writeSync(new TextEncoder().encode(round + "\\n"));
  }`;

/** A block as the writer makes it. */
function block(round: number): Uint8Array {
  const words = new Uint32Array(BLOCK / 4);
  for (let i = 0; i < words.length; i++) words[i] = i === 0 ? round : Math.imul(round * 1024 + i, 0x9e3779b1);
  return new Uint8Array(words.buffer);
}

/** Starts the writer, kills it some time after its first round, and tells which round was its last. */
async function writeUntilKilled(
  folder: string,
  devices: string[],
  first: number,
  rounds: number,
): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-config", "--no-lock", "program.ts", ...devices, `${first}`],
    cwd: folder,
    stdout: "piped",
  }).spawn();
  let text = "";
  let killed = false;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (killed || text.split("\n").length <= rounds) continue;
    killed = true;
    child.kill("SIGKILL");
  }
  const { signal } = await child.status;
  assertEquals(signal, "SIGKILL");
  return Number(text.trim().split("\n").at(-1));
}

Deno.test("after SIGKILL in mirrored writes, 20 times, each block is the old or the new one, whole", async () => {
  await using loops = await loopDevices(2, { bytes: BYTES });
  await using folder = await programFolder(WRITER);
  let first = 1;
  let mixed = 0;
  // A kill may come between two rounds, where it shows nothing: it goes on until one came within.
  for (let kill = 0; kill < KILLS || (mixed === 0 && kill < 20 * KILLS); kill++) {
    const last = await writeUntilKilled(
      folder.path,
      loops.devices.map(({ path }) => path),
      first,
      1 + kill % 7,
    );
    assert(last >= first, `round ${last}`);
    for (const loop of loops.devices) {
      const bytes = loop.bytes();
      const rounds = new Set<number>();
      for (let i = 0; i < BLOCKS; i++) {
        const found = bytes.subarray(i * BLOCK, (i + 1) * BLOCK);
        const round = new DataView(found.buffer, found.byteOffset).getUint32(0, true);
        assert(
          round === last || round === last + 1,
          `block ${i} is of round ${round}, the last done is ${last}`,
        );
        expectSame(found, block(round), `kill ${kill}: block ${i} of ${loop.path}`);
        rounds.add(round);
      }
      if (rounds.size > 1) mixed++;
    }
    first = last + 2;
  }
  assertGreater(mixed, 0, "devices caught in mid-write");
});

Deno.test("after a SIGKILL in mid-write the devices are free soon and work", async () => {
  await using loops = await loopDevices(2, { bytes: BYTES });
  await using folder = await programFolder(WRITER);
  const last = await writeUntilKilled(folder.path, loops.devices.map(({ path }) => path), 1, 1);
  await writeUntilKilled(folder.path, loops.devices.map(({ path }) => path), last + 2, 1);
  for (const loop of loops.devices) {
    loop.fill(pattern(BYTES, 3));
    expectSame(loop.bytes(), pattern(BYTES, 3), "the device changed after the kill");
  }
});
