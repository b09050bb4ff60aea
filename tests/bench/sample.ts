/**
 * What a program of the benchmark is asked for and what it answers: one line of JSON each way.
 *
 * @module
 */

/** How long a program runs: first without being measured, then measured. Seconds. */
export interface Timing {
  readonly warmUp: number;
  readonly seconds: number;
}

/** What one program did in one round, in the measured time. */
export interface Sample {
  /** Requests that ended. */
  readonly operations: number;
  /** Wall-clock seconds. */
  readonly seconds: number;
  /** CPU seconds of the process outside the kernel; absent where the program cannot say. */
  readonly userSeconds?: number;
  /** CPU seconds of the process inside the kernel, likewise. */
  readonly systemSeconds?: number;
  /** Requests that failed: anything but 0 makes the figures worthless, and the benchmark says so. */
  readonly failed: number;
  /** What else the program measured, by name. */
  readonly values?: Readonly<Record<string, number>>;
}

/** Two runs of one program as one: requests and times added up, values averaged. */
export function joined(one: Sample, other: Sample): Sample {
  const sum = (key: "userSeconds" | "systemSeconds") => {
    const [a, b] = [one[key], other[key]];
    return a !== undefined && b !== undefined && { [key]: a + b };
  };
  const mean = (name: string) => (value(name)(one) + value(name)(other)) / 2;
  return {
    operations: one.operations + other.operations,
    seconds: one.seconds + other.seconds,
    ...sum("userSeconds"),
    ...sum("systemSeconds"),
    failed: one.failed + other.failed,
    ...(one.values && {
      values: Object.fromEntries(Object.keys(one.values).map((name) => [name, mean(name)])),
    }),
  };
}

/** Requests per second. */
export function perSecond(sample: Sample): number {
  return sample.operations / sample.seconds;
}

/** User CPU microseconds of a request. */
export function userMicroseconds(sample: Sample): number {
  return (sample.userSeconds ?? NaN) / sample.operations * 1e6;
}

/** System CPU microseconds of a request. */
export function systemMicroseconds(sample: Sample): number {
  return (sample.systemSeconds ?? NaN) / sample.operations * 1e6;
}

/** CPU seconds for a million requests. */
export function cpuPerMillion(sample: Sample): number {
  return userMicroseconds(sample) + systemMicroseconds(sample);
}

/** How much of one core was busy, in percent. */
export function corePercent(sample: Sample): number {
  return cpuPerMillion(sample) * sample.operations / 1e6 / sample.seconds * 100;
}

/** A figure of {@linkcode Sample.values}. */
export function value(name: string): (sample: Sample) => number {
  return (sample) => sample.values?.[name] ?? NaN;
}
