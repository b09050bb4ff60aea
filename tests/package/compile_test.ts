/** `deno compile` of an example: one file that needs no source and no Deno. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const PERMISSIONS = ["--no-prompt", "--allow-ffi", "--allow-read", "--allow-write"];

async function run(command: string, args: string[], cwd: string, env: Record<string, string> = {}) {
  const output = await new Deno.Command(command, { args, cwd, env: { NO_COLOR: "1", ...env } }).output();
  const text = new TextDecoder();
  return { ok: output.success, stdout: text.decode(output.stdout), stderr: text.decode(output.stderr) };
}

interface Graph {
  roots: string[];
  modules: { specifier: string; dependencies?: { code?: { specifier: string } }[] }[];
}

/** The local files that a module runs, as `deno info` sees them; what is imported for its types alone holds no code. */
async function filesOf(module: string): Promise<string[]> {
  const info = await run(Deno.execPath(), ["info", "--json", module], ROOT);
  assert(info.ok, info.stderr);
  const { roots, modules } = JSON.parse(info.stdout) as Graph;
  const reached = new Set(roots);
  for (const specifier of reached) {
    const found = modules.find((one) => one.specifier === specifier);
    for (const { code } of found?.dependencies ?? []) {
      if (code?.specifier.startsWith("file:")) reached.add(code.specifier);
    }
  }
  return [...reached].map((specifier) => fromFileUrl(specifier));
}

/** Where `part` begins in `whole`, or -1; by the first byte's next place, as files of megabytes are searched. */
function find(whole: Uint8Array, part: Uint8Array): number {
  for (let at = whole.indexOf(part[0] ?? 0); at >= 0; at = whole.indexOf(part[0] ?? 0, at + 1)) {
    if (part.every((byte, i) => whole[at + i] === byte)) return at;
  }
  return -1;
}

Deno.test("examples/mirror.ts compiles to one file that holds every module it reaches", async () => {
  const folder = await Deno.makeTempDir({ prefix: "dmio-compile-" });
  try {
    const binary = join(folder, "mirror");
    const args = ["compile", ...PERMISSIONS, "--check", "--output", binary, "examples/mirror.ts"];
    let compiled = await run(Deno.execPath(), args, ROOT);
    // Only the base executable, which Deno downloads, may be missing: anything else is a failure of the build.
    const noBase = !compiled.ok && compiled.stderr.includes("Setting up base binary");
    if (noBase) {
      const base = await Deno.realPath("/bin/true"); // any ELF file will do
      compiled = await run(Deno.execPath(), args, ROOT, { DENORT_BIN: base });
    }
    assert(compiled.ok, compiled.stderr);

    const bytes = await Deno.readFile(binary);
    const files = await filesOf("examples/mirror.ts");
    assertStringIncludes(files.join("\n"), "/src/");
    const absent: string[] = [];
    for (const file of files) {
      if (find(bytes, await Deno.readFile(file)) < 0) absent.push(file);
    }
    assertEquals(absent, [], "modules that are not in the executable");

    if (noBase) {
      console.log(
        "the base executable (denort) could not be had: the compiled program was built, but NOT run",
      );
      return;
    }
    const mirrored = await run(binary, [], folder);
    assert(mirrored.ok, mirrored.stderr);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
