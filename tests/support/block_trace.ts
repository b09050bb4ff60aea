/**
 * What reaches a block device, and in which order, by the kernel's own trace of it.
 *
 * @module
 */

import { run, succeed } from "./commands.ts";
import { atExit } from "./last_resort.ts";
import { Scratch } from "./scratch.ts";

/** A request that the block layer issued to a driver, or that the driver completed. */
export interface BlockEvent {
  /** Whether the driver completed it. */
  readonly ended: boolean;
  /** What it is. A write that is to be on the medium at its end is `FUA`; where a device has none, the block layer flushes after it. */
  readonly what: "flush" | "write" | "FUA" | "other";
  /** Its first sector. A flush has none. */
  readonly sector: number;
  /** Its length in sectors. */
  readonly sectors: number;
}

// 7,0 WS 4096 () 8 + 8: the device, the operation (blk_fill_rwbs), the bytes of an issue, the sector, the count.
const LINE = /block_rq_(issue|complete): \S+ (\S+) (?:\d+ )?\(.*?\) (\d+) \+ (\d+)/;

/** Traces the requests of one block device. */
export class BlockTrace implements AsyncDisposable {
  readonly #instance: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(instance: string, parts: AsyncDisposableStack) {
    this.#instance = instance;
    this.#parts = parts;
  }

  /**
   * Begins to trace.
   *
   * @param path The device, whose number is that of `/sys/block`.
   * @throws {Error} When the kernel has no such trace: see {@linkcode blockTraceLack}.
   */
  static async create(path: string): Promise<BlockTrace> {
    await using parts = new AsyncDisposableStack();
    const scratch = parts.use(await Scratch.create());
    await succeed("mount", "-t", "tracefs", "dmio-test", scratch.path);
    const unmount = () => void new Deno.Command("umount", { args: ["-l", scratch.path] }).outputSync();
    parts.defer(unmount);
    parts.defer(atExit(unmount));
    const instance = scratch.join(`instances/dmio-${crypto.randomUUID()}`);
    Deno.mkdirSync(instance);
    parts.defer(() => Deno.removeSync(instance));
    parts.defer(atExit(() => Deno.removeSync(instance)));
    const set = (name: string, value: string) => Deno.writeTextFileSync(`${instance}/${name}`, value);
    const [major, minor] = Deno.readTextFileSync(`/sys/block/${path.slice("/dev/".length)}/dev`).split(":");
    // One clock for all cores, so that the trace's order is the order of the events.
    set("trace_clock", "mono");
    for (const event of ["block_rq_issue", "block_rq_complete"]) {
      // The kernel's own number of a device (MKDEV).
      set(`events/block/${event}/filter`, `dev == ${(Number(major) << 20) | Number(minor)}`);
      set(`events/block/${event}/enable`, "1");
    }
    return new BlockTrace(instance, parts.move());
  }

  /** Forgets what was traced. */
  clear(): void {
    Deno.writeTextFileSync(`${this.#instance}/trace`, "");
  }

  /** What was traced, in its order. */
  events(): BlockEvent[] {
    const events: BlockEvent[] = [];
    for (const line of Deno.readTextFileSync(`${this.#instance}/trace`).split("\n")) {
      const [, phase, operation = "", sector, sectors] = LINE.exec(line) ?? [];
      if (phase === undefined) continue;
      const what = whatOf(operation);
      const ended = phase === "complete";
      if (what === "flush") events.push({ ended, what, sector: 0, sectors: 0 });
      // The block layer ends a flush as a write of 0 sectors, which no driver saw.
      else if (sectors !== "0") {
        events.push({ ended, what, sector: Number(sector), sectors: Number(sectors) });
      }
    }
    return events;
  }

  /** Ends the trace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

// An F before the operation is a preflush, one after it a FUA. The operation of a flush is an F as well.
function whatOf(operation: string): BlockEvent["what"] {
  if (operation.startsWith("FF")) return "flush";
  if (/^F?W.*F/.test(operation)) return "FUA";
  return /^F?W/.test(operation) ? "write" : "other";
}

/**
 * Asks whether the requests of block devices can be traced here.
 *
 * @returns Why they cannot, in words for a person; null when they can.
 */
export async function blockTraceLack(): Promise<string | null> {
  await using scratch = await Scratch.create();
  const { code, stderr } = await run(["mount", "-t", "tracefs", "dmio-test", scratch.path]);
  if (code !== 0) return `tracefs cannot be mounted: ${stderr.trim()}`;
  try {
    Deno.statSync(scratch.join("events/block/block_rq_issue"));
    return null;
  } catch {
    return "this kernel traces no block requests (CONFIG_BLK_DEV_IO_TRACE)";
  } finally {
    await run(["umount", "-l", scratch.path]);
  }
}
