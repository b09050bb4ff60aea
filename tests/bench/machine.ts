import { run } from "./program.ts";

/** Where and when the figures come from. */
export interface Machine {
  readonly date: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** Of what took part; `null` when it is not there. */
  readonly versions: Readonly<Record<string, string | null>>;
}

/** Asks the system. */
export async function machine(): Promise<Machine> {
  const cpu = /^model name\s*:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? Deno.build.arch;
  const { version } = JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url)));
  return {
    date: new Date().toISOString(),
    kernel: Deno.osRelease(),
    cpu,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    versions: {
      dmio: version,
      deno: Deno.version.deno,
      v8: Deno.version.v8,
      fio: await versionOf("fio"),
      liburing: await versionOf("pkg-config", "--modversion", "liburing"),
      cc: await versionOf("cc"),
      node: await versionOf("node", "-p", "process.versions.deno ? 'none' : process.version"),
      dd: await versionOf("dd"),
      nbdkit: await versionOf("nbdkit"),
    },
  };
}

async function versionOf(command: string, ...args: string[]): Promise<string | null> {
  try {
    const { stdout } = await run(command, args.length > 0 ? args : ["--version"], {
      signal: AbortSignal.timeout(5000),
    });
    return /\d+(\.\d+)+/.exec(stdout.split("\n")[0]!.replace(/\(.*?\)/g, ""))?.[0] ?? null;
  } catch {
    return null; // not installed
  }
}
