/** `dmIoPut` as the kernel has it: what it gives back is free when it returns. */

import { assertEquals } from "@std/assert";
import { runAsNobody } from "../support/as_nobody.ts";
import { run } from "../support/commands.ts";
import { ringTest } from "../support/engine.ts";
import { programFolder } from "../support/program.ts";

const MIB = 1 << 20;

ringTest("dmIoPut frees locked pages before it returns, when nothing is in flight", async () => {
  const source = `
    import { BlockDevice, dmIoClient, dmIoGet, dmIoPut, dmIoSyncVm, WRITE } from "./mod.ts";
    let registered = 0;
    for (let i = 0; i < 20; i++) {
      dmIoGet(1800);
      const bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
      dmIoSyncVm(1, [{ bdev, sector: 0, count: 8 }], WRITE, new Uint8Array(4096), null);
      if (dmIoClient().features.fixedBuffers) registered++;
      dmIoPut(1800);
      await bdev.close();
    }
    console.log(registered);`;
  const { code, stdout, stderr } = await runAsNobody({ source, memlock: 8 * MIB });
  assertEquals([code, stdout.trim(), stderr], [0, "20", ""]);
});

Deno.test("dmIoPut leaves no timer and no operation to a test that ends after it", async () => {
  const source = `
    import { BlockDevice, dmIoAsyncVm, dmIoGet, dmIoPut, READ } from "./mod.ts";
    dmIoGet(1); // opens the libraries, which stay open
    dmIoPut(1);
    Deno.test("put", async () => {
      dmIoGet(16);
      const bdev = BlockDevice.open("file.img", { write: true, create: 1 << 20 });
      const where = [{ bdev, sector: 0, count: 8 }];
      for (let i = 0; i < 20; i++) {
        await new Promise((resolve) => dmIoAsyncVm(1, where, READ, new Uint8Array(4096), resolve, null));
      }
      await bdev.close();
      dmIoPut(16);
    });`;
  await using folder = await programFolder(source);
  Deno.renameSync(folder.join("program.ts"), folder.join("program_test.ts"));
  const flags = ["-A", "--no-config", "--no-lock", "--sanitize-ops", "--sanitize-resources"];
  const ended = await run([Deno.execPath(), "test", ...flags, "program_test.ts"], {
    cwd: folder.path,
    env: { NO_COLOR: "1" },
  });
  assertEquals(ended.code, 0, ended.stdout + ended.stderr);
});
