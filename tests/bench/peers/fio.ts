import type { Contender } from "../contender.ts";
import { run } from "../program.ts";
import type { Sample } from "../sample.ts";

/** fio's work on one or more devices. */
export interface FioWork {
  readonly devices: readonly string[];
  readonly rw: "randread" | "write";
  readonly bytes: number;
  readonly queueDepth: number;
  /** Whether it stays on one CPU. */
  readonly pinned?: boolean;
}

/** What fio does for speed: memory and files registered once, and one system call for many requests. */
function batched(queueDepth: number): string[] {
  return [
    "--fixedbufs",
    "--registerfiles",
    `--iodepth_batch_submit=${queueDepth}`,
    "--iodepth_batch_complete_min=1",
    `--iodepth_batch_complete_max=${queueDepth}`,
  ];
}

/** fio with io_uring and direct I/O, with its default flags or with all it has for speed. */
export function fio(
  name: string,
  flags: "default" | "batched",
  work: FioWork,
  missing?: string,
): Contender {
  const args = [
    `--name=${work.rw}`,
    `--filename=${work.devices.join(":")}`,
    `--rw=${work.rw}`,
    `--bs=${work.bytes}`,
    `--iodepth=${work.queueDepth}`,
    "--ioengine=io_uring",
    "--direct=1",
    // Independent random offsets over the whole device, new ones in each run, as in every other program here.
    "--norandommap",
    "--randrepeat=0",
    "--allow_file_create=0",
    "--time_based",
    "--output-format=json",
    ...(flags === "batched" ? batched(work.queueDepth) : []),
  ];
  return {
    name,
    missing,
    async run({ warmUp, seconds }, signal) {
      const milliseconds = (s: number) => `${Math.round(s * 1000)}ms`;
      const time = [`--runtime=${milliseconds(seconds)}`, `--ramp_time=${milliseconds(warmUp)}`];
      const { stdout } = await run("fio", [...args, ...time], { signal, pinned: work.pinned ?? false });
      return sampleOf(stdout, work.rw === "write" ? "write" : "read");
    },
  };
}

function sampleOf(stdout: string, direction: "read" | "write"): Sample {
  const [job] = JSON.parse(stdout.slice(stdout.indexOf("{"))).jobs; // notes may stand before the JSON
  const done = job[direction];
  return {
    operations: done.total_ios,
    seconds: done.runtime / 1000,
    userSeconds: job.usr_cpu / 100 * job.job_runtime / 1000,
    systemSeconds: job.sys_cpu / 100 * job.job_runtime / 1000,
    failed: job.error === 0 ? 0 : 1,
  };
}
