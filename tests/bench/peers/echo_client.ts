import { type Contender, lastLine } from "../contender.ts";
import { denoArgs } from "../program.ts";
import type { Sample } from "../sample.ts";
import { percentile } from "../statistics.ts";
import type { Responsiveness } from "../workloads/responsiveness.ts";

/** A p99 of a 10 ms interval needs hundreds of ticks: no run is shorter, in seconds. */
const SHORTEST = 1.5;
/** Milliseconds between two requests: a client that is there all the time and does not take the core. */
const PAUSE = 2;

/** Runs workloads/responsiveness.ts and asks its echo server, one request after the other. */
export function responsiveness(name: string, path: string, queueDepth: number): Contender {
  return {
    name,
    async run({ warmUp, seconds }, signal) {
      const work: Responsiveness = { path, queueDepth, warmUp };
      await using child = new Deno.Command(Deno.execPath(), {
        args: denoArgs("workloads/responsiveness.ts", work),
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
        signal,
      }).spawn();
      const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const first = await lines.read();
      if (first.done) throw new Error(`${name}: the server did not start`);
      const { port } = JSON.parse(first.value);
      await askFor(port, warmUp, signal);
      const times = await askFor(port, Math.max(seconds, SHORTEST), signal);
      await child.stdin.close();
      let rest = "";
      for (let next = await lines.read(); !next.done; next = await lines.read()) rest += next.value;
      const sample: Sample = lastLine(rest);
      return { ...sample, values: { ...sample.values, echoP99: percentile(times, 99) } };
    },
  };
}

/** @returns Milliseconds of each answer. */
async function askFor(port: number, seconds: number, signal: AbortSignal): Promise<number[]> {
  const body = "x".repeat(512);
  const times: number[] = [];
  for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
    const start = performance.now();
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body, signal });
    if (await response.text() !== body) throw new Error("the server's echo differs from what was sent");
    times.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return times;
}
