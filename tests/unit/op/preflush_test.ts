/** The flush that goes before the data of a write. */

import { assertEquals } from "@std/assert";
import { IoClient } from "../../../mod.ts";
import { faults, ramDevice } from "../../../src/testing/mod.ts";

Deno.test("no byte of a write is written after its preflush failed, also when it is copied in many windows", async () => {
  await using io = new IoClient({ pages: 16 });
  await using device = ramDevice(4 << 20);
  const length = 2 << 20;
  const region = { bdev: device, sector: 0, count: length / 512 };
  using _fault = faults(device).fail("ENOLINK", { op: "flush" });
  const { failures } = await io.write([region], new Uint8Array(length).fill(1), { preflush: true });
  assertEquals(failures, [{ region: 0, errno: 67, code: "ENOLINK", sector: 0 }]);
  const got = new Uint8Array(length);
  (await io.read(region, got)).orThrow();
  assertEquals(got.findIndex((byte) => byte !== 0), -1);
});
