/**
 * The legs of the mirror of examples/, as tests look at them.
 *
 * @module
 */

import { DATA } from "../../examples/raid1/state.ts";
import type { BlockDevice, IoClient } from "../../mod.ts";

/** What a leg holds of the mirror's data. */
export async function dataOf(
  io: IoClient,
  bdev: BlockDevice,
  sector = 0,
  bytes = (bdev.sectors - DATA) * 512,
): Promise<Uint8Array> {
  const data = new Uint8Array(bytes);
  (await io.read({ bdev, sector: DATA + sector, count: bytes / 512 }, data)).orThrow();
  return data;
}
