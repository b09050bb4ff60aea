/**
 * A mirror: it reads from a leg that can, remembers what a failed leg missed, and copies that alone when the leg is back.
 *
 *     raid1.ts                        a demonstration in temporary files
 *     raid1.ts [--create] LEG LEG...  makes the legs, devices or files, equal; then writes standard input to the mirror, and prints how many
 *                                     bytes of it the mirror has. --create makes the mirror: what the LEGs hold is LOST
 *
 * Before the data of a write goes to the legs, the parts that it touches are marked as dirty, durably on all legs. So after a crash in the
 * middle of a write, the next open copies the dirty parts of one leg to the others. When a leg fails a write, the other legs get a newer
 * state before the write is answered. So no open reads from the failed leg before it got the data that it missed. `raid1/legs.ts` keeps the
 * state.
 *
 * @module
 */
import { BlockDevice, IoClient, SECTOR_SIZE } from "../mod.ts";
import { Raid1 } from "./raid1/mirror.ts";

const USAGE =
  "usage: raid1.ts [[--create] LEG LEG...]   (without LEGs, a demonstration; --create overwrites them)";
const MIB = 1 << 20;

async function main(args: string[]): Promise<void> {
  if (args.length === 0) return await demonstrate();
  const create = args[0] === "--create";
  const paths = create ? args.slice(1) : args;
  if (paths.length === 0 || paths.some((path) => path.startsWith("-"))) return console.log(USAGE);
  await use(paths, create ? Raid1.create : Raid1.open, writeInput);
}

// Opens or makes a mirror for some work, then flushes it and closes its legs.
async function use(
  paths: string[],
  make: typeof Raid1.open,
  work: (mirror: Raid1) => Promise<void>,
): Promise<void> {
  await using held = new AsyncDisposableStack();
  const io = held.use(new IoClient());
  const legs = paths.map((path) => {
    const direct = Deno.statSync(path).isBlockDevice === true; // through the page cache, a failed write would look like a good one
    return held.use(BlockDevice.open(path, { write: true, direct }));
  });
  const mirror = await make(io, legs);
  console.log(`${legs.length} of the legs are there; ${mirror.copied} parts were copied between them`);
  await work(mirror);
  await mirror.flush();
}

async function writeInput(mirror: Raid1): Promise<void> {
  const piece = new Uint8Array(MIB);
  for (let sector = 0, bytes = 0;; sector += bytes / SECTOR_SIZE) {
    let read: number | null = 0;
    for (bytes = 0; bytes < MIB && read !== null; bytes += read ?? 0) {
      read = await Deno.stdin.read(piece.subarray(bytes));
    }
    if (bytes === 0) return;
    await mirror.write(sector, piece.fill(0, bytes));
    console.log(sector * SECTOR_SIZE + bytes);
  }
}

async function demonstrate(): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "dmio-raid1-" });
  const [a, b] = [`${folder}/a.img`, `${folder}/b.img`];
  try {
    for (const path of [a, b]) await BlockDevice.open(path, { write: true, create: 16 * MIB }).close();
    const data = new Uint8Array(MIB);
    await use([a, b], Raid1.create, async (mirror) => {
      await mirror.write(0, data.fill(1));
      Deno.truncateSync(a, MIB); // reads behind the new end fail with EIO
      await mirror.read(0, data.fill(0));
      console.log(
        `read ${data[0]} from b.img; a.img has ${Deno.statSync(a).size / MIB} MiB, it was written again`,
      );
      Deno.truncateSync(a, 16 * MIB);
    });
    await use([a], Raid1.open, (mirror) => mirror.write(4096, data.fill(2)));
    await use([a, b], Raid1.open, () => Promise.resolve());
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) await main(Deno.args);
