/** The choice between two ways by the time that each takes. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { SpinOrSleep } from "../../../src/drive/spin_or_sleep.ts";

const ROUND = 1024;

/** Takes turns that cost so many milliseconds each. @returns How many went the second way. */
function turns(choice: SpinOrSleep, count: number, first: number, second: number): number {
  let seconds = 0;
  for (let i = 0; i < count; i++) {
    const way = choice.pick();
    if (way) seconds++;
    choice.took(way, way ? second : first);
  }
  return seconds;
}

Deno.test("the faster way is taken, and the other one tried in 4 of 1024 turns", () => {
  const choice = new SpinOrSleep();
  turns(choice, ROUND, 2, 1);
  assertEquals(turns(choice, 4 * ROUND, 2, 1), 4 * (ROUND - 4));
  const other = new SpinOrSleep();
  turns(other, ROUND, 1, 2);
  assertEquals(turns(other, 4 * ROUND, 1, 2), 4 * 4);
});

Deno.test("a way that becomes slow is left within a few turns", () => {
  const choice = new SpinOrSleep();
  turns(choice, 2 * ROUND + 4, 2, 1);
  assertLess(turns(choice, 100, 2, 10), 10);
});

Deno.test("a way that becomes fast is found by its trials", () => {
  const choice = new SpinOrSleep();
  turns(choice, ROUND, 2, 10);
  turns(choice, 10 * ROUND, 2, 1);
  assertEquals(turns(choice, ROUND, 2, 1), ROUND - 4);
});

Deno.test("one slow turn does not make the faster way the other", () => {
  const choice = new SpinOrSleep();
  turns(choice, 10 * ROUND + 4, 1, 2);
  choice.took(false, 5);
  assert(!choice.pick());
});
