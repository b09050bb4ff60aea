/** A ring that is set up in part, or refused its memory: nothing is left behind, and the error names the way out. */

import { assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { ringTest } from "../support/engine.ts";
import { runTraced } from "../support/strace.ts";

const SYSTEM_CALLS = ["io_uring_setup", "io_uring_register", "io_uring_enter"];

// Makes a client of so many pages under a limit of 8 MiB, and prints whether it has fixed buffers, or the error.
const LIMITED = `
import { IoClient, SystemError } from "./mod.ts";
new Deno.Command("prlimit", { args: ["--pid", String(Deno.pid), "--memlock=8388608:8388608"] }).outputSync();
try {
  await using io = new IoClient({ pages: Number(Deno.args[0]), queueDepth: 8 });
  console.log(io.features.fixedBuffers);
} catch (error) {
  console.log((error as SystemError).code);
}
`;

for (
  const { pages, tries, what } of [
    { pages: 256, tries: 4, what: "that the limit has room for is asked for again" },
    { pages: 4096, tries: 1, what: "beyond the limit is asked for once" },
  ]
) {
  ringTest(`memory ${what} when the kernel refuses it`, async () => {
    const free = await runTraced({ source: LIMITED, args: ["256"], trace: SYSTEM_CALLS });
    const registered = free.calls.filter((call) => call.includes("io_uring_register("));
    const at = registered.findIndex((call) => call.includes("IORING_REGISTER_BUFFERS_UPDATE")) + 1;
    assertGreater(at, 0, "the pool's pages are registered");
    const { code, stdout, stderr, calls } = await runTraced({
      source: LIMITED,
      args: [`${pages}`],
      trace: SYSTEM_CALLS,
      inject: [`io_uring_register:error=ENOMEM:when=${at}..${at + 2}`],
    });
    assertEquals(code, 0, stderr);
    if (tries > 1) assertEquals(stdout, free.stdout);
    const asked = calls.filter((call) => call.includes("IORING_REGISTER_BUFFERS_UPDATE"));
    assertEquals(asked.filter((call) => call.includes("(INJECTED)")).length, Math.min(tries, 3));
  });
}

// Prints how many open files and mappings forty clients that could not be made left behind.
const NOT_MADE = `
import { IoClient } from "./mod.ts";
const held = () => [
  [...Deno.readDirSync("/proc/self/fd")].length,
  Deno.readTextFileSync("/proc/self/maps").split("\\n").filter((line) => line.includes("io_uring")).length,
];
let thrown = 0;
const fail = (times: number) => {
  for (let i = 0; i < times; i++) {
    try {
      new IoClient({ pages: 4, queueDepth: 8, engine: "io_uring" });
    } catch {
      thrown++;
    }
  }
};
fail(4);
const before = held();
fail(40);
console.log(JSON.stringify({ thrown, before, after: held() }));
`;

// A set-up that fails at its n-th call of io_uring_register makes n of them.
const STEPS = [
  { step: "the ring", inject: "io_uring_setup:error=EPERM:when=1+1" },
  { step: "the eventfd", inject: "io_uring_register:error=EBUSY:when=1+1" },
  { step: "the table of fixed buffers", inject: "io_uring_register:error=ENOMEM:when=3+3" },
  { step: "the table of files", inject: "io_uring_register:error=ENOMEM:when=4+4" },
];
for (const { step, inject } of STEPS) {
  ringTest(`a set-up that fails at ${step} leaves no file descriptor or mapping behind`, async () => {
    const { code, stdout, stderr } = await runTraced({
      source: NOT_MADE,
      trace: SYSTEM_CALLS,
      inject: [inject],
      timeout: 30,
    });
    assertEquals(code, 0, stderr);
    const { thrown, before, after } = JSON.parse(stdout);
    assertEquals([thrown, after], [44, before]);
  });
}

// Prints the error of a client.
const FILTERED = `
import { IoClient } from "./mod.ts";
try {
  new IoClient({ pages: 4, queueDepth: 8, engine: "io_uring" });
} catch (error) {
  console.log((error as Error).message);
}
`;

for (const error of ["EPERM", "EACCES"]) {
  ringTest(
    `${error} of io_uring_enter, where set-up was allowed, is an error that names a filter`,
    async () => {
      const { code, stdout, stderr } = await runTraced({
        source: FILTERED,
        trace: SYSTEM_CALLS,
        inject: [`io_uring_enter:error=${error}:when=1+1`],
        timeout: 20,
      });
      assertEquals(code, 0, stderr);
      assertStringIncludes(stdout, `io_uring_enter: ${error}: the ring can no longer be used`);
      for (const part of ["seccomp", "security module", "io_uring_setup"]) assertStringIncludes(stdout, part);
    },
  );
}
