/** How a client waits: it looks while that pays, and sleeps at once where it does not. */

import { assertEquals } from "@std/assert";
import { NAP, Polling, SLEEP, SPIN, SPIN_LIMIT } from "../../../src/drive/polling.ts";

const LONG = SPIN_LIMIT * 2;

/** A wait in vain. @returns Its steps. */
function inVain(polling: Polling): number[] {
  const steps: number[] = [polling.begin()];
  while (steps.at(-1) !== SLEEP) steps.push(polling.next(LONG));
  return steps;
}

/** How many waits sleep at once before the next one that looks. */
function skipped(polling: Polling): number {
  for (let waits = 0;; waits++) if (polling.begin() !== SLEEP) return waits;
}

Deno.test("a wait looks for as long as the limit, then naps once, then sleeps", () => {
  const polling = new Polling(true);
  assertEquals(polling.begin(), SPIN);
  assertEquals([polling.next(0), polling.next(SPIN_LIMIT)], [SPIN, SPIN]);
  assertEquals([polling.next(LONG), polling.next(LONG)], [NAP, SLEEP]);
  assertEquals(polling.polls, 3);
});

Deno.test("a wait without polling naps and never looks", () => {
  const polling = new Polling(false);
  assertEquals([inVain(polling), polling.polls], [[NAP, SLEEP], 0]);
});

Deno.test("each wait in vain doubles how many of the next sleep at once, up to 64", () => {
  const polling = new Polling(true);
  inVain(polling);
  const counts = Array.from({ length: 9 }, () => {
    const count = skipped(polling);
    polling.next(LONG);
    polling.next(LONG);
    return count;
  });
  assertEquals(counts, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
});

Deno.test("a wait that paid makes the next one look again", () => {
  const polling = new Polling(true);
  for (let i = 0; i < 50; i++) inVain(polling);
  skipped(polling);
  polling.paid();
  assertEquals([skipped(polling), skipped(polling)], [0, 0]);
  inVain(polling);
  assertEquals(skipped(polling), 1);
});
