/** What read and write share: the SQE of a transfer, and what each CQE means for it. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { EAGAIN, EBUSY, EINTR, EIO, ENODATA, EOPNOTSUPP } from "../../../ffi/errno.ts";
import { RWF_DSYNC } from "../../../ffi/uapi.ts";
import { Sqe } from "../../../src/engine/sqe.ts";
import { Segments } from "../../../src/memory/segments.ts";
import { completeData, prepData } from "../../../src/op/data.ts";
import { DeviceQueue } from "../../../src/schedule/device_queue.ts";
import { AGAIN, DONE, FAILED, type RegionIo, Transfer } from "../../../src/schedule/io.ts";
import { arenaOf, deviceOf, ioOf, plainOperation, RecordingEngine, segmentsOf } from "../parts.ts";

const OPCODES = { fixed: 4, plain: 22, vectored: 1 };
const TRANSIENT = [EAGAIN, EBUSY, EINTR];

interface Shape {
  block?: number;
  direct?: boolean;
  locate?: boolean;
  durable?: boolean;
  sectors?: number;
  segments?: Segments;
}

/** A transfer of a whole region. */
function transferOf(
  { block = 512, direct = false, locate = false, durable = false, sectors = 64, segments }: Shape,
): Transfer {
  const device = deviceOf({ direct, logicalBlockSize: block });
  const io = ioOf(plainOperation(), [device], sectors, segments ?? segmentsOf(sectors * 512));
  io.locate = locate;
  if (durable) io.rwFlags = RWF_DSYNC;
  const transfer = new Transfer(0);
  transfer.start(io.regions[0]!, sectors * 512);
  return transfer;
}

function queueOf(transfer: Transfer, takesFixed = true): void {
  const queue = new DeviceQueue<RegionIo>(deviceOf(), new RecordingEngine(), 7, 0, () => {});
  transfer.region!.queue = Object.defineProperty(queue, "takesFixed", { value: takesFixed });
}

Deno.test("a whole transfer is done", () => {
  assertEquals(completeData(transferOf({}), 64 * 512), DONE);
});

Deno.test("a short transfer goes on at the byte where it stopped, in memory too", () => {
  const transfer = transferOf({ segments: segmentsOf(4096, 28672) });
  assertEquals(completeData(transfer, 5000), AGAIN);
  assertEquals([transfer.offset, transfer.requested], [5000, 32768 - 5000]);
  assertEquals([transfer.segment, transfer.segmentAt], [1, 904]);
  assertEquals(completeData(transfer, 32768 - 5000), DONE);
});

Deno.test("a short direct transfer goes on from a whole block", () => {
  const transfer = transferOf({ direct: true, block: 4096 });
  assertEquals(completeData(transfer, 5000), AGAIN);
  assertEquals([transfer.offset, transfer.requested], [4096, 28672]);
});

Deno.test("an error that passes is tried again 16 times, then it is the transfer's", () => {
  for (const errno of TRANSIENT) {
    const transfer = transferOf({});
    const outcomes = Array.from({ length: 17 }, () => completeData(transfer, -errno));
    assertEquals(outcomes, [...new Array(16).fill(AGAIN), FAILED]);
    assertEquals([transfer.errno, transfer.offset, transfer.requested], [errno, 0, 64 * 512]);
  }
});

Deno.test("a durable write that fails is neither tried again nor searched, as its flush tells once what was lost", () => {
  for (const locate of [true, false]) {
    const transfer = transferOf({ durable: true, direct: true, locate });
    assertEquals([completeData(transfer, -EIO), transfer.errno], [FAILED, EIO]);
    for (const errno of TRANSIENT) {
      assertEquals(completeData(transferOf({ durable: true, locate, direct: true }), -errno), AGAIN);
    }
  }
});

Deno.test("a durable write with a flush after it is an ordinary write, which may be tried again", () => {
  const transfer = transferOf({ durable: true, direct: true });
  queueOf(transfer);
  transfer.region!.postflush = plainOperation();
  const sqe = new Sqe();
  prepData(OPCODES, transfer, sqe, new RecordingEngine());
  assertEquals([sqe.opFlags, sqe.flags], [0, 0]);
  assertEquals([completeData(transfer, -EIO), transfer.alone], [AGAIN, true]);
});

Deno.test("progress makes the count of retries begin anew", () => {
  const transfer = transferOf({});
  for (let i = 0; i < 16; i++) completeData(transfer, -EAGAIN);
  assertEquals(completeData(transfer, 512), AGAIN);
  for (let i = 0; i < 16; i++) assertEquals(completeData(transfer, -EAGAIN), AGAIN);
  assertEquals(completeData(transfer, -EAGAIN), FAILED);
});

Deno.test("less than a block at a time is no progress on a direct device, and ends as EIO", () => {
  const transfer = transferOf({ direct: true, block: 4096 });
  const outcomes = Array.from({ length: 17 }, () => completeData(transfer, 512));
  assertEquals(outcomes, [...new Array(16).fill(AGAIN), FAILED]);
  assertEquals([transfer.errno, transfer.offset], [EIO, 0]);
});

Deno.test("nothing transferred without an error is EIO at once", () => {
  const transfer = transferOf({});
  assertEquals(completeData(transfer, 0), FAILED);
  assertEquals(transfer.errno, EIO);
});

Deno.test("a medium error without a search is tried once more, alone, then it is the transfer's", () => {
  const transfer = transferOf({});
  assertEquals([completeData(transfer, -ENODATA), transfer.alone, transfer.requested], [
    AGAIN,
    true,
    64 * 512,
  ]);
  assertEquals([completeData(transfer, -ENODATA), transfer.errno], [FAILED, ENODATA]);
});

