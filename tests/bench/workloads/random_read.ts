/**
 * Random 4 KiB reads into pool pages, `queueDepth` of them at a time.
 *
 * @module
 */
import type { Timing } from "../sample.ts";
import { load, type Loads } from "./library.ts";
import { Meter } from "./meter.ts";

/** The work, as the program's one argument. */
export interface RandomRead extends Timing, Loads {
  readonly path: string;
  readonly direct: boolean;
  readonly queueDepth: number;
  readonly poll: boolean;
  /** What carries the I/O; a ring where there is one, when left out. */
  readonly engine?: "io_uring" | "threads";
  /** `readSync` takes one at a time. */
  readonly call: "read" | "readSync";
}

const SECTORS = 8;

if (import.meta.main) {
  const work: RandomRead = JSON.parse(Deno.args[0]!);
  const { BlockDevice, IoClient } = await load(work);
  const { queueDepth, poll, engine = "auto" } = work;
  await using io = new IoClient({ pages: queueDepth, queueDepth, poll, engine });
  using bdev = BlockDevice.open(work.path, { direct: work.direct });
  const blocks = Math.floor(bdev.sectors / SECTORS);
  const meter = new Meter(work);
  const place = () => ({ bdev, sector: Math.floor(Math.random() * blocks) * SECTORS, count: SECTORS });

  if (work.call === "readSync") {
    const page = io.pool.alloc(1);
    while (meter.ended(io.readSync(place(), page).errorBits === 0n));
  } else {
    const reader = async () => {
      const page = io.pool.alloc(1);
      while (meter.ended((await io.read(place(), page)).errorBits === 0n));
    };
    await Promise.all(Array.from({ length: work.queueDepth }, reader));
  }
  meter.print();
}
