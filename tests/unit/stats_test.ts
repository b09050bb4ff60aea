/** The histogram of latencies: its quantiles are right within an eighth. */

import { assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { Histogram } from "../../src/stats.ts";

function histogramOf(milliseconds: number[]): Histogram {
  const histogram = new Histogram();
  for (const one of milliseconds) histogram.add(one);
  return histogram;
}

// As many short ones as long ones, up to an hour.
const times = fc.integer({ min: -2000, max: 31_745 }).map((exponent) => 2 ** (exponent / 1000) / 1000);

Deno.test("p50 and p99 are above the true quantile by at most an eighth or a microsecond, and never below", () => {
  fc.assert(fc.property(fc.array(times, { minLength: 1, maxLength: 300 }), (all) => {
    const { p50, p99, max } = histogramOf(all).summary();
    const sorted = all.map((one) => one * 1000).sort((a, b) => a - b);
    for (const [said, share] of [[p50, 0.5], [p99, 0.99]] as const) {
      const truth = sorted[Math.ceil(all.length * share) - 1]!;
      assertGreaterOrEqual(said, truth);
      assertLessOrEqual(said, Math.max(truth * 9 / 8, truth + 1));
    }
    assertEquals(max, sorted.at(-1));
  }));
});

Deno.test("no quantile is above the longest time", () => {
  assertEquals(histogramOf([0.1004]).summary(), { p50: 100.4, p99: 100.4, max: 100.4 });
});

Deno.test("the one in a hundred that was long is in max, not in p99", () => {
  const { p99, max } = histogramOf([...new Array(99).fill(1), 5000]).summary();
  assertLessOrEqual(p99, 1125);
  assertEquals(max, 5_000_000);
});

Deno.test("without a request all is 0", () => {
  assertEquals(histogramOf([]).summary(), { p50: 0, p99: 0, max: 0 });
});

Deno.test("a time that is beyond all bins, or none at all, is counted", () => {
  const { p50, max } = histogramOf([0, 1e12, 1e12]).summary();
  assertGreaterOrEqual(p50, 3.6e9);
  assertEquals(max, 1e15);
  assertEquals(histogramOf([0, 0]).summary().max, 0);
});
