import { assertEquals } from "@std/assert";
import type { BlockDevice } from "../../../src/device/device.ts";
import { Outcomes } from "../../../src/jobs/outcomes.ts";
import { type IoFailure, IoResult, SUCCESS } from "../../../src/request/result.ts";

const bdev = {} as BlockDevice;
const REGIONS = [{ bdev, sector: 0, count: 100 }, { bdev, sector: 1000, count: 10 }];

function failed(...failures: [region: number, sector: number][]): IoResult {
  const all = failures.map(([region, sector]): IoFailure => ({ region, errno: 5, code: "EIO", sector }));
  return new IoResult(all, Promise.resolve());
}

Deno.test("each region has what was answered, and no more than it holds", () => {
  const outcomes = new Outcomes(REGIONS);
  outcomes.take(8 * 512, [0, 1], SUCCESS);
  outcomes.take(16 * 512 - 7, [0, 1], SUCCESS);
  assertEquals(outcomes.result(true).bytes, [16 * 512 - 7, 10 * 512]);
  assertEquals(outcomes.result(true).failures, []);
});

Deno.test("a region counts up to its first failure, whatever is answered after it", () => {
  const outcomes = new Outcomes(REGIONS);
  outcomes.take(8 * 512, [0, 1], failed([1, 1005]));
  outcomes.take(16 * 512, [0, 1], failed([1, 1009]));
  outcomes.take(24 * 512, [0], SUCCESS);
  const { bytes, failures } = outcomes.result(true);
  assertEquals([bytes, failures.map(({ region, sector }) => [region, sector])], [[24 * 512, 5 * 512], [[
    1,
    1005,
  ]]]);
  assertEquals([outcomes.failed(0), outcomes.failed(1), outcomes.allFailed], [false, true, false]);
});

Deno.test("the bits of a request that names a part of the regions are theirs", () => {
  const outcomes = new Outcomes(REGIONS);
  outcomes.take(8 * 512, [1], failed([0, 1003]));
  assertEquals(outcomes.error.failures.map(({ region, sector }) => [region, sector]), [[1, 1003]]);
});

Deno.test("a stream that did not end well cancels the regions that did not fail, where they stop", () => {
  const outcomes = new Outcomes(REGIONS);
  outcomes.take(8 * 512, [0, 1], failed([0, 4]));
  const { failures, errorBits } = outcomes.result(false);
  assertEquals(failures.map(({ code, sector }) => [code, sector]), [["EIO", 4], ["ECANCELED", 1008]]);
  assertEquals(errorBits, 3n);
});
