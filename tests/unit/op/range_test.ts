/** Ranges of devices in SQEs. */

import { assertEquals } from "@std/assert";
import { Sqe } from "../../../src/engine/sqe.ts";
import { Segments } from "../../../src/memory/segments.ts";
import { place } from "../../../src/op/range.ts";
import { Transfer } from "../../../src/schedule/io.ts";
import { deviceOf, ioOf, plainOperation } from "../parts.ts";

Deno.test("a transfer that goes on in the middle of a sector beyond 2^53 bytes names that byte", () => {
  const io = ioOf(plainOperation(), [deviceOf({ sectors: 2 ** 53 })], 8, new Segments());
  const region = io.regions[0]!;
  region.sector = 2 ** 52 + 1;
  const transfer = new Transfer(0);
  transfer.start(region, 4096);
  transfer.offset = 1078;
  const sqe = new Sqe();
  place(transfer, sqe);
  assertEquals([sqe.offsetHigh, sqe.offsetLow], [2 ** 29, 512 + 1078]);
});
