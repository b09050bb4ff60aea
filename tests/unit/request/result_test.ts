/** Answers: one bit a region, and why. */

import { assertEquals, assertFalse, assertStrictEquals, assertThrows } from "@std/assert";
import { EIO, ENOSPC } from "../../../ffi/errno.ts";
import { answerOf, IoError, IoResult, SUCCESS } from "../../../src/request/result.ts";
import type { Io } from "../../../src/schedule/io.ts";
import { deviceOf, ioOf, plainOperation, segmentsOf } from "../parts.ts";

const settled = Promise.resolve();

function ioOfMany(count: number): Io {
  const devices = Array.from({ length: count }, () => deviceOf());
  return ioOf(plainOperation(), devices, 64, segmentsOf(64 * 512));
}

Deno.test("a request of which no region failed has the one answer of all that succeed", () => {
  const answer = answerOf(ioOfMany(3));
  assertStrictEquals(answer, SUCCESS);
  assertEquals([answer.ok, answer.errorBits, answer.failures, answer.failed(0)], [true, 0n, [], false]);
  assertStrictEquals(answer.orThrow(), answer);
});

Deno.test("bit i belongs to region i, up to the 64th", () => {
  const io = ioOfMany(64);
  for (const i of [0, 31, 32, 63]) io.regions[i]!.fail(EIO, 0);
  const answer = answerOf(io, settled);
  assertEquals(answer.errorBits, 1n | 1n << 31n | 1n << 32n | 1n << 63n);
  assertEquals(answer.failures.map(({ region }) => region), [0, 31, 32, 63]);
  assertEquals([answer.ok, answer.failed(31), answer.failed(30)], [false, true, false]);
  assertStrictEquals(answer.settled, settled);
});

Deno.test("a failure says its error and the first sector of the device that was not transferred", () => {
  const io = ioOfMany(2);
  io.regions[1]!.sector = 2 ** 40;
  io.regions[1]!.fail(ENOSPC, 5 * 512 + 511);
  assertEquals(answerOf(io).failures, [{ region: 1, errno: ENOSPC, code: "ENOSPC", sector: 2 ** 40 + 5 }]);
});

Deno.test("a region of which several transfers failed says the first byte, whichever failed first", () => {
  const io = ioOfMany(1);
  const [region] = io.regions;
  region!.fail(EIO, 4096);
  region!.fail(ENOSPC, 512);
  region!.fail(EIO, 8192);
  assertEquals(answerOf(io).failures, [{ region: 0, errno: ENOSPC, code: "ENOSPC", sector: 1 }]);
});

Deno.test("a device that is gone is ENODEV, whatever number the kernel gave", () => {
  const io = ioOfMany(1);
  io.regions[0]!.fail(ENOSPC, 0);
  io.regions[0]!.gone = true;
  assertEquals(answerOf(io).failures, [{ region: 0, errno: ENOSPC, code: "ENODEV", sector: 0 }]);
});

Deno.test("an answer with a failure throws an IoError that names each region", () => {
  const failures = [
    { region: 1, errno: EIO, code: "EIO", sector: 7 },
    { region: 3, errno: ENOSPC, code: "ENOSPC", sector: 64 },
  ];
  const answer = new IoResult(failures, settled);
  assertFalse(answer.ok);
  const error = assertThrows(() => answer.orThrow(), IoError);
  assertEquals(error.message, "region 1: EIO at sector 7; region 3: ENOSPC at sector 64");
  assertEquals([error.name, error.errorBits, error.failures], ["IoError", 0b1010n, failures]);
});
