import { assertEquals, assertGreater } from "@std/assert";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";

const ROOT = new URL("../../", import.meta.url);

/** The blocks of TypeScript in a text, without the comment's stars. */
function blocksOf(text: string): string[] {
  const plain = text.replaceAll(/^ *\* ?/gm, "");
  return [...plain.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code!);
}

/** Every file of the package that may hold an example. */
async function files(): Promise<string[]> {
  const names = ["README.md", "mod.ts"];
  const folders = ["src", "ffi"];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
      (isDirectory ? folders : names).push(`${folder}/${name}`);
    }
  }
  return names.sort();
}

Deno.test("every example of the README and of the docs runs as it stands", async (t) => {
  let ran = 0;
  for (const name of await files()) {
    for (const [i, code] of blocksOf(Deno.readTextFileSync(new URL(name, ROOT))).entries()) {
      await t.step(`${name}, example ${i + 1}`, async () => {
        await using scratch = await Scratch.create();
        // Its files go into a folder that is removed.
        const source = code.replaceAll("@dmio/dmio/testing", "./src/testing/mod.ts").replaceAll(
          "@dmio/dmio",
          "./mod.ts",
        ).replaceAll(
          /"(?:\/tmp\/)?(\w+\.img)"/g,
          (_, file) => JSON.stringify(scratch.join(file)),
        );
        const test = source.includes("Deno.test(");
        const { code: status, stdout, stderr } = await runProgram({ source, test });
        assertEquals([status, stderr], [0, ""], stdout);
        ran++;
      });
    }
  }
  assertGreater(ran, 4);
});
