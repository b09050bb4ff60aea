/**
 * The library under test, over the simulated engine.
 *
 * @module
 */

import { BlockDevice } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import type { Client, Library } from "./library.ts";

/** The library. */
export const dmio: Library = {
  client: (engine, pages, poll) => clientOn(engine, { pages, poll }) as unknown as Client,
  device: (disk, fd, closeFd) =>
    new BlockDevice({
      path: disk.name,
      fd,
      sectors: disk.base + disk.sectors,
      tailBytes: 0,
      logicalBlockSize: disk.logicalBlockSize,
      physicalBlockSize: 4096,
      memoryAlignment: disk.memoryAlignment,
      isBlockDevice: false,
      readOnly: !disk.writable,
      mayBlock: false,
      writable: disk.writable,
      direct: disk.direct,
      closeFd,
      syncFd: () => Promise.resolve(),
    }),
};
