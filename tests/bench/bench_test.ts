import { assertAlmostEquals, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { exists, run } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";
import { chart } from "./chart.ts";
import type { Contender } from "./contender.ts";
import { cpuTicks } from "./noise.ts";
import { runPair } from "./pair.ts";
import { pinnedCpu, run as runProgram } from "./program.ts";
import { type Entrant, fill, type Row, WIDEST_SPREAD } from "./rows.ts";
import { perSecond, type Sample } from "./sample.ts";
import { median, percentile } from "./statistics.ts";
import { lines } from "./table.ts";

const main = new URL("main.ts", import.meta.url).pathname;

function ran(operations: number): Sample {
  return { operations, seconds: 2, failed: 0 };
}

const row: Row = {
  name: "reads",
  title: "reads <fast>",
  unit: "reads/s",
  better: "more",
  figure: perSecond,
  comparisons: [
    { of: "a", against: "b", target: { atLeast: 2 } },
    { of: "a", against: "b", by: "difference", target: { atMost: 10 } },
    { of: "a", against: "absent", target: { atLeast: 1 } },
  ],
};

Deno.test("the median of an even number of values is the mean of the middle two", () => {
  assertEquals(median([4, 1, 3, 2]), 2.5);
  assertEquals(median([9, 1, 2]), 2);
  assertEquals(median([]), NaN);
});

Deno.test("a percentile is one of the values, the least that so many lie at or below", () => {
  const values = Array.from({ length: 200 }, (_, i) => 200 - i);
  assertEquals(percentile(values, 99), 198);
  assertEquals(percentile([7], 99), 7);
});

Deno.test("a ratio is taken pair by pair, and its median meets the target", () => {
  const entrants = [
    { name: "a", samples: [ran(60), ran(50), ran(260)] },
    { name: "b", samples: [ran(20), ran(20), ran(100)] },
    { name: "absent", samples: [], problem: "it is not installed" },
  ];
  const [ratio, difference, ...none] = fill(row, entrants).verdicts;
  assertEquals(ratio?.pairs, [3, 2.5, 2.6]);
  assertAlmostEquals(ratio!.spread.median, 2.6);
  assertEquals(ratio?.reached, true);
  assertEquals(difference?.spread, { median: 20, min: 15, max: 80 });
  assertEquals(difference?.reached, false);
  assertEquals(none, []);
});

Deno.test("ratios that lie too far apart, or stand alone, are not judged; a difference always is", () => {
  const against = (...operations: number[]) => [
    { name: "a", samples: operations.map(ran) },
    { name: "b", samples: operations.map(() => ran(20)) },
  ];
  const judged = (...operations: number[]) => fill(row, against(...operations)).verdicts;
  const [wide, difference] = judged(60, 100, 120);
  assertEquals([wide?.doubt, wide?.reached], ["too wide a spread", undefined]);
  assertEquals([difference?.doubt, difference?.reached], [undefined, false]);
  const [alone] = judged(60);
  assertEquals([alone?.doubt, alone?.reached], ["one pair alone", undefined]);
  const [narrow] = judged(100, 100 * (1 + WIDEST_SPREAD / 2), 100 * (1 - WIDEST_SPREAD / 2));
  assertEquals([narrow?.doubt, narrow?.reached], [undefined, true]);
});

Deno.test("the user and system CPU time of a request stands beside a rate", () => {
  const sample = { ...ran(1000), userSeconds: 0.002, systemSeconds: 0.003 };
  const filled = fill(row, [{ name: "a", samples: [sample] }, { name: "b", samples: [ran(20)] }]);
  assertEquals(filled.entrants.map(({ cpu }) => cpu), [{ user: 2, system: 3 }, undefined]);
  assertStringIncludes(lines(filled).join("\n"), "2.00 us user, 3.00 us system");
});

Deno.test("the steal of a machine is its eighth field, and time in guests counts once", () => {
  assertEquals(cpuTicks("cpu  10 20 30 40 50 60 70 80 9 9\ncpu0 1 1"), { all: 360, steal: 80 });
});

Deno.test("a program that ran one pair less is compared over the pairs it has", () => {
  const entrants = [{ name: "a", samples: [ran(60), ran(20)] }, { name: "b", samples: [ran(20)] }];
  assertEquals(fill(row, entrants).verdicts[0]?.pairs, [3]);
});

Deno.test("a pair runs each program forwards, then backwards, and adds its two runs up", async () => {
  const order: string[] = [];
  const contender = (name: string, seconds: number): Contender => ({
    name,
    run:
      () => (order.push(name),
        Promise.resolve({ ...ran(60), seconds, userSeconds: 1, values: { ms: seconds } })),
  });
  const contenders = [contender("a", 1), contender("b", 2), contender("c", 3)];
  const entrants = contenders.map(({ name }): Entrant => ({ name, samples: [] }));
  await runPair({ rows: [row], contenders, entrants }, { warmUp: 0, seconds: 1 }, () => {});
  assertEquals(order.join(""), "abccba");
  const sum = { operations: 120, seconds: 4, userSeconds: 2, failed: 0, values: { ms: 2 } };
  assertEquals(entrants[1]!.samples, [sum]);
});

Deno.test("a program that fails in the second half of a pair keeps its earlier pairs alone", async () => {
  let runs = 0;
  const run = () => ++runs < 4 ? Promise.resolve(ran(60)) : Promise.reject(new Error("out of luck"));
  const entrant: Entrant = { name: "a", samples: [] };
  const running = { rows: [row], contenders: [{ name: "a", run }], entrants: [entrant] };
  for (let pair = 0; pair < 3; pair++) await runPair(running, { warmUp: 0, seconds: 1 }, () => {});
  assertEquals([entrant.samples.length, entrant.problem, runs], [1, "out of luck", 4]);
});

Deno.test("the chart names each program and escapes its text", () => {
  const machine = {
    date: "2030-01-02T03:04:05Z",
    kernel: "6.18",
    cpu: "a CPU",
    cores: 2,
    memoryGiB: 4,
    versions: { fio: null, deno: "2.9" },
  };
  const noise = { loadAverage: { start: 1, most: 2.5, end: 2 }, stealPercent: 3.21 };
  const entrants = [{ name: "a", samples: [ran(60)] }, { name: "b", samples: [ran(20)] }];
  const svg = chart([fill(row, entrants)], machine, noise);
  assertStringIncludes(svg, "reads &lt;fast&gt;");
  assertStringIncludes(svg, ">b</text>");
  assertStringIncludes(svg, "2030-01-02, a CPU, 2 cores, Linux 6.18");
  assertStringIncludes(svg, "2.50 at most, 2.00 at the end; CPU steal 3.2%");
  assertStringIncludes(svg, "not judged: one pair alone");
  assertEquals(svg.includes("fio"), false);
});

Deno.test("one row of the benchmark runs every program and writes the figures", async () => {
  await using scratch = await Scratch.create();
  const [json, svg] = [scratch.join("figures.json"), scratch.join("figures.svg")];
  const args = [
    "--quick",
    "--only",
    "read-qd1",
    "--pairs",
    "1",
    "--seconds",
    "0.05",
    "--json",
    json,
    "--svg",
    svg,
  ];
  const { code, stdout, stderr } = await run([Deno.execPath(), "run", "-A", main, ...args]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  const { rows, machine, noise } = JSON.parse(Deno.readTextFileSync(json));
  assertEquals(machine.kernel, Deno.osRelease());
  for (const { entrants } of rows) {
    for (const { name, figures } of entrants) assertGreater(figures[0], 0, name);
  }
  for (const { name, cpu } of rows[0].entrants) assertGreater(cpu.user + cpu.system, 0, name);
  assertGreater(noise.loadAverage.most, 0);
  assertEquals(noise.stealPercent >= 0, true);
  assertStringIncludes(stdout, "load average");
  assertEquals(rows[0].verdicts.length, 3);
  assertEquals(exists(svg), true);
});

Deno.test("--against runs both libraries on every kind of work and compares them", async () => {
  await using scratch = await Scratch.create();
  const json = scratch.join("figures.json");
  const checkout = new URL("../..", import.meta.url).pathname;
  const times = ["--quick", "--pairs", "1", "--seconds", "0.05"];
  const only = ["readsync", "mirror-qd32", "dm-io", "heap"].flatMap((name) => ["--only", name]);
  const args = [...times, ...only, "--against", checkout, "--json", json];
  const { code, stdout, stderr } = await run([Deno.execPath(), "run", "-A", main, ...args]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  const { rows, settings } = JSON.parse(Deno.readTextFileSync(json));
  assertEquals(settings.against, checkout);
  for (const { name, entrants } of rows) {
    for (const { figures } of entrants) assertEquals(figures.length, 1, name);
  }
  for (const { name, verdicts } of rows) {
    // The user CPU of so short a run may be 0.
    if (!name.endsWith("-user")) assertGreater(verdicts[0].spread.median, 0, name);
  }
});

Deno.test("--against refuses a folder that is no checkout of the library", async () => {
  await using scratch = await Scratch.create();
  const args = ["--against", scratch.path];
  const { code, stderr } = await run([Deno.execPath(), "run", "-A", main, ...args]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "mod.ts");
});

Deno.test("a device that is to keep its data is not written to", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("device");
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  Deno.writeFileSync(path, bytes);
  const args = ["--only", "mirror", "--pairs", "1", "--seconds", "0.05"];
  for (let i = 0; i < 3; i++) args.push("--device", path);
  const { code, stdout } = await run([Deno.execPath(), "run", "-A", main, ...args]);
  assertEquals(code, 0);
  assertStringIncludes(stdout, "takes --overwrite");
  assertEquals(Deno.readFileSync(path), bytes);
});

Deno.test("a device that is to be written and given twice is refused before anything runs", async () => {
  await using scratch = await Scratch.create();
  const path = scratch.join("device");
  Deno.writeFileSync(path, new Uint8Array(4096));
  const args = ["--overwrite", "--device", path, "--device", path];
  const { code, stderr } = await run([Deno.execPath(), "run", "-A", main, ...args]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "given twice");
});

Deno.test("a pinned program stays on the last of the CPUs that it may use", async () => {
  assertEquals(pinnedCpu("Cpus_allowed:\tff\nCpus_allowed_list:\t0-2,5-7\n"), "7");
  assertEquals(pinnedCpu("Cpus_allowed_list:\t3\n"), "3");
  const options = { signal: AbortSignal.timeout(60_000), pinned: true };
  const { stdout } = await runProgram("cat", ["/proc/self/status"], options);
  assertStringIncludes(stdout, `Cpus_allowed_list:\t${pinnedCpu()}\n`);
});

Deno.test("a name that no row has is refused", async () => {
  const { code, stderr } = await run([Deno.execPath(), "run", "-A", main, "--only", "no-such-row"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--list");
});

Deno.test("a device that is not there is refused before anything runs", async () => {
  const { code, stderr } = await run([Deno.execPath(), "run", "-A", main, "--device", "/dev/no-such-device"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--device /dev/no-such-device");
});
