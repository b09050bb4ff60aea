/** The package as it would be published: whole, documented, and nothing in it that should not be. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

async function deno(...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" } });
  const output = await command.output();
  const stderr = new TextDecoder().decode(output.stderr);
  assert(output.success, new TextDecoder().decode(output.stdout) + stderr);
  return stderr;
}

Deno.test("every export of the package is documented and has an explicit type", async () => {
  await deno("doc", "--lint", "mod.ts", "src/testing/mod.ts");
});

Deno.test("a dry run of publishing finds no fault and takes only the package's own files", async () => {
  const said = await deno("publish", "--dry-run", "--allow-dirty");
  assertStringIncludes(said, "Success");
  assertEquals(said.match(/^warning.*/gim) ?? [], []);
  const files = [...said.matchAll(/file:\/\/\S+/g)].map(([url]) => fromFileUrl(url).slice(ROOT.length));
  assert(files.includes("mod.ts"), said);
  const foreign = files.filter((file) =>
    !/^(mod\.ts|README\.md|LICENSE|deno\.json|(src|ffi)\/[\w/]+\.ts)$/.test(file)
  );
  assertEquals(foreign, []);
});
