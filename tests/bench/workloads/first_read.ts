/**
 * From the import of the library to the first read, then out: the same way out as `deno eval ''` takes.
 *
 * @module
 */
import { BlockDevice, IoClient } from "../../../mod.ts";

if (import.meta.main) {
  const io = new IoClient();
  const bdev = BlockDevice.open(Deno.args[0]!, { direct: true });
  const result = await io.read({ bdev, sector: 0, count: 8 }, io.pool.alloc(1));
  Deno.exit(result.errorBits === 0n ? 0 : 1);
}
