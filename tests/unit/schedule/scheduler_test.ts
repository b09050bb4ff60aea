/** The scheduler: who gets a slot, what one SQE carries, and when a region has ended. */

import { assert, assertEquals, assertFalse, assertStrictEquals, assertThrows } from "@std/assert";
import { EIO } from "../../../ffi/errno.ts";
import type { BlockDevice } from "../../../src/device/device.ts";
import { Engines } from "../../../src/engine/engines.ts";
import { DmioFault } from "../../../src/fault.ts";
import type { Segments } from "../../../src/memory/segments.ts";
import { AGAIN, type Io, type Operation, type RegionIo } from "../../../src/schedule/io.ts";
import { Scheduler } from "../../../src/schedule/scheduler.ts";
import { deviceOf, ioOf, plainOperation, RecordingEngine, segmentsOf } from "../parts.ts";

class Bed {
  readonly engine: RecordingEngine;
  readonly scheduler: Scheduler;

  constructor({ capacity = 64, queueDepth = 64 } = {}) {
    this.engine = new RecordingEngine({ capacity });
    this.scheduler = new Scheduler(new Engines(this.engine, capacity), queueDepth);
  }

  /** Queues a request for the first sectors of each device. */
  add(devices: BlockDevice[], sectors: number, parts: { op?: Operation; segments?: Segments } = {}): Io {
    const { op = plainOperation(), segments = segmentsOf(sectors * 512 || 512) } = parts;
    const io = ioOf(op, devices, sectors, segments);
    for (let i = 0; i < io.count; i++) {
      io.regions[i]!.queue = this.scheduler.queueOf(io.regions[i]!.device, i);
    }
    this.scheduler.add(io);
    return io;
  }

  /** The lengths of all SQEs so far. */
  get lengths(): number[] {
    return this.engine.sqes.map(({ length }) => length);
  }

  /** Answers SQE `i` of all so far. */
  answer(i: number, result: number): void {
    this.engine.answer(this.engine.sqes[i]!, result);
  }

  collected(): RegionIo[] {
    const regions: RegionIo[] = [];
    for (let one = this.scheduler.collect(); one !== null; one = this.scheduler.collect()) regions.push(one);
    return regions;
  }
}

Deno.test("a device takes a slot only while it holds fewer than are free", () => {
  const bed = new Bed({ capacity: 16 });
  const inFlight = Array.from({ length: 6 }, () => {
    const device = deviceOf();
    for (let i = 0; i < 16; i++) bed.add([device], 1);
    bed.scheduler.flush();
    return bed.scheduler.queueOf(device, 0).inFlight;
  });
  assertEquals(inFlight, [8, 4, 2, 1, 1, 0]);
  assert(bed.scheduler.waiting);
});

Deno.test("a device has no more SQEs in flight than the queue depth, and the next when one is answered", () => {
  const bed = new Bed({ queueDepth: 3 });
  const device = deviceOf();
  for (let i = 0; i < 5; i++) bed.add([device], 1);
  bed.scheduler.flush();
  assertEquals(bed.engine.sqes.length, 3);
  bed.answer(1, 512);
  bed.scheduler.reap();
  bed.scheduler.flush();
  assertEquals([bed.engine.sqes.length, bed.scheduler.inFlight], [4, 3]);
});

Deno.test("devices take turns of 64 KiB", () => {
  const bed = new Bed();
  const [a, b] = [deviceOf({ fd: 1 }), deviceOf({ fd: 2 })];
  for (let i = 0; i < 3; i++) bed.add([a, b], 128);
  bed.scheduler.flush();
  assertEquals(bed.engine.sqes.map(({ fd }) => bed.engine.files[fd]), [1, 2, 1, 2, 1, 2]);
});

Deno.test("a region of 0 sectors has ended when it is added, and no SQE is made for it", () => {
  const bed = new Bed();
  const io = bed.add([deviceOf(), deviceOf()], 0);
  assertEquals(bed.collected(), io.regions);
  assertEquals([bed.scheduler.flush(), bed.scheduler.busy, bed.engine.sqes.length], [false, false, 0]);
});

Deno.test("a region ends once, with its last transfer, whichever that is", () => {
  const bed = new Bed();
  const io = bed.add([deviceOf()], 16, { op: plainOperation({ mostBytes: 4096 }) });
  bed.scheduler.flush();
  assertEquals(bed.lengths, [4096, 4096]);
  bed.answer(1, 4096);
  bed.scheduler.reap();
  assertEquals(bed.collected(), []);
  bed.answer(0, 4096);
  bed.scheduler.reap();
  assertEquals(bed.collected(), [io.regions[0]]);
  assertEquals([bed.collected(), bed.scheduler.busy], [[], false]);
});

