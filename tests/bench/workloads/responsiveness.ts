/**
 * An echo server and a 10 ms interval in a process that reads at random, `queueDepth` at a time. It prints the
 * server's port, runs until its standard input ends, and prints how late the interval was.
 *
 * @module
 */
import { BlockDevice, IoClient } from "../../../mod.ts";
import { percentile } from "../statistics.ts";
import { cpuSeconds } from "./meter.ts";

/** The work, as the program's one argument. */
export interface Responsiveness {
  readonly path: string;
  /** 0 reads nothing: how late the interval is of itself. */
  readonly queueDepth: number;
  /** Seconds after which lateness counts. */
  readonly warmUp: number;
}

const INTERVAL = 10;
const SECTORS = 8;

if (import.meta.main) {
  const work: Responsiveness = JSON.parse(Deno.args[0]!);
  await using io = new IoClient({ pages: Math.max(1, work.queueDepth) });
  using bdev = BlockDevice.open(work.path, { direct: true });
  const blocks = Math.floor(bdev.sectors / SECTORS);
  let running = true;
  let operations = 0;
  let failed = 0;
  const reader = async () => {
    const page = io.pool.alloc(1);
    while (running) {
      const sector = Math.floor(Math.random() * blocks) * SECTORS;
      const { errorBits } = await io.read({ bdev, sector, count: SECTORS }, page);
      operations++;
      if (errorBits !== 0n) failed++;
    }
  };

  const started = performance.now();
  const late: number[] = [];
  let last = started;
  const interval = setInterval(() => {
    const now = performance.now();
    if (now - started > work.warmUp * 1000) late.push(Math.max(0, now - last - INTERVAL));
    last = now;
  }, INTERVAL);
  await using _server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen: ({ port }) => console.log(JSON.stringify({ port })),
  }, async (request) => new Response(await request.text()));

  const readers = Array.from({ length: work.queueDepth }, reader);
  for await (const _ of Deno.stdin.readable);
  running = false;
  clearInterval(interval);
  const seconds = (performance.now() - started) / 1000;
  await Promise.all(readers);
  console.log(JSON.stringify({
    operations,
    seconds,
    ...cpuSeconds(),
    failed,
    values: { intervalP99: percentile(late, 99), intervalMax: Math.max(...late) },
  }));
}
