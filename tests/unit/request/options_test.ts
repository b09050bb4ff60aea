/** Options: which are taken, and with which operation. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { flush } from "../../../src/op/flush.ts";
import { read } from "../../../src/op/read.ts";
import { write } from "../../../src/op/write.ts";
import { writeZeroes } from "../../../src/op/write_zeroes.ts";
import {
  type AnyOptions,
  type CheckedOptions,
  isAborted,
  MAX_TIMEOUT,
} from "../../../src/request/options.ts";
import { checkOptions as check } from "../../../src/request/options.ts";

// deno-lint-ignore no-explicit-any
const wrong = (value: unknown): any => value;
const NONE: CheckedOptions = {
  locate: undefined,
  ioprio: undefined,
  preflush: undefined,
  fua: undefined,
  unmap: undefined,
  fallback: undefined,
  timeout: undefined,
  signal: undefined,
};

function checkOptions(options: AnyOptions): CheckedOptions {
  return check(options, write);
}

Deno.test("options that are right are taken as they are", () => {
  const { signal } = new AbortController();
  assertEquals(checkOptions({}), NONE);
  assertEquals(checkOptions({ locate: false, timeout: 0.5, signal }), {
    ...NONE,
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
  assertEquals(read.sort(), [
    "fallback",
    "fua",
    "ioprio",
    "locate",
    "preflush",
    "signal",
    "timeout",
    "unmap",
  ]);
});

Deno.test("an option that belongs to another operation is refused by its name", () => {
  const cases = [
    [{ fua: true }, read, "options.fua does not go with a read"],
    [{ preflush: false }, flush, "options.preflush does not go with a flush"],
    [{ unmap: true }, write, "options.unmap does not go with a write"],
    [{ ioprio: 0 }, writeZeroes, "options.ioprio does not go with a write of zeroes"],
  ] as const;
  for (const [options, op, message] of cases) assertThrows(() => check(options, op), TypeError, message);
  assertEquals(check({ unmap: true, fallback: false }, writeZeroes).fallback, false);
});

Deno.test("a priority is one of three classes and eight levels", () => {
  for (const ioprio of [0, 2 << 13, 2 << 13 | 7, 3 << 13]) {
    assertEquals(check({ ioprio }, read).ioprio, ioprio);
  }
  for (const ioprio of [-1, 1, 7, 0.5, NaN, 4 << 13, 2 << 13 | 8, 2 ** 16, 2 ** 32 + (2 << 13)]) {
    assertThrows(() => check({ ioprio }, write), RangeError, `options.ioprio is ${ioprio}`);
  }
});
