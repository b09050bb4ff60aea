/** Values in messages: each is told on one line, and no value's own code is run for it. */

import { assertEquals, assertThrows } from "@std/assert";
import { checkInteger, describe } from "../../src/check.ts";

Deno.test("a value of each kind is told shortly", () => {
  const cases: [unknown, string][] = [
    [undefined, "undefined"],
    [null, "null"],
    [0.5, "0.5"],
    [NaN, "NaN"],
    [5n, "5n"],
    [true, "true"],
    [Symbol("secret"), "a symbol"],
    [() => 5, "a function"],
    [{}, "Object"],
    [[], "Array"],
    [new Uint8Array(1), "Uint8Array"],
    ['a "b"\n', '"a \\"b\\"\\n"'],
    ["x".repeat(100), `"${"x".repeat(40)}"`],
  ];
  for (const [value, said] of cases) assertEquals(describe(value), said);
});

Deno.test("an object's own toString is not asked", () => {
  const hostile = {
    toString() {
      throw new Error("asked");
    },
  };
  assertEquals(describe(hostile), "Object");
});

Deno.test("an integer within its bounds passes, both bounds included", () => {
  for (const value of [1, 5, 9]) checkInteger("pages", value, 1, 9);
});

Deno.test("what is no integer within its bounds is refused with name, value, both bounds and why", () => {
  for (const value of [0, 10, 1.5, NaN, Infinity, 2 ** 53]) {
    const message = `pages is ${value}; it must be an integer from 1 to 9, all there are`;
    const error = assertThrows(() => checkInteger("pages", value, 1, 9, "all there are"), RangeError);
    assertEquals(error.message, message);
  }
  assertThrows(() => checkInteger("pages", "5" as unknown as number, 1, 9), RangeError, 'pages is "5"');
});
