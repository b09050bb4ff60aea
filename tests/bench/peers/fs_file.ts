/**
 * Random 4 KiB reads with `Deno.FsFile`: it has no read at an offset, so each of `queueDepth` readers has the
 * file open for itself, and seeks.
 *
 * @module
 */
import { Meter } from "../workloads/meter.ts";

const BYTES = 4096;

if (import.meta.main) {
  const work = JSON.parse(Deno.args[0]!);
  const blocks = Math.floor(Deno.statSync(work.path).size / BYTES);
  const meter = new Meter(work);
  const reader = async () => {
    using file = Deno.openSync(work.path);
    const page = new Uint8Array(BYTES);
    do await file.seek(Math.floor(Math.random() * blocks) * BYTES, Deno.SeekMode.Start); while (
      meter.ended(await file.read(page) === BYTES)
    );
  };
  await Promise.all(Array.from({ length: work.queueDepth }, reader));
  meter.print();
}
