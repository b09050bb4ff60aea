/** Slots: a CQE finds the transfer that it belongs to, or it is a fault. */

import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { DmioFault } from "../../../src/fault.ts";
import type { Transfer } from "../../../src/schedule/io.ts";
import { SlotTable } from "../../../src/schedule/slot_table.ts";
import { deviceOf, ioOf, plainOperation, segmentsOf } from "../parts.ts";

const [region] = ioOf(plainOperation(), [deviceOf()], 8, segmentsOf(4096)).regions;

function started(slots: SlotTable): Transfer {
  const transfer = slots.take();
  transfer.start(region!, 4096);
  return transfer;
}

Deno.test("each slot is given once, and again only when it is free", () => {
  const slots = new SlotTable(3);
  const taken = [started(slots), started(slots), started(slots)];
  assertEquals([taken.map(({ slot }) => slot).sort(), slots.free], [[0, 1, 2], 0]);
  assertThrows(() => slots.take(), DmioFault, "no slot is left");
  slots.release(taken[1]!);
  assertEquals(slots.free, 1);
  assertStrictEquals(slots.take(), taken[1]);
});

Deno.test("a CQE finds the transfer of its slot and use", () => {
  const slots = new SlotTable(3);
  const [first, second] = [started(slots), started(slots)];
  assertStrictEquals(slots.find(second.slot, second.generation), second);
  assertStrictEquals(slots.find(first.slot, first.generation), first);
  assertEquals(slots.all.map(({ region }) => region !== null), [true, true, false]);
});

Deno.test("a CQE for a free slot is a fault", () => {
  const slots = new SlotTable(1);
  const { slot, generation } = started(slots);
  slots.release(slots.find(slot, generation));
  assertThrows(() => slots.find(slot, generation), DmioFault, `slot ${slot}, use ${generation}`);
});

Deno.test("a CQE for an earlier use of its slot is a fault, and so is one for a later", () => {
  const slots = new SlotTable(1);
  const { slot, generation } = started(slots);
  slots.release(slots.find(slot, generation));
  const again = started(slots);
  assertEquals([again.slot, again.generation], [slot, generation + 1]);
  assertThrows(() => slots.find(slot, generation), DmioFault, `use ${generation}`);
  assertThrows(() => slots.find(slot, generation + 2), DmioFault, `use ${generation + 2}`);
});

Deno.test("a CQE for a slot that there is not is a fault", () => {
  const slots = new SlotTable(2);
  const { generation } = started(slots);
  assertThrows(() => slots.find(2, generation), DmioFault, "slot 2");
  assertThrows(() => slots.find(2 ** 32 - 1, generation), DmioFault);
});

Deno.test("uses are counted in 32 bits, as user data has them", () => {
  const slots = new SlotTable(1);
  const transfer = slots.take();
  transfer.generation = 2 ** 32 - 1;
  transfer.start(region!, 4096);
  assertEquals(transfer.generation, 0);
});
