import { assertEquals, assertStringIncludes } from "@std/assert";
import { pattern } from "../support/bytes.ts";
import { loopDevices } from "../support/loop.ts";
import { NbdDevice } from "../support/nbd.ts";
import { Scratch } from "../support/scratch.ts";

const MIB = 1 << 20;

/** Runs the example. */
async function mirror(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const example = new URL("../../examples/mirror.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", example, ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("the mirror makes its own files and image, verifies three copies, and reports the lost one", async () => {
  const { code, stdout, stderr } = await mirror();
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout.match(/ 33554432 .* 0 +yes$/gm)?.length, 3);
  assertStringIncludes(stdout, "error bits: 0b000\n");
  assertStringIncludes(stdout, "error bits: 0b100 with ");
  assertStringIncludes(stdout, "its bit alone");
});

Deno.test("the mirror writes a given image to four loop devices", async () => {
  await using scratch = await Scratch.create();
  await using loops = await loopDevices(4, { bytes: 4 * MIB });
  const image = pattern(3 * MIB + 1000, 7);
  Deno.writeFileSync(scratch.join("image"), image);
  const { code, stdout } = await mirror(
    "--image",
    scratch.join("image"),
    ...loops.devices.map(({ path }) => path),
  );
  assertEquals(code, 0, stdout);
  assertStringIncludes(stdout, "error bits: 0b1000 with ");
  for (const loop of loops.devices) assertEquals(loop.bytes(0, image.length), image, loop.path);
});

Deno.test("the mirror ends with status 1 when a device fails unexpectedly", async () => {
  await using loops = await loopDevices(2, { bytes: 64 * MIB });
  await using full = await NbdDevice.create({ bytes: 64 * MIB, full: true });
  const { code, stdout } = await mirror(full.path, ...loops.devices.map(({ path }) => path));
  assertEquals(code, 1);
  assertStringIncludes(stdout, "error bits: 0b001\n");
});

Deno.test("the mirror refuses two paths, with status 2", async () => {
  const { code, stderr } = await mirror("/dev/null", "/dev/null");
  assertEquals(code, 2);
  assertStringIncludes(stderr, "3 to 64");
});
