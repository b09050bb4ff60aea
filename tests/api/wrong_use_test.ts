/** Clients, options and dm-io calls that the caller gets wrong: refused at once, by name, value and bound. */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { BlockDevice, dmIo, IoClient, type IoRegion, READ, REQ_OP_FLUSH, WRITE } from "../../mod.ts";
import { dmIoAsync, dmIoAsyncVm, dmIoClient, dmIoGet, dmIoPut } from "../../mod.ts";
import { dmIoSync, dmIoSyncBvec, dmIoSyncVm } from "../../mod.ts";
import { Bed, list, PAGE, unexpected, wrong } from "../support/wrong_input_bed.ts";

Deno.test("a closed client refuses every call, each time", async () => {
  await using bed = await Bed.create();
  const io = new IoClient({ pages: 4 });
  const { pool } = io;
  const data = pool.alloc(1);
  const closing = io.close();
  const region = bed.region(0, 8);
  for (let time = 0; time < 2; time++) {
    for (
      const call of [
        () => io.write([region], new Uint8Array(4096)),
        () => io.readSync(region, new Uint8Array(4096)),
        () => io.flush([bed.file]),
        () => io.flushSync([region]),
        () => io.discard([region]),
        () => io.discardSync([region]),
        () => io.writeZeroes([region]),
        () => io.writeZeroesSync([region]),
        () => io.writeSame([region], new Uint8Array(512)),
        () => io.writeSameSync([region], new Uint8Array(512).fill(1)),
        () => dmIo({ opf: REQ_OP_FLUSH, client: io }, 1, [region]),
        () => io.notify(WRITE, [region], new Uint8Array(4096), unexpected, null),
      ]
    ) bed.refuses(call, TypeError, "the client is closed");
    await closing;
    for (const call of [() => pool.alloc(1), () => pool.get(1), () => pool.put(1), () => pool.allocList(1)]) {
      bed.refuses(call, TypeError, "closed");
    }
    bed.refuses(() => pool.free(data), TypeError);
  }
  await bed.expectUntouched();
});

Deno.test("a bad deadline is refused", async () => {
  await using bed = await Bed.create();
  const { io, pages } = bed;
  const region = bed.region(0, 8);
  for (const timeout of [0, -1, NaN, Infinity, 2 ** 31, "5", 5n, null]) {
    const options = { timeout: wrong<number>(timeout) };
    bed.refuses(() => io.write([region], pages, options), RangeError, "timeout", "2147483647");
    bed.refuses(() => io.read(region, pages, options), RangeError, "timeout");
    if (timeout !== 0) bed.refuses(() => io.close(options), RangeError, "timeout");
  }
  for (const signal of [{}, { aborted: true }, 1, "now", null]) {
    bed.refuses(
      () => io.write([region], pages, { signal: wrong(signal) }),
      TypeError,
      "signal",
      "AbortSignal",
    );
  }
  for (const options of [5, null, "soon"]) {
    bed.refuses(() => io.write([region], pages, wrong(options)), TypeError, "options");
  }
  await bed.expectUntouched();
});

Deno.test("bad options of a client and of a device are refused, and nothing is left open", async () => {
  await using bed = await Bed.create();
  for (const value of [null, 5, "fast"]) {
    bed.refuses(() => new IoClient(wrong(value)), TypeError, "options is", "pages");
    bed.refuses(() => BlockDevice.open(bed.path, wrong(value)), TypeError, "options is", "direct");
  }
  for (const name of ["write", "direct", "exclusive"]) {
    bed.refuses(() => BlockDevice.open(bed.path, { [name]: wrong(1) }), TypeError, `options.${name} is 1`);
  }
  for (const value of [-1, 0.5, NaN, 2 ** 53, "many", 4n]) {
    bed.refuses(() => new IoClient({ pages: wrong(value) }), RangeError, "pages", "integer");
    bed.refuses(() => new IoClient({ queueDepth: wrong(value) }), RangeError, "queueDepth", "1 to 4096");
  }
  for (const value of [0, 4097]) {
    bed.refuses(() => new IoClient({ queueDepth: value }), RangeError, "queueDepth", `${value}`, "4096");
  }
  const fresh = `${bed.path}.new`;
  for (const create of [0, -512, 511, 512.5, NaN, 2 ** 54, wrong<number>("512")]) {
    bed.refuses(
      () => BlockDevice.open(fresh, { write: true, create }),
      RangeError,
      "create",
      `${create}`,
      "512",
    );
  }
  bed.refuses(() => BlockDevice.open(fresh, { create: 512 }), TypeError, "create", "write: true");
  assertThrows(() => Deno.statSync(fresh), Deno.errors.NotFound);
  await bed.expectUntouched();
});