Deno.test("a transfer that failed marks its region at its first byte, and the operation gives it up", () => {
  const bed = new Bed();
  const given: number[] = [];
  const op = plainOperation({ mostBytes: 4096, giveUp: ({ offset }) => given.push(offset) });
  const [region] = bed.add([deviceOf()], 16, { op }).regions;
  bed.scheduler.flush();
  bed.answer(1, -EIO);
  bed.answer(0, 4096);
  bed.scheduler.reap();
  assertEquals([region!.errno, region!.failedAt, given], [EIO, 4096, [4096]]);
  assertEquals(bed.collected(), [region!]);
});

Deno.test("a transfer to be tried again goes before what was not issued yet, in its own slot", () => {
  const bed = new Bed({ queueDepth: 1 });
  const device = deviceOf();
  bed.add([device], 8);
  bed.add([device], 16);
  bed.scheduler.flush();
  bed.answer(0, 0);
  bed.scheduler.reap();
  bed.scheduler.flush();
  assertEquals(bed.lengths, [4096, 4096]);
  const [first, again] = bed.engine.sqes;
  assertEquals([again!.userData, again!.generation], [first!.userData, first!.generation]);
});

Deno.test("a transfer that is to go alone is in a batch of its own", () => {
  const bed = new Bed();
  const alone = plainOperation({
    complete: (transfer) => {
      transfer.alone = true;
      return AGAIN;
    },
  });
  bed.add([deviceOf()], 1);
  bed.add([deviceOf()], 2, { op: alone });
  bed.scheduler.flush();
  bed.add([deviceOf()], 3);
  bed.answer(0, 0);
  bed.answer(1, 0);
  bed.scheduler.reap();
  bed.scheduler.flush();
  const lengths = bed.engine.batches.map((batch) => batch.map(({ length }) => length));
  assertEquals(lengths, [[512, 1024], [512], [1024], [1536]]);
});

Deno.test("short runs share an SQE, a run of 64 KiB has its own, and none passes the operation's most", () => {
  const cases: [number[], number, number[]][] = [
    [[4096, 4096, 8192], 2 ** 20, [16384]],
    [[65536, 4096], 2 ** 20, [65536, 4096]],
    [[2 ** 20], 2 ** 18, [2 ** 18, 2 ** 18, 2 ** 18, 2 ** 18]],
    [[4096, 4096, 4096], 8192, [8192, 4096]],
    [new Array(1025).fill(512), 2 ** 20, [1024 * 512, 512]],
  ];
  for (const [runs, mostBytes, lengths] of cases) {
    const bed = new Bed();
    const sectors = runs.reduce((sum, run) => sum + run) / 512;
    bed.add([deviceOf()], sectors, { op: plainOperation({ mostBytes }), segments: segmentsOf(...runs) });
    bed.scheduler.flush();
    assertEquals(bed.lengths, lengths);
  }
});

Deno.test("a full submission queue is submitted and filled again in one flush", () => {
  const bed = new Bed();
  bed.engine.entries = 2;
  for (let i = 0; i < 5; i++) bed.add([deviceOf()], 1);
  assert(bed.scheduler.flush());
  assertEquals(bed.engine.batches.map(({ length }) => length), [2, 2, 1]);
  assertFalse(bed.scheduler.waiting);
});

Deno.test("SQEs that the engine did not take wait for the next flush", () => {
  const bed = new Bed();
  bed.engine.takes = 1;
  for (let i = 0; i < 3; i++) bed.add([deviceOf()], 1);
  bed.scheduler.flush();
  assertEquals([bed.engine.sqes.length, bed.scheduler.waiting], [1, true]);
  bed.scheduler.flush();
  bed.scheduler.flush();
  assertEquals([bed.engine.sqes.length, bed.scheduler.waiting], [3, false]);
});

