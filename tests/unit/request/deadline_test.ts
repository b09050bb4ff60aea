/** Deadlines: which options are taken, and when a judge is asked. */

import { assert, assertEquals, assertGreaterOrEqual, assertThrows } from "@std/assert";
import { delay } from "@std/async/delay";
import { ECANCELED, ETIMEDOUT } from "../../../ffi/errno.ts";
import {
  arm,
  type CheckedOptions,
  checkOptions,
  isAborted,
  MAX_TIMEOUT,
} from "../../../src/request/deadline.ts";

// deno-lint-ignore no-explicit-any
const wrong = (value: unknown): any => value;
const NONE: CheckedOptions = { locate: undefined, timeout: undefined, signal: undefined };

Deno.test("options that are right are taken as they are", () => {
  const { signal } = new AbortController();
  assertEquals(checkOptions({}), NONE);
  assertEquals(checkOptions({ locate: false, timeout: 0.5, signal }), {
    locate: false,
    timeout: 0.5,
    signal,
  });
  assertEquals(checkOptions({ timeout: MAX_TIMEOUT }).timeout, MAX_TIMEOUT);
});

Deno.test("what is no options is refused by its kind", () => {
  for (const [value, said] of [[null, "null"], [5, "5"], ["fast", '"fast"'], [() => {}, "a function"]]) {
    assertThrows(() => checkOptions(wrong(value)), TypeError, `options is ${said}`);
  }
});

Deno.test("a timeout that is no time above 0, or longer than timers go, is refused with the bounds", () => {
  for (const timeout of [0, -1, NaN, Infinity, MAX_TIMEOUT + 1, "5", null, 5n]) {
    const error = assertThrows(
      () => checkOptions({ timeout: wrong(timeout) }),
      RangeError,
      "options.timeout is",
    );
    assert(error.message.includes(`at most ${MAX_TIMEOUT} ms`), error.message);
  }
});

Deno.test("locate is a boolean or left out", () => {
  for (const locate of [0, "yes", null]) {
    assertThrows(() => checkOptions({ locate: wrong(locate) }), TypeError, "options.locate is");
  }
});

Deno.test("a signal is an AbortSignal, and nothing that only looks like one", () => {
  const alike = Object.create(AbortSignal.prototype);
  const proxy = new Proxy({}, { getPrototypeOf: () => AbortSignal.prototype });
  for (const signal of [null, {}, new EventTarget(), new AbortController(), alike, proxy]) {
    assertThrows(() => checkOptions({ signal: wrong(signal) }), TypeError, "options.signal is");
  }
});

Deno.test("a signal that was aborted is known as such, whatever its own property says", () => {
  const signal = AbortSignal.abort();
  Object.defineProperty(signal, "aborted", { value: false });
  assertEquals(isAborted(checkOptions({ signal })), true);
});

Deno.test("each option is read once", () => {
  const read: string[] = [];
  const options = new Proxy({ locate: true, timeout: 5, signal: AbortSignal.abort() }, {
    get: (target, name) => {
      read.push(String(name));
      return Reflect.get(target, name);
    },
  });
  checkOptions(options);
  assertEquals(read.sort(), ["locate", "signal", "timeout"]);
});

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
