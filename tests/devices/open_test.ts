/** How devices are opened: by path and URL, for reading and writing, alone or beside others. */

import { assert, assertEquals, assertFalse, assertStringIncludes, assertThrows } from "@std/assert";
import { BlockDevice, IoClient, SystemError } from "../../mod.ts";
import { succeed } from "../support/commands.ts";
import { LoopDevice } from "../support/loop.ts";
import { openFiles } from "../support/process_state.ts";
import { Scratch } from "../support/scratch.ts";

/** Runs a call and tells what it throws, or null. */
function thrownBy(call: () => void): Error | null {
  try {
    call();
    return null;
  } catch (error) {
    return error as Error;
  }
}

/** Opens what cannot be opened, and leaves no file descriptor. */
function refusal(path: string, options: Parameters<typeof BlockDevice.open>[1]): SystemError {
  const before = openFiles();
  const error = assertThrows(() => BlockDevice.open(path, options), SystemError);
  assertEquals([error.syscall, openFiles()], ["open", before]);
  return error;
}

Deno.test("a URL names the same file as in Deno, or is refused as Deno refuses it", async () => {
  await using scratch = await Scratch.create();
  Deno.mkdirSync(scratch.join("a"));
  const names = [
    "plain",
    "a%20file",
    "100%",
    "%zz",
    "%41%",
    "%25",
    "%2525",
    "a%2Fb",
    "a%23b",
    "a%3Fb",
    "%E4%BD%A0",
    "a%5Cb",
    "a\\b",
    "query?b=c",
    "fragment#d",
    "a/../up",
    "%2e%2e%",
    "caf\u00e9",
    "a%00b",
    "%ff",
    "%C3",
  ];
  const urls = names.map((name) => `file://${scratch.path}/${name}`);
  urls.push("file://server/x", `file://localhost${scratch.path}/local`, "http://server/x", "data:,x");
  for (const href of urls) {
    const url = new URL(href);
    const refused = thrownBy(() => Deno.writeFileSync(url, new Uint8Array(1024)));
    if (refused !== null) {
      const error = thrownBy(() => BlockDevice.open(url));
      assertEquals(error?.constructor, refused.constructor, `${href}: ${error}, and Deno says ${refused}`);
      continue;
    }
    await using device = BlockDevice.open(url);
    assertEquals(device.sectors, 2, href);
    assertEquals(Deno.statSync(device.path).ino, Deno.statSync(url).ino, href);
    Deno.removeSync(url);
  }
});

Deno.test("a URL that names a host is refused by that host, not opened without it", () => {
  const error = assertThrows(() => BlockDevice.open(new URL("file://server/etc/hostname")), TypeError);
  assertStringIncludes(error.message, "host server");
});

Deno.test("a read-only device opens for reading, and is refused for writing with advice", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20, readOnly: true });
  for (const direct of [false, true]) {
    const error = refusal(loop.path, { write: true, direct });
    assertEquals(error.code, "EROFS");
    for (const word of [loop.path, "refuses writes", "without write: true"]) {
      assertStringIncludes(error.message, word);
    }
  }
  await using bdev = BlockDevice.open(loop.path);
  await using io = new IoClient({ pages: 4 });
  const data = io.pool.alloc(1);
  assert(bdev.readOnly);
  assertEquals((await io.read({ bdev, sector: 0, count: 8 }, data)).errorBits, 0n);
  assertThrows(() => io.write([{ bdev, sector: 0, count: 8 }], data), TypeError, "write: true");
});

Deno.test("a file on a read-only file system is refused for writing with the same advice", async () => {
  await using scratch = await Scratch.create({ tmpfs: 1 << 20 });
  Deno.writeFileSync(scratch.join("file"), new Uint8Array(1024));
  await succeed("mount", "-o", "remount,ro", scratch.path);
  const error = refusal(scratch.join("file"), { write: true });
  assertEquals(error.code, "EROFS");
  assertStringIncludes(error.message, "mounted read-only");
  await using device = BlockDevice.open(scratch.join("file"));
  assertEquals(device.sectors, 2);
});

Deno.test("a block device that is open for writing is not opened for writing again", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  const first = BlockDevice.open(loop.path, { write: true });
  const error = refusal(loop.path, { write: true });
  assertEquals(error.code, "EBUSY");
  for (const word of ["another program", "exclusive: false"]) assertStringIncludes(error.message, word);
  for (const word of ["EINVAL", "mounted at", "swap"]) {
    assertFalse(error.message.includes(word), error.message);
  }
  // An open that holds nothing is not refused.
  await using shared = BlockDevice.open(loop.path, { write: true, exclusive: false });
  await using reader = BlockDevice.open(loop.path);
  assertEquals([shared.sectors, reader.sectors], [first.sectors, first.sectors]);
  await first.close();
  await using again = BlockDevice.open(loop.path, { write: true });
  assertEquals(again.sectors, shared.sectors);
});

Deno.test("exclusive holds a block device that is open for reading alone, too", async () => {
  await using loop = await LoopDevice.create({ bytes: 1 << 20 });
  {
    await using _reader = BlockDevice.open(loop.path, { exclusive: true });
    assertEquals(refusal(loop.path, { exclusive: true }).code, "EBUSY");
    assertEquals(refusal(loop.path, { write: true }).code, "EBUSY");
  }
  await using _writer = BlockDevice.open(loop.path, { write: true });
});

Deno.test("a regular file is opened for writing any number of times", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("file");
  await using device = BlockDevice.open(path, { write: true, create: 4096, exclusive: true });
  await using again = BlockDevice.open(path, { write: true, exclusive: true });
  await using third = BlockDevice.open(path, { write: true });
  assertEquals([again.sectors, third.sectors], [device.sectors, device.sectors]);
});

Deno.test("a file system without direct I/O is an error at open, not at the first request", () => {
  // A file of procfs has no direct I/O anywhere.
  const error = refusal("/proc/version", { direct: true });
  assertEquals(error.code, "EINVAL");
  assertStringIncludes(error.message, "without direct: true");
});
