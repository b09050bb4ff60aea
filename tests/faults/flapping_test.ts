import { assertEquals, assertGreater } from "@std/assert";
import { BlockDevice, IoClient, type IoResult } from "../../mod.ts";
import { expectSame, pattern } from "../support/bytes.ts";
import { LoopDevice } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";

const WRITES = 10_000;
const IN_FLIGHT = 64;
/** Writes between one change of the device's mind and the next. */
const PHASE = 350;
const BYTES = 32 << 20;

/** Write `i` goes to 1 to 5 sectors of its own. */
const place = (i: number) => ({ sector: i * 6, count: 1 + i % 5 });

Deno.test("10,000 mirrored writes report what the devices hold, while one device fails on and off", async () => {
  await using nbd = await NbdDevice.create({ bytes: BYTES });
  await using loop = await LoopDevice.create({ bytes: BYTES });
  using flapping = BlockDevice.open(nbd.path, { write: true, direct: true });
  using healthy = BlockDevice.open(loop.path, { write: true, direct: true });
  await using io = new IoClient({ pages: 2048 });

  const results: IoResult[] = [];
  const data = pattern((WRITES * 6) * 512, 9);
  let next = 0;
  const writer = async () => {
    while (next < WRITES) {
      const i = next++;
      if (i % PHASE === 0) i / PHASE % 2 === 1 ? nbd.fail() : nbd.heal();
      const { sector, count } = place(i);
      const bytes = data.subarray(sector * 512, (sector + count) * 512);
      results[i] = await io.write(
        [{ bdev: flapping, sector, count }, { bdev: healthy, sector, count }],
        bytes,
      );
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, writer));
  nbd.heal();

  const now = new Uint8Array(WRITES * 6 * 512);
  assertEquals((await io.read({ bdev: flapping, sector: 0, count: WRITES * 6 }, now)).errorBits, 0n);
  const mirror = loop.bytes(0, now.length);
  const zeros = new Uint8Array(512);
  let failed = 0;
  for (let i = 0; i < WRITES; i++) {
    const { errorBits, failures } = results[i]!;
    const { sector, count } = place(i);
    const range: [number, number] = [sector * 512, (sector + count) * 512];
    expectSame(mirror.subarray(...range), data.subarray(...range), `write ${i} on the healthy device`);
    let bad = sector + count;
    if (errorBits !== 0n) {
      failed++;
      bad = failures[0]!.sector;
      assertEquals({ errorBits, failures: [...failures] }, {
        errorBits: 1n,
        failures: [{ region: 0, errno: 5, code: "EIO", sector: bad }],
      });
    }
    for (let s = sector; s < sector + count; s++) {
      const sectorNow = now.subarray(s * 512, (s + 1) * 512);
      // A server that refuses a request writes nothing of it; what lies behind the first bad sector may be written or not.
      const isNew = s < bad || (s > bad && sectorNow.some((byte) => byte !== 0));
      expectSame(sectorNow, isNew ? data.subarray(s * 512, (s + 1) * 512) : zeros, `write ${i}, sector ${s}`);
    }
    // At least one sector between two writes is not written.
    expectSame(now.subarray((sector + count) * 512, (sector + count + 1) * 512), zeros, "between two writes");
  }
  assertGreater(failed, WRITES / 10, "writes that failed");
  assertGreater(WRITES - failed, WRITES / 10, "writes that went well");
});
