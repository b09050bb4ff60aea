/**
 * Faults that are planted in the library itself, in the parts between a CQE and an answer, to see that the simulator finds them.
 *
 * @module
 */

import { flush } from "../../src/op/flush.ts";
import { write } from "../../src/op/write.ts";
import { DONE, type Operation, type RegionIo } from "../../src/schedule/io.ts";
import { Scheduler } from "../../src/schedule/scheduler.ts";
import { Syncs } from "../../src/schedule/syncs.ts";

/** The planted faults. Each of the first comes true at the 20th time that it can; those about what is durable, each time. */
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
  "an answer without its flush": () => {
    const { add } = Scheduler.prototype;
    Scheduler.prototype.add = function (io) {
      if (io.op === flush) { for (const region of io.regions) region.flush = null; }
      add.call(this, io);
    };
    return () => Scheduler.prototype.add = add;
  },
  "a dropped FUA": () =>
    changed(write, "prep", (prep) => (transfer, sqe, engine) => {
      prep(transfer, sqe, engine);
      sqe.opFlags = 0;
    }),
  "data that does not wait for its preflush": () => {
    const { add } = Scheduler.prototype;
    Scheduler.prototype.add = function (io) {
      if (io.op !== flush) { for (const region of io.regions) region.flush = null; }
      add.call(this, io);
    };
    return () => Scheduler.prototype.add = add;
  },
  "syncs that do not take turns": () => {
    const { admit } = Syncs.prototype;
    Syncs.prototype.admit = function (region) {
      return admit.call(this, region) || this.remove(region);
    };
    return () => Syncs.prototype.admit = admit;
  },
  "data that is written after a failed preflush": () =>
    changed(flush, "complete", (complete) => (transfer, result) => {
      const outcome = complete(transfer, result);
      return transfer.region!.io.op === flush ? outcome : DONE;
    }),
} satisfies Record<string, () => () => void>;

// Puts another member into an operation. @returns Takes that back.
function changed<Name extends keyof Operation>(
  op: Operation,
  name: Name,
  change: (old: Operation[Name]) => Operation[Name],
): () => void {
  const old = op[name];
  op[name] = change(old);
  return () => op[name] = old;
}

const NTH = 20;