Deno.test("a medium error with a search is tried again in halves and ends at the bad block", () => {
  fc.assert(fc.property(fc.nat(63), (bad) => {
    const transfer = transferOf({ locate: true });
    let outcome: number = AGAIN;
    for (let sqes = 0; outcome === AGAIN && sqes < 100; sqes++) {
      const { offset, requested } = transfer;
      outcome = completeData(
        transfer,
        offset <= bad * 512 && offset + requested > bad * 512 ? -EIO : requested,
      );
    }
    assertEquals([outcome, transfer.errno, transfer.offset, transfer.alone], [FAILED, EIO, bad * 512, false]);
  }));
});

Deno.test("no bad block is looked for behind one that the region is known to have", () => {
  const transfer = transferOf({ locate: true });
  transfer.region!.fail(EIO, 0);
  assertEquals([completeData(transfer, -ENODATA), transfer.errno], [FAILED, ENODATA]);
});

Deno.test("an error of the device as a whole ends the transfer at once", () => {
  for (const locate of [true, false]) {
    const transfer = transferOf({ locate });
    assertEquals([completeData(transfer, -EOPNOTSUPP), transfer.errno], [FAILED, EOPNOTSUPP]);
  }
});

Deno.test("a device that dies while it is searched has failed for the error that began the search", () => {
  const transfer = transferOf({ locate: true });
  assertEquals(completeData(transfer, -ENODATA), AGAIN);
  assertEquals([completeData(transfer, -EOPNOTSUPP), transfer.errno], [FAILED, ENODATA]);
});

Deno.test("the two halves of the byte offset are exact for any sector", () => {
  const sectors = fc.oneof(
    fc.nat(),
    fc.constantFrom(
      2 ** 23 - 1,
      2 ** 23,
      2 ** 32 + 1,
      2 ** 44 + 1,
      2 ** 52 + 3,
      Number.MAX_SAFE_INTEGER - 64,
    ),
    fc.maxSafeNat().map((n) => Math.min(n, Number.MAX_SAFE_INTEGER - 64)),
  );
  fc.assert(fc.property(sectors, fc.nat(64 * 512 - 1), (sector, offset) => {
    const transfer = transferOf({});
    queueOf(transfer);
    transfer.region!.sector = sector;
    transfer.offset = offset;
    const sqe = new Sqe();
    prepData(OPCODES, transfer, sqe, new RecordingEngine());
    const said = BigInt(sqe.offsetHigh) << 32n | BigInt(sqe.offsetLow);
    assertEquals(said, BigInt.asUintN(64, BigInt(sector) * 512n + BigInt(offset)));
  }));
});

Deno.test("one run of registered memory goes by its address and its place in the table", () => {
  const segments = new Segments();
  const arena = arenaOf(65536, 2 ** 40, 3);
  segments.add(arena, arena.bytes, 4096, 32768);
  const transfer = transferOf({ segments });
  queueOf(transfer);
  completeData(transfer, 512);
  const sqe = new Sqe();
  prepData(OPCODES, transfer, sqe, new RecordingEngine());
  assertEquals([sqe.opcode, sqe.bufferIndex, transfer.fixed], [OPCODES.fixed, 3, true]);
  assertEquals([sqe.address, sqe.length, sqe.offsetLow], [2 ** 40 + 4096 + 512, 32768 - 512, 512]);
});

Deno.test("one run goes by its address alone when it is not registered or the device does not take that", () => {
  for (const [index, takesFixed] of [[-1, true], [3, false]] as const) {
    const segments = new Segments();
    const arena = arenaOf(32768, 2 ** 40, index);
    segments.add(arena, arena.bytes, 0, 32768);
    const transfer = transferOf({ segments });
    queueOf(transfer, takesFixed);
    const sqe = Object.assign(new Sqe(), { bufferIndex: 9 });
    prepData(OPCODES, transfer, sqe, new RecordingEngine());
    assertEquals([sqe.opcode, sqe.bufferIndex, transfer.fixed], [OPCODES.plain, 0, false]);
    assertEquals([sqe.address, sqe.length], [2 ** 40, 32768]);
  }
});

Deno.test("several runs go as iovecs, from the next byte of the first to the last byte that is asked for", () => {
  const transfer = transferOf({ sectors: 24, segments: segmentsOf(4096, 4096, 8192) });
  queueOf(transfer);
  transfer.fixed = true;
  completeData(transfer, 1024);
  const engine = new RecordingEngine();
  engine.vector(1, 1); // of the SQE before
  engine.useVectors(new Sqe());
  const sqe = Object.assign(new Sqe(), { bufferIndex: 9 });
  prepData(OPCODES, transfer, sqe, engine);
  assertEquals([sqe.opcode, sqe.bufferIndex, transfer.fixed], [OPCODES.vectored, 0, false]);
  assertEquals([sqe.address, sqe.length], [1, 3]);
  assertEquals(engine.vectors.slice(1), [
    [2 ** 32 + 1024, 3072],
    [2 * 2 ** 32, 4096],
    [3 * 2 ** 32, 4096],
  ]);
});

Deno.test("one run goes as an iovec when the kernel has no plain opcodes", () => {
  const transfer = transferOf({});
  queueOf(transfer);
  const engine = new RecordingEngine({ plainOpcodes: false });
  const sqe = new Sqe();
  prepData(OPCODES, transfer, sqe, engine);
  assertEquals([sqe.opcode, sqe.length, engine.vectors], [OPCODES.vectored, 1, [[2 ** 32, 32768]]]);
});
