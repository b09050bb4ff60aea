import type { Contender } from "../contender.ts";
import { run } from "../program.ts";
import { median } from "../statistics.ts";

/** Starts of the program in one run; its sample is their median. */
const STARTS = 9;

/** From the start of a process to its end, in milliseconds, as `values.milliseconds`. */
function lifetime(name: string, args: readonly string[]): Contender {
  return {
    name,
    async run(_timing, signal) {
      const milliseconds: number[] = [];
      for (let i = 0; i <= STARTS; i++) {
        const start = performance.now();
        await run(Deno.execPath(), args, { signal });
        if (i > 0) milliseconds.push(performance.now() - start); // the first one fills caches
      }
      const seconds = milliseconds.reduce((sum, ms) => sum + ms / 1000, 0);
      return { operations: STARTS, seconds, failed: 0, values: { milliseconds: median(milliseconds) } };
    },
  };
}

/** Deno, doing nothing. */
export function emptyDeno(): Contender {
  return lifetime("deno eval ''", ["eval", "''"]);
}

/** Deno, importing the library, opening a device and reading once. */
export function firstRead(path: string): Contender {
  const program = new URL("../workloads/first_read.ts", import.meta.url).pathname;
  return lifetime("import, open, first read", ["run", "-A", "--quiet", program, path]);
}
