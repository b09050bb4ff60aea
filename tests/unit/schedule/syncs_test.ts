/** The flushes of a device that is written through the page cache: they take turns, and share what became of them. */

import { assertEquals } from "@std/assert";
import { EIO } from "../../../ffi/errno.ts";
import { Scheduler } from "../../../src/schedule/scheduler.ts";
import { Engines } from "../../../src/engine/engines.ts";
import type { BlockDevice } from "../../../src/device/device.ts";
import type { Io } from "../../../src/schedule/io.ts";
import { flush } from "../../../src/op/flush.ts";
import { deviceOf, ioOf, RecordingEngine, segmentsOf } from "../parts.ts";

/** A scheduler, an engine that answers when it is told to, and the regions that have ended. */
class Bed {
  readonly engine = new RecordingEngine();
  readonly scheduler = new Scheduler(new Engines(this.engine, 64), 8);
  readonly ended: Io[] = [];
  #answered = 0;

  /** Adds a flush of a device. */
  add(device: BlockDevice): Io {
    const io = ioOf(flush, [], 0, segmentsOf());
    io.preflush = flush;
    io.addRegion(device, 0, 0);
    const region = io.regions[0]!;
    region.queue = this.scheduler.queueOf(device, 0);
    region.syncFailures = region.queue.syncs?.failures ?? 0;
    this.scheduler.add(io);
    this.scheduler.flush();
    return io;
  }

  /** Answers the next SQE, and issues what follows. @returns The error number of each flush that ended. */
  answer(result: number): number[] {
    this.engine.answer(this.engine.sqes[this.#answered++]!, result);
    this.scheduler.reap();
    const errors: number[] = [];
    for (let one = this.scheduler.collect(); one !== null; one = this.scheduler.collect()) {
      errors.push(one.errno);
    }
    this.scheduler.flush();
    return errors;
  }

  /** How many SQEs were issued. */
  get issued(): number {
    return this.engine.sqes.length;
  }
}

Deno.test("a buffered device has one flush in flight, and the next serves all that came meanwhile", () => {
  const bed = new Bed();
  const device = deviceOf();
  for (let i = 0; i < 5; i++) bed.add(device);
  assertEquals(bed.issued, 1);
  assertEquals(bed.answer(0), [0]);
  assertEquals(bed.issued, 2);
  assertEquals(bed.answer(0), [0, 0, 0, 0]);
  assertEquals([bed.issued, bed.scheduler.busy], [2, false]);
});

Deno.test("a flush that fails fails those that came before its end, and none that comes after", () => {
  const bed = new Bed();
  const device = deviceOf();
  for (let i = 0; i < 3; i++) bed.add(device);
  assertEquals(bed.answer(-EIO), [EIO]);
  bed.add(device);
  // The first two of these were accepted before the failure was known.
  assertEquals(bed.answer(0), [EIO, EIO]);
  assertEquals(bed.answer(0), [0]);
});

Deno.test("flushes of direct devices do not wait for each other", () => {
  const bed = new Bed();
  const device = deviceOf({ direct: true });
  for (let i = 0; i < 3; i++) bed.add(device);
  assertEquals(bed.issued, 3);
  assertEquals([bed.answer(0), bed.answer(-EIO), bed.answer(0)], [[0], [EIO], [0]]);
});

Deno.test("a flush that is abandoned while others wait for it leaves its turn to them", () => {
  for (const which of [0, 1, 2]) {
    const bed = new Bed();
    const device = deviceOf();
    bed.add(device);
    const waiting = [0, 1, 2].map(() => bed.add(device));
    // The end of the first puts the next one in the device's queue. It is abandoned before it is issued.
    bed.engine.answer(bed.engine.sqes[0]!, 0);
    bed.scheduler.reap();
    bed.scheduler.abandon(waiting[which]!);
    let ended = 0;
    while (bed.scheduler.collect() !== null) ended++;
    assertEquals(ended, 2);
    bed.scheduler.flush();
    bed.engine.answer(bed.engine.sqes[1]!, 0);
    bed.scheduler.reap();
    while (bed.scheduler.collect() !== null) ended++;
    assertEquals([ended, bed.scheduler.busy], [4, false]);
  }
});
