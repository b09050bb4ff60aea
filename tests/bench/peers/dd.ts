import type { Contender } from "../contender.ts";
import { run } from "../program.ts";

/**
 * One `dd oflag=direct` for each device, all at once, again and again until the time is over. The time is the
 * slowest dd's own, so that starting the programs costs it nothing. One operation is `bytes` on every device.
 *
 * @param blocks How many blocks of `bytes` one dd writes.
 */
export function dd(devices: readonly string[], bytes: number, blocks: number, missing?: string): Contender {
  const once = async (signal: AbortSignal): Promise<number> => {
    const times = await Promise.all(devices.map(async (device) => {
      const args = [
        "if=/dev/zero",
        `of=${device}`,
        `bs=${bytes}`,
        `count=${blocks}`,
        "oflag=direct",
        "conv=notrunc",
      ];
      const { stderr } = await run("dd", args, { signal });
      const [, seconds] = /copied, ([\d.e+-]+) s/.exec(stderr) ?? [];
      if (seconds === undefined) throw new Error(`dd did not say how long it took: ${stderr}`);
      return Number(seconds);
    }));
    return Math.max(...times);
  };
  return {
    name: `${devices.length} dd oflag=direct at once`,
    missing,
    async run(timing, signal) {
      await once(signal);
      let operations = 0;
      let seconds = 0;
      while (seconds < timing.seconds) {
        seconds += await once(signal);
        operations += blocks;
      }
      return { operations, seconds, failed: 0 };
    },
  };
}
