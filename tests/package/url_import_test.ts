/** mod.ts as a stranger uses it: by URL alone, from an empty folder, with no config and an empty cache. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** Serves only what the package publishes: mod.ts may reach nothing else. */
function servePackage(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    if (!/^\/(mod\.ts$|src\/|ffi\/)/.test(pathname)) return new Response("not published", { status: 404 });
    try {
      const text = await Deno.readTextFile(join(ROOT, pathname));
      return new Response(text, { headers: { "content-type": "application/typescript" } });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Response("not found", { status: 404 });
    }
  });
}

function program(mod: string): string {
  return `import { BlockDevice, IoClient } from ${JSON.stringify(mod)};

await using io = new IoClient({ pages: 16 });
await using file = BlockDevice.open("device.img", { write: true, create: 1 << 20 });
const sent = io.pool.alloc(2);
for (let i = 0; i < sent.length; i++) sent[i] = (i * 31 + (i >> 8)) & 255;
const region = { bdev: file, sector: 24, count: sent.length / 512 };
const written = await io.write([region], sent);
const got = new Uint8Array(sent.length);
const read = await io.read(region, got);
const same = got.every((byte, i) => byte === sent[i]);
console.log(\`write \${written.errorBits}, read \${read.errorBits}, \${got.length} bytes \${same ? "equal" : "differ"}\`);
`;
}

Deno.test("a program that imports mod.ts from a URL type-checks and does I/O with no config", async (t) => {
  const folder = await Deno.makeTempDir({ prefix: "dmio-url-" });
  const server = servePackage();
  try {
    const host = `127.0.0.1:${server.addr.port}`;
    const mod = `http://${host}/mod.ts`;
    const cwd = join(folder, "empty");
    await Deno.mkdir(cwd);
    await Deno.writeTextFile(join(cwd, "main.ts"), program(mod));

    const deno = async (...args: string[]) => {
      const env = { DENO_DIR: join(folder, "cache"), NO_COLOR: "1" };
      const output = await new Deno.Command(Deno.execPath(), { args, cwd, env }).output();
      const stderr = new TextDecoder().decode(output.stderr);
      assert(output.success, stderr);
      return new TextDecoder().decode(output.stdout);
    };

    await t.step("the program runs, and reads back its own write", async () => {
      const stdout = await deno(
        ...["run", "--check=all", "--no-config", "--no-lock", "--no-prompt", `--allow-import=${host}`],
        ...["--allow-ffi", "--allow-read=.", "--allow-write=.", "main.ts"],
      );
      assertEquals(stdout, "write 0, read 0, 8192 bytes equal\n");
      const image = await Deno.readFile(join(cwd, "device.img"));
      assertEquals(image.length, 1 << 20);
      assertEquals(image[24 * 512 + 1], 31);
    });

    await t.step("every module is from that URL or built into Deno", async () => {
      const json = await deno("info", "--no-config", "--no-lock", `--allow-import=${host}`, "--json", mod);
      const { modules } = JSON.parse(json) as { modules: { specifier: string; error?: string }[] };
      const specifiers = modules.map((module) => module.specifier);
      assert(specifiers.includes(mod), json);
      assertStringIncludes(specifiers.join(" "), `http://${host}/src/`);
      assertEquals(modules.filter((module) => module.error !== undefined), []);
      const foreign = specifiers.filter((name) =>
        !name.startsWith(`http://${host}/`) && !name.startsWith("node:")
      );
      assertEquals(foreign, []);
    });
  } finally {
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  }
});
