/** Regions and options that the caller of a stream gets wrong: refused at once, by name, value and bound, and nothing else happens. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BlockDevice, IoClient, type IoRegion, type StreamOptions, type WritableOptions } from "../../mod.ts";
import { Bed, type Kind, SECTORS, wrong } from "../support/wrong_input_bed.ts";

/** Reading and writing refuse it alike. */
function bothRefuse(bed: Bed, region: IoRegion, options: unknown, kind: Kind, ...words: string[]): void {
  bed.refuses(() => bed.io.readable(region, options as StreamOptions), kind, ...words);
  bed.refuses(() => bed.io.writable([region], options as WritableOptions), kind, ...words);
}

Deno.test("a stream of a wrong region is refused, as a read or a write of it", async () => {
  await using bed = await Bed.create();
  const { io } = bed;
  bothRefuse(bed, bed.region(SECTORS - 7, 8), {}, RangeError, `${SECTORS - 7}`, "8", `${SECTORS} sectors`);
  bothRefuse(bed, bed.region(-1, 8), {}, RangeError, "sector", "-1");
  bothRefuse(bed, bed.region(0, wrong("8")), {}, TypeError, "count", '"8"');
  bothRefuse(bed, bed.region(1, 8, bed.direct), {}, RangeError, "8 sectors", bed.loop.path);
  bothRefuse(bed, wrong(null), {}, TypeError, "regions[0]", "null");
  bothRefuse(bed, { bdev: wrong("/dev/null"), sector: 0, count: 8 }, {}, TypeError, ".bdev", "BlockDevice");
  bed.refuses(() => io.readable(wrong([bed.region(0, 8)])), TypeError, "region is an Array");
  bed.refuses(() => io.writable(wrong(bed.region(0, 8))), TypeError, "regions", "array");
  bed.refuses(() => io.writable([]), RangeError, "0 regions", "1 to 64");
  bed.refuses(() => io.writable(new Array(65).fill(bed.region(0, 8))), RangeError, "65 regions");
  bed.refuses(() => io.writable([bed.region(0, 8), bed.region(0, 8, bed.reader)]), TypeError, "write: true");
  const closed = BlockDevice.open(bed.path, { write: true });
  await closed.close();
  bothRefuse(bed, bed.region(0, 8, closed), {}, TypeError, bed.path, "closed");
  await bed.expectUntouched();
});

Deno.test("a stream with wrong options is refused", async () => {
  await using bed = await Bed.create();
  const { io } = bed;
  const region = bed.region(0, 8);
  for (const chunk of [0, -512, 511, 1.5, NaN, Infinity, 2 ** 30 + 512, "65536", null, 512n]) {
    bothRefuse(bed, region, { chunk }, RangeError, "options.chunk", "512");
  }
  bothRefuse(bed, region, { chunk: 1000 }, RangeError, "options.chunk", "1000", "multiple of 512");
  bothRefuse(bed, bed.region(0, 8, bed.direct), { chunk: 4608 }, RangeError, "4608", "multiple of 4096");
  bothRefuse(bed, bed.region(0, 8, bed.direct), { chunk: 512 }, RangeError, "512", "from 4096");
  // The longest block of all regions counts.
  const regions = [region, bed.region(0, 8, bed.direct)];
  bed.refuses(() => io.writable(regions, { chunk: 512 }), RangeError, "options.chunk", "4096");
  for (const timeout of [0, -1, NaN, "5", null]) {
    bothRefuse(bed, region, { timeout }, RangeError, "options.timeout", "2147483647");
  }
  for (const signal of [{}, { aborted: true }, "now", null]) {
    bothRefuse(bed, region, { signal }, TypeError, "options.signal", "AbortSignal");
  }
  bothRefuse(bed, region, { locate: 1 }, TypeError, "options.locate", "boolean");
  bothRefuse(bed, region, { ioprio: -1 }, RangeError, "options.ioprio");
  for (const options of [5, null, "fast"]) bothRefuse(bed, region, options, TypeError, "options");
  for (const onFailure of ["stop", "", null, true]) {
    const options = { onFailure } as unknown as WritableOptions;
    bed.refuses(
      () => io.writable([region], options),
      TypeError,
      "options.onFailure",
      '"abort" or "continue"',
    );
  }
  for (const flush of [0, "yes", null]) {
    const options = { flush } as unknown as WritableOptions;
    bed.refuses(() => io.writable([region], options), TypeError, "options.flush", "boolean");
  }
  await bed.expectUntouched();
});

Deno.test("a closed client refuses streams", async () => {
  await using bed = await Bed.create();
  const io = new IoClient({ pages: 4 });
  const closing = io.close();
  for (let time = 0; time < 2; time++) {
    bed.refuses(() => io.readable(bed.region(0, 8)), TypeError, "the client is closed");
    bed.refuses(() => io.writable([bed.region(0, 8)]), TypeError, "the client is closed");
    await closing;
  }
  await bed.expectUntouched();
});

Deno.test("any region and options make a stream or are refused, and nothing is held before the first read", async () => {
  await using bed = await Bed.create();
  const mostly = <T>(...right: T[]) =>
    fc.oneof({ arbitrary: fc.constantFrom(...right), weight: 12 }, { arbitrary: fc.anything(), weight: 1 });
  const options = {
    chunk: mostly<unknown>(4096, 65536, undefined),
    timeout: mostly(5, undefined),
    locate: mostly(true, false, undefined),
    onFailure: mostly("abort", "continue", undefined),
    flush: mostly(true, false, undefined),
  };
  const plan = fc.record({
    bdev: mostly<unknown>(bed.file, bed.direct, bed.reader),
    sector: mostly<unknown>(0, 8, SECTORS, SECTORS + 8),
    count: mostly<unknown>(0, 8, SECTORS, SECTORS + 8),
    options: fc.oneof(
      { arbitrary: fc.record(options, { requiredKeys: [] }), weight: 12 },
      { arbitrary: fc.anything(), weight: 1 },
    ),
    writes: fc.boolean(),
  });
  let [made, refused] = [0, 0];
  fc.assert(
    fc.property(plan, ({ bdev, sector, count, options, writes }) => {
      const region = { bdev, sector, count } as IoRegion;
      try {
        if (writes) bed.io.writable([region], options as WritableOptions);
        else bed.io.readable(region, options as StreamOptions);
        made++;
      } catch (error) {
        assert(error instanceof TypeError || error instanceof RangeError, `${error}`);
        refused++;
      }
      assertEquals([bed.io.outstanding, bed.file.inFlight, bed.direct.inFlight], [0, 0, 0]);
    }),
    { numRuns: 3000 },
  );
  assert(made > 300 && refused > 300, `${made} made, ${refused} refused`);
  await bed.expectUntouched();
});
