/**
 * What else the machine did during the run: figures from a busy one are to be read with care.
 *
 * @module
 */

/** A machine's load, and the CPU time that its host kept from it. */
export interface Noise {
  /** Load averages of one minute: at the start, the greatest of the run, at the end. The run is part of it. */
  readonly loadAverage: { readonly start: number; readonly most: number; readonly end: number };
  /** CPU time that the host gave to others while this machine wanted it, in percent of all. */
  readonly stealPercent: number;
}

/** CPU time of all cores since the machine started, in ticks. */
export interface CpuTicks {
  readonly all: number;
  readonly steal: number;
}

/** Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. */
export function cpuTicks(stat: string): CpuTicks {
  // The fields after steal, time in guests, are part of user and nice.
  const fields = stat.split("\n", 1)[0]!.trim().split(/\s+/).slice(1, 9).map(Number);
  return { all: fields.reduce((sum, ticks) => sum + ticks, 0), steal: fields[7] ?? 0 };
}

/** Follows the machine's load from when it is made. */
export class NoiseWatch {
  readonly #ticks = ticksNow();
  readonly #start = loadNow();
  #most = this.#start;

  /** Looks at the load; to be called now and then. */
  look(): void {
    this.#most = Math.max(this.#most, loadNow());
  }

  /** What there was so far. */
  noise(): Noise {
    this.look();
    const { all, steal } = ticksNow();
    const stealPercent = all === this.#ticks.all
      ? 0
      : (steal - this.#ticks.steal) / (all - this.#ticks.all) * 100;
    return { loadAverage: { start: this.#start, most: this.#most, end: loadNow() }, stealPercent };
  }
}

/** The noise in words. */
export function described({ loadAverage: { start, most, end }, stealPercent }: Noise): string {
  const [from, peak, to] = [start, most, end].map((load) => load.toFixed(2));
  return `load average ${from} at the start, ${peak} at most, ${to} at the end; CPU steal ${
    stealPercent.toFixed(1)
  }%`;
}

function loadNow(): number {
  return Number(Deno.readTextFileSync("/proc/loadavg").split(" ", 1)[0]);
}

function ticksNow(): CpuTicks {
  return cpuTicks(Deno.readTextFileSync("/proc/stat"));
}
