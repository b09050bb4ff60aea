/** Deadlines: when a judge is asked. */

import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { delay } from "@std/async/delay";
import { ECANCELED, ETIMEDOUT } from "../../../ffi/errno.ts";
import { write } from "../../../src/op/write.ts";
import { arm } from "../../../src/request/deadline.ts";
import { checkOptions } from "../../../src/request/options.ts";

const NONE = checkOptions({}, write);

Deno.test("the judge hears of the timeout, how late that is, and once more after as long as it says", async () => {
  const asked: [errno: number, late: number][] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const disarm = arm({ ...NONE, timeout: 1 }, {
    expire(errno, late) {
      asked.push([errno, late]);
      if (asked.length === 1) return 1;
      resolve();
      return 0;
    },
  });
  const blocked = performance.now();
  while (performance.now() - blocked < 20);
  await promise;
  disarm();
  assertEquals(asked.map(([errno]) => errno), [ETIMEDOUT, ETIMEDOUT]);
  assertGreaterOrEqual(asked[0]![1], 18);
  assertEquals(asked[1]![1], 0);
});

Deno.test("the judge is asked at the abort with ECANCELED", () => {
  const asked: [errno: number, late: number][] = [];
  const controller = new AbortController();
  arm({ ...NONE, signal: controller.signal }, { expire: (...what) => asked.push(what) * 0 });
  controller.abort();
  assertEquals(asked, [[ECANCELED, 0]]);
});

Deno.test("a deadline that was disarmed asks nobody", async () => {
  let asked = 0;
  const controller = new AbortController();
  const disarm = arm({ ...NONE, timeout: 1, signal: controller.signal }, { expire: () => asked++ });
  disarm();
  controller.abort();
  await delay(5);
  assertEquals(asked, 0);
});