Deno.test("what an abandoned request had queued has ended, and what is in flight ends with its CQE", () => {
  const bed = new Bed({ queueDepth: 1 });
  const [busy, free] = [deviceOf(), deviceOf()];
  bed.add([busy], 1);
  bed.scheduler.flush();
  const io = bed.add([busy, free], 2);
  bed.scheduler.flush();
  bed.scheduler.abandon(io);
  assertEquals([bed.collected(), bed.scheduler.waiting], [[io.regions[0]!], false]);
  bed.answer(1, 1024);
  bed.scheduler.reap();
  assertEquals(bed.collected(), [io.regions[1]!]);
  bed.answer(0, 512);
  bed.scheduler.reap();
  assertFalse(bed.scheduler.flush());
  assertEquals(bed.engine.sqes.length, 2);
});

Deno.test("a region that was abandoned half issued ends with its last CQE, once", () => {
  const bed = new Bed({ queueDepth: 1 });
  const io = bed.add([deviceOf()], 16, { op: plainOperation({ mostBytes: 4096 }) });
  bed.scheduler.flush();
  bed.scheduler.abandon(io);
  assertEquals(bed.collected(), []);
  bed.answer(0, 4096);
  bed.scheduler.reap();
  assertEquals([bed.collected(), bed.scheduler.flush()], [[io.regions[0]!], false]);
});

Deno.test("an abandoned request's transfer is not tried again, before or after it was said to be", () => {
  for (const early of [true, false]) {
    const bed = new Bed();
    let given = 0;
    const io = bed.add([deviceOf()], 1, { op: plainOperation({ giveUp: () => given++ }) });
    bed.scheduler.flush();
    bed.answer(0, 0);
    if (early) bed.scheduler.abandon(io);
    bed.scheduler.reap();
    assertEquals([bed.scheduler.inFlight, given], early ? [0, 1] : [1, 0]);
    if (!early) bed.scheduler.abandon(io);
    bed.scheduler.flush();
    assertEquals([bed.collected(), given, bed.engine.sqes.length], [[io.regions[0]!], 1, 1]);
  }
});

Deno.test("the first byte of a region that may be missing is that of its first transfer in flight", () => {
  const bed = new Bed({ queueDepth: 2 });
  const [region] = bed.add([deviceOf()], 24, { op: plainOperation({ mostBytes: 4096 }) }).regions;
  bed.scheduler.flush();
  assertEquals(bed.scheduler.firstPending(region!), 0);
  bed.answer(0, 4096);
  bed.scheduler.reap();
  assertEquals(bed.scheduler.firstPending(region!), 4096);
  bed.answer(1, 4096);
  bed.scheduler.reap();
  assertEquals(bed.scheduler.firstPending(region!), 8192);
});

Deno.test("a CQE that comes twice is a fault, in one batch or in two", () => {
  for (const together of [true, false]) {
    const bed = new Bed();
    bed.add([deviceOf()], 1);
    bed.scheduler.flush();
    bed.answer(0, 512);
    if (!together) bed.scheduler.reap();
    bed.answer(0, 512);
    assertThrows(() => bed.scheduler.reap(), DmioFault, "nothing in flight");
  }
});

Deno.test("a CQE for an earlier use of a slot is a fault, though something is in flight there", () => {
  const bed = new Bed({ capacity: 2 });
  const device = deviceOf();
  bed.add([device], 1);
  bed.scheduler.flush();
  bed.answer(0, 512);
  bed.scheduler.reap();
  bed.add([device], 1);
  bed.scheduler.flush();
  assertEquals(bed.engine.sqes[1]!.userData, bed.engine.sqes[0]!.userData);
  bed.answer(0, 512);
  assertThrows(() => bed.scheduler.reap(), DmioFault, "nothing in flight");
});

Deno.test("memory that is shorter than its region is a fault, not an SQE of no bytes", () => {
  for (const segments of [segmentsOf(), segmentsOf(512)]) {
    const bed = new Bed();
    bed.add([deviceOf()], 2, { segments });
    assertThrows(() => bed.scheduler.flush(), DmioFault, "an SQE of");
    assertEquals(bed.engine.queued, 0);
  }
});

Deno.test("a device has one queue and one place in the table of files until it is closed", async () => {
  const bed = new Bed();
  const [a, b] = [deviceOf({ fd: 11 }), deviceOf({ fd: 12 })];
  const queue = bed.scheduler.queueOf(a, 0);
  bed.scheduler.queueOf(b, 0);
  assertStrictEquals(bed.scheduler.queueOf(a, 5), queue);
  assertEquals(bed.engine.files, [11, 12]);
  await a.close();
  assertEquals(bed.engine.files, [-1, 12]);
  bed.scheduler.queueOf(deviceOf({ fd: 13 }), 0);
  assertEquals(bed.engine.files, [13, 12]);
});
