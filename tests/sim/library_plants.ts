/**
 * Faults that are planted in the library itself, in the parts between a CQE and an answer, to see that the simulator finds them.
 *
 * @module
 */

import { write } from "../../src/op/write.ts";
import type { RegionIo } from "../../src/schedule/io.ts";
import { Scheduler } from "../../src/schedule/scheduler.ts";

/** The planted faults. Each comes true at the 20th time that it can. */
export const LIBRARY_PLANTS = {
  "an operation that completes twice": () => {
    const collect = Scheduler.prototype.collect;
    let count = 0;
    let twice: RegionIo | null = null;
    Scheduler.prototype.collect = function () {
      const region = twice ?? collect.call(this);
      twice = twice === null && region !== null && ++count === NTH ? region : null;
      return region;
    };
    return () => Scheduler.prototype.collect = collect;
  },
  "a transfer that is collected and never settled": () => {
    const collect = Scheduler.prototype.collect;
    let count = 0;
    Scheduler.prototype.collect = function () {
      const region = collect.call(this);
      return region !== null && ++count === NTH ? collect.call(this) : region;
    };
    return () => Scheduler.prototype.collect = collect;
  },
  "a hook that throws in the loop over CQEs": () => {
    const { complete } = write;
    let count = 0;
    write.complete = (transfer, result) => {
      if (++count === NTH) throw new Error("from inside the loop");
      return complete(transfer, result);
    };
    return () => write.complete = complete;
  },
} satisfies Record<string, () => () => void>;

const NTH = 20;
