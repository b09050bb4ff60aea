import process from "node:process";
import type { Sample, Timing } from "../sample.ts";

/** A look at the clock costs about 100 ns, as much as some requests do: take one every 16 requests. */
const LOOK_EVERY = 16;

/** Counts a program's requests over a fixed time, after a warm-up that compiles its code and fills its queues. */
export class Meter {
  #operations = 0;
  #failed = 0;
  #running = true;
  #from: { operations: number; time: number; cpu: CpuSeconds } | undefined;
  #sample: Sample | undefined;
  readonly #warmUntil: number;
  readonly #milliseconds: number;

  constructor({ warmUp, seconds }: Timing) {
    this.#warmUntil = performance.now() + warmUp * 1000;
    this.#milliseconds = seconds * 1000;
  }

  /** Counts one request that ended. @returns Whether to make another. */
  ended(good: boolean): boolean {
    if (!good) this.#failed++;
    if (++this.#operations % LOOK_EVERY === 0 && this.#running) this.#look();
    return this.#running;
  }

  /** Prints the sample, for the benchmark to read. */
  print(values?: Record<string, number>): void {
    if (this.#sample === undefined) throw new Error("the program ended before its time was over");
    console.log(JSON.stringify({ ...this.#sample, failed: this.#failed, ...(values && { values }) }));
  }

  #look(): void {
    const time = performance.now();
    if (this.#from === undefined) {
      if (time >= this.#warmUntil) this.#from = { operations: this.#operations, time, cpu: cpuSeconds() };
    } else if (time >= this.#from.time + this.#milliseconds) {
      this.#running = false;
      this.#sample = {
        operations: this.#operations - this.#from.operations,
        seconds: (time - this.#from.time) / 1000,
        ...cpuSeconds(this.#from.cpu),
        failed: 0,
      };
    }
  }
}

/** CPU time of this process, all its threads. */
export type CpuSeconds = Required<Pick<Sample, "userSeconds" | "systemSeconds">>;

/** The CPU time since the process started, or since an earlier answer. */
export function cpuSeconds(since: CpuSeconds = { userSeconds: 0, systemSeconds: 0 }): CpuSeconds {
  const { user, system } = process.cpuUsage();
  return { userSeconds: user / 1e6 - since.userSeconds, systemSeconds: system / 1e6 - since.systemSeconds };
}
