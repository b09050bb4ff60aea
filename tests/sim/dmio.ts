/**
 * The library under test, over the simulated engine.
 *
 * @module
 */

import type { BlockDevice } from "../../mod.ts";
import { clientOn } from "../../src/client.ts";
import { deviceOfKind } from "../../src/device/device.ts";
import { zeros } from "../../src/memory/zeros.ts";
import type { Disk } from "./disk.ts";
import type { Client, Library, Region } from "./library.ts";

/** The library. */
export const dmio: Library = {
  client(engine, pages, poll) {
    // Written zeros lie in memory of the library's own.
    engine.memory.lend(zeros(1).bytes[0]!);
    const io = clientOn(engine, { pages, poll });
    const real = (regions: Region[]) =>
      regions as unknown as { bdev: BlockDevice; sector: number; count: number }[];
    const more: Client["more"] = {
      flush: (regions, options) => io.flush(real(regions), options),
      discard: (regions, options) => io.discard(real(regions), options),
      writeZeroes: (regions, options) => io.writeZeroes(real(regions), options),
      flushSync: (regions) => io.flushSync(real(regions)),
      discardSync: (regions) => io.discardSync(real(regions)),
      writeZeroesSync: (regions, options) => io.writeZeroesSync(real(regions), options),
    };
    return Object.assign(io as unknown as Client, { more });
  },
  device({ name, base, sectors, size, facts, store }: Disk, fd, closeFd) {
    const changing = {
      sectors: base + sectors,
      tailBytes: 0,
      logicalBlockSize: facts.logicalBlockSize,
      physicalBlockSize: 4096,
      memoryAlignment: facts.memoryAlignment,
      readOnly: !facts.writable,
      isBlockDevice: facts.isBlockDevice,
      mayBlock: false,
    };
    return deviceOfKind({ ...changing, path: name, fd, writable: facts.writable, direct: facts.direct }, {
      makeEngine: null,
      sectorsNow: () => changing.sectors,
      limits: () => ({ discardMaxBytes: facts.discardMaxBytes, writeZeroesMaxBytes: size }),
      inspect: () => changing,
      sync: () => Promise.resolve(store.flush()),
      close: () => closeFd(),
    });
  },
};
