import { assert, assertEquals, assertMatch } from "@std/assert";
import { dmio } from "./dmio.ts";
import { LIBRARY_PLANTS } from "./library_plants.ts";
import { plainLibrary } from "./plain_client.ts";
import type { Plant } from "./plain_parts.ts";
import { replayCommand, runSeeds } from "./seeds.ts";

/** Seeds that a fault planted in the plain client may take to be found. */
const SEEDS_FOR_A_PLANT = 60;

const PLANTS: readonly Plant[] = [
  "a lost bit",
  "a resume at the wrong offset",
  "no retry",
  "no narrowing",
  "no zero-fill",
  "a page that is not given back",
  "one sector too many",
  "the wrong region's bit",
  "close without waiting",
  "a file closed under its I/O",
  "a lost wake-up",
];

Deno.test("the simulator finds nothing wrong with a client that does one thing at a time", async () => {
  const { found } = await runSeeds(plainLibrary("none"), 1, 100);
  assertEquals(found, undefined, `seed ${found?.seed}`);
});

for (const plant of PLANTS) {
  Deno.test(`the simulator finds ${plant} in a client`, async () => {
    const { found } = await runSeeds(plainLibrary(plant), 1, SEEDS_FOR_A_PLANT);
    assert(found, `${SEEDS_FOR_A_PLANT} seeds did not find it`);
  });
}

/** What is said of plants that only a look at what is durable can find. */
const SAYS: Readonly<Record<string, RegExp>> = {
  "an answer without its flush": /^after a power cut, block \d+ of disk\d holds none/,
  "a dropped FUA": /^after a power cut, block \d+ of disk\d holds none|does not hold what was written/,
  "syncs that do not take turns": /two syncs of disk\d at once/,
  "data that does not wait for its preflush": /the data comes before the end of its preflush/,
};

for (const [plant, apply] of Object.entries(LIBRARY_PLANTS)) {
  Deno.test(`the simulator finds ${plant} in the library`, async () => {
    const takeBack = apply();
    try {
      const { found } = await runSeeds(dmio, 1, SEEDS_FOR_A_PLANT);
      assert(found, `${SEEDS_FOR_A_PLANT} seeds did not find it`);
      assertMatch(found.error.message, SAYS[plant] ?? /./);
    } finally {
      takeBack();
    }
  });
}

Deno.test("1500 seeds of delayed, short, failed and hung I/O, 1000 with power cuts, end as the model says", async () => {
  const { found } = await runSeeds(dmio, 1, 1500);
  assertEquals(found?.error.message, undefined, found && `seed ${found.seed}: ${replayCommand(found.seed)}`);
});
