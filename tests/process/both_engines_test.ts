/**
 * Tests that are run once more without io_uring: the services, regions, errors and operations, and one test of each fault.
 * `deno task test:threads` runs all of them so.
 */

import { assertEquals, assertGreater } from "@std/assert";
import { run } from "../support/commands.ts";
import { ENGINE } from "../support/engine.ts";

const ROOT = new URL("../../", import.meta.url);
const WHOLE = ["services_test.ts", "regions_test.ts", "error_bits_test.ts", "operations_test.ts"];

/** Runs tests in a process of their own, by threads. A filter is a pattern that the name of one test fits. */
async function byThreads(file: string, filter?: string): Promise<void> {
  const flags = ["-A", "--no-check", "--preload=tests/support/engine.ts"];
  if (filter !== undefined) flags.push("--filter", `/^${filter}$/`);
  const { code, stdout, stderr } = await run([Deno.execPath(), "test", ...flags, file], {
    cwd: ROOT.pathname,
    env: { DMIO_ENGINE: "threads", NO_COLOR: "1" },
  });
  assertEquals(code, 0, stdout + stderr);
  const passed = Number(/(\d+) passed/.exec(stdout)?.[1]);
  if (filter === undefined) assertGreater(passed, 0);
  else assertGreater(passed, 0, stdout);
}

/** A pattern of the name of a file's first test. Of a test that is made in a loop, that is one of them. */
function firstTest(file: string): string {
  const source = Deno.readTextFileSync(new URL(file, ROOT));
  const [, , name] = /^ *Deno\.test\((["`])(.*?)\1/m.exec(source) ?? [];
  if (name === undefined) throw new Error(`${file} has no test`);
  return name.split(/\$\{.*?\}/).map((part) => RegExp.escape(part)).join(".*");
}

const FAULTS = [...Deno.readDirSync(new URL("tests/faults", ROOT))].map(({ name }) => `tests/faults/${name}`)
  .sort();

// The whole run by threads has them anyway.
const ignore = ENGINE === "threads";
for (const name of WHOLE) {
  Deno.test({ name: `without io_uring: ${name}`, ignore, fn: () => byThreads(`tests/api/${name}`) });
}
for (const file of FAULTS) {
  Deno.test({
    name: `without io_uring: the first test of ${file}`,
    ignore,
    fn: () => byThreads(file, firstTest(file)),
  });
}
