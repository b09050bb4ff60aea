import { assert, assertEquals } from "@std/assert";
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

for (const [plant, apply] of Object.entries(LIBRARY_PLANTS)) {
  Deno.test(`the simulator finds ${plant} in the library`, async () => {
    const takeBack = apply();
    try {
      const { found } = await runSeeds(dmio, 1, SEEDS_FOR_A_PLANT);
      assert(found, `${SEEDS_FOR_A_PLANT} seeds did not find it`);
    } finally {
      takeBack();
    }
  });
}

Deno.test("2000 seeds of delayed, reordered, short, failed and hung I/O end as the model says", async () => {
  const { found } = await runSeeds(dmio, 1, 2000);
  assertEquals(found?.error.message, undefined, found && `seed ${found.seed}: ${replayCommand(found.seed)}`);
});