Deno.test("the dm-io functions need a dmIoGet, and dmIoPut refuses more pages than dmIoGet added", async () => {
  await using bed = await Bed.create();
  const region = bed.region(0, 8);
  for (
    const call of [
      () => dmIoSyncVm(1, [region], WRITE, new Uint8Array(4096), null),
      () => dmIoAsyncVm(1, [region], READ, new Uint8Array(4096), unexpected, null),
      () => dmIoPut(1),
      () => dmIoClient(),
    ]
  ) assertStringIncludes(assertThrows(call, Error).message, "dmIoGet");
  for (const pages of [0, -1, 1.5, NaN, wrong<number>("8")]) {
    bed.refuses(() => dmIoGet(pages), RangeError, "numPages", "1 to");
  }
  dmIoGet(4);
  dmIoGet(4);
  for (const pages of [0, -1, 1.5, 9]) {
    bed.refuses(() => dmIoPut(pages), RangeError, "numPages", `${pages}`, "1 to 8");
  }
  assertEquals(dmIoClient().pool.pages, 8);
  dmIoPut(8);
  assertThrows(() => dmIoPut(1), Error, "dmIoGet");
  await bed.expectUntouched();
});

Deno.test("the dm-io functions refuse bad counts, rw, errorBits and fn", async () => {
  await using bed = await Bed.create();
  dmIoGet(16);
  const io = dmIoClient();
  const region = bed.region(0, 8);
  const data = new Uint8Array(4096);
  const pages = list(data);
  for (const rw of [READ, WRITE]) {
    for (const count of [0, 2, -1, 0.5, NaN, 65]) {
      bed.refuses(
        () => dmIoSyncVm(count, [region], rw, data, null),
        RangeError,
        "egions",
        `${count}`,
        "1 to",
      );
      bed.refuses(
        () => dmIoAsync(count, [region], rw, pages, 0, unexpected, 0),
        RangeError,
        "egions",
        `${count}`,
      );
    }
    const many = new Array<IoRegion>(65).fill(region);
    bed.refuses(() => dmIoSync(65, many, rw, pages, 0, null), RangeError, "65", "1 to 64");
    bed.refuses(() => dmIoSyncBvec(1, wrong(region), rw, [], null), TypeError, "where");
  }
  for (const rw of [2, -1, 0.5, wrong<number>("1"), wrong<number>(true), NaN]) {
    bed.refuses(() => dmIoSyncVm(1, [region], rw, data, null), RangeError, "rw", "WRITE (1)");
  }
  for (const bits of [0n, [0n], new BigInt64Array(1), new BigUint64Array(0), undefined]) {
    bed.refuses(
      () => dmIoSyncVm(1, [region], WRITE, data, wrong(bits)),
      TypeError,
      "errorBits",
      "BigUint64Array",
    );
  }
  for (const fn of [null, undefined, 1, {}]) {
    bed.refuses(
      () => dmIoAsyncVm(1, [region], WRITE, data, wrong<() => void>(fn), 0),
      TypeError,
      "fn",
      "function",
    );
    bed.refuses(
      () => dmIoAsyncVm(2, [region, region], READ, data, wrong<() => void>(fn), 0),
      TypeError,
      "fn",
      "function",
    );
    bed.refuses(
      () => bed.io.notify(WRITE, [region], data, wrong<() => void>(fn), 0),
      TypeError,
      "fn",
      "function",
    );
  }
  bed.refuses(() => dmIoSync(1, [region], WRITE, pages, PAGE, null), RangeError, "offset", `${PAGE - 1}`);
  assertEquals(io.outstanding, 0);
  assertEquals(io.pool.available, 16);
  await bed.expectUntouched();
  dmIoPut(16);
});
