/**
 * A file whose server hangs, or a device over it. The kernel may do such I/O while it is submitted, and stand still in it; so the clients here are
 * in programs of their own, and the server goes on after a while in any case.
 */

import { assert, assertEquals } from "@std/assert";
import { exists, settlesWithin, until } from "../support/commands.ts";
import { NbdDevice } from "../support/nbd.ts";
import { runProgram } from "../support/program.ts";
import { Scratch } from "../support/scratch.ts";
import { targets } from "../support/targets.ts";

const READY = 20_000;
const PATIENCE = 15_000;

/** What the programs have in common: a file that hangs from `hang()` on, a healthy one, and a bound for each wait. */
const PRELUDE = `
  import { BlockDevice, IoClient } from "./mod.ts";
  const [path, other, folder, direct] = Deno.args;
  const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const within = (promise, ms) =>
    Promise.race([promise.then(() => true), delay(ms).then(() => false)]);
  const hung = BlockDevice.open(path, { write: true, direct: direct === "direct" });
  const healthy = BlockDevice.open(other, { write: true });
  const io = new IoClient({ pages: 256 });
  const page = io.pool.alloc(1);
  const memory = io.pool.alloc(64);
  await io.write([{ bdev: healthy, sector: 0, count: 8 }], page);
  const wait = async (name) => {
    for (;;) {
      try { Deno.statSync(folder + "/" + name); return; } catch { await delay(2); }
    }
  };
  // The file appears under its name only once it is whole.
  const say = (name, word) => {
    Deno.writeTextFileSync(folder + "/new", word);
    Deno.renameSync(folder + "/new", folder + "/" + name);
  };
  const hang = async () => {
    say("opened", "");
    await wait("hanging");
  };
  const done = async (word) => {
    say("done", word);
    await wait("resumed");
  };
  // Far apart, so that reading ahead for one does not bring the other.
  const late = (count, write, options) => Array.from({ length: count }, (_, i) => {
    const region = { bdev: hung, sector: i * 640, count: 8 };
    const own = memory.subarray((i % 64) * 4096, (i % 64 + 1) * 4096);
    return write ? io.write([region], own, options) : io.read(region, own, options);
  });
  const end = async (answers) => {
    const bits = (await Promise.all(answers)).map(({ errorBits }) => errorBits);
    await io.close();
    console.log(bits.every((bit) => bit === 0n) ? "all answered" : "errors: " + bits);
  };
`;

/** Runs a program beside a file that hangs, or a loop device over it, until it has said that it is done, or for as long as the patience lasts. */
async function beside(
  source: string,
  direct: boolean,
  loop = false,
): Promise<{ word: string; stdout: string }> {
  await using nbd = await NbdDevice.create({ loop, bytes: 64 << 20 });
  await using scratch = await Scratch.create();
  // Not in memory: there the kernel would need no thread to write.
  await using healthy = await targets("buffered file", 1, 1 << 20);
  const program = runProgram({
    source: PRELUDE + source,
    args: [nbd.path, healthy.all[0]!.bdev.path, scratch.path, direct ? "direct" : "buffered"],
    permissions: ["-A", "--no-check"],
    timeout: (READY + 2 * PATIENCE) / 1000,
  });
  let ended = false;
  program.finally(() => ended = true);
  await until(() => ended || exists(scratch.join("opened")), READY);
  await nbd.hang();
  Deno.writeTextFileSync(scratch.join("hanging"), "");
  await until(() => ended || exists(scratch.join("done")), PATIENCE);
  const word = exists(scratch.join("done")) ? Deno.readTextFileSync(scratch.join("done")) : "stands still";
  nbd.resume();
  Deno.writeTextFileSync(scratch.join("resumed"), "");
  assert(await settlesWithin(program, PATIENCE * 2));
  const { stdout, stderr } = await program;
  assert(stderr === "", stderr);
  return { word, stdout: stdout.trim() };
}

for (const direct of [false, true]) {
  const kind = direct ? "direct" : "buffered";
  for (const [what, count] of [["reads", 16], ["writes", 16], ["reads", 200]] as const) {
    Deno.test(`${count} ${kind} ${what} of a file that hangs do not hold up buffered writes elsewhere`, async () => {
      const { word, stdout } = await beside(
        `
        await hang();
        const answers = late(${count}, ${what === "writes"});
        let written = 0;
        for (; written < 20; written++) {
          if (!await within(io.write([{ bdev: healthy, sector: 8 * written, count: 8 }], page), 2000)) break;
        }
        await done(written + " of 20 writes");
        await end(answers);`,
        direct,
      );
      assertEquals(word, "20 of 20 writes");
      assertEquals(stdout, "all answered");
    });
  }

  Deno.test(`timers go on and deadlines fire while ${kind} I/O waits for a file that hangs`, async () => {
    const { word, stdout } = await beside(
      `
      await hang();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 10);
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 150);
      // More requests than FUSE queues at once (12): one more blocks the thread that submits it.
      const patient = late(16, false);
      const answers = [
        ...late(16, false, { timeout: 100 }),
        ...late(16, false, { signal: controller.signal }),
      ];
      const codes = new Set();
      const all = Promise.all(answers).then((results) => {
        for (const { failures } of results) codes.add(failures[0]?.code);
      });
      const fired = await within(all, 3000);
      await delay(200);
      clearInterval(timer);
      await done(fired + " " + [...codes].sort() + " " + (ticks >= 10 ? "ticks" : ticks + " ticks only"));
      await Promise.all((await Promise.all(answers)).map(({ settled }) => settled));
      await end(patient);`,
      direct,
    );
    assertEquals(word, "true ECANCELED,ETIMEDOUT ticks");
    assertEquals(stdout, "all answered");
  });
}

for (const engine of ["auto", "threads"] as const) {
  for (const clear of ["writeZeroes", "discard"] as const) {
    Deno.test(`a deadline of a read fires while a ${clear} of the same device hangs (engine: "${engine}")`, async () => {
      const { word, stdout } = await beside(
        `
        const own = new IoClient({ pages: 16, engine: "${engine}" });
        await hang();
        const cleared = own.${clear}([{ bdev: hung, sector: 0, count: 8 }]);
        await delay(200);
        const read = own.read({ bdev: hung, sector: 4096, count: 8 }, new Uint8Array(4096), { timeout: 100 });
        const { failures, settled } = await read;
        await done(String(failures[0]?.code));
        await settled;
        await end([cleared]);
        await own.close();`,
        false,
        true,
      );
      assertEquals(word, "ETIMEDOUT");
      assertEquals(stdout, "all answered");
    });
  }
}
