/**
 * The members of a client that a stream uses.
 *
 * @module
 */

import type { BlockDevice } from "../device/device.ts";
import type { IoMemory } from "../memory/memory.ts";
import type { Pool } from "../pool/pool.ts";
import type { DeadlineOptions, IoOptions } from "../request/options.ts";
import type { IoRegion } from "../request/region.ts";
import type { IoResult } from "../request/result.ts";

/** A client, as streams use it. The docs of `IoClient` are the contract of each member. */
export interface StreamClient {
  readonly pool: Pool;
  readonly closed: boolean;
  read(region: IoRegion, memory: IoMemory, options?: IoOptions): Promise<IoResult>;
  write(regions: readonly IoRegion[], memory: IoMemory, options?: IoOptions): Promise<IoResult>;
  flush(targets: readonly (BlockDevice | IoRegion)[], options?: DeadlineOptions): Promise<IoResult>;
}
