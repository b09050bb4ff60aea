/**
 * The log of examples/log.ts over `node:fs`: the same code packs the same records into the same groups, and each group is durable by
 * `write` and `fdatasync`, in their fastest forms.
 *
 * @module
 */
import fs from "node:fs";
import type { Log } from "../../../examples/log.ts";
import { BlockDevice, type IoResult, type Pool } from "../../../mod.ts";
import { appendAll, type LogAppend } from "../workloads/log_append.ts";

/** The log's work, and whether the calls block the event loop. */
export interface NodeFsLog extends LogAppend {
  readonly blocking: boolean;
}

const PAGE = 4096;
const SECTOR = 512;
const DONE = { ok: true, orThrow: () => DONE } as IoResult;

/** What the log needs of a client, by `node:fs`. */
function service(fd: number, blocking: boolean): Log["io"] {
  const flush = (): Promise<IoResult> =>
    new Promise((resolve, reject) => fs.fdatasync(fd, (error) => error ? reject(error) : resolve(DONE)));
  const write: Log["io"]["write"] = ([region], memory) => {
    const [bytes, at] = [region!.count * SECTOR, region!.sector * SECTOR];
    if (blocking) {
      fs.writeSync(fd, memory as Uint8Array, 0, bytes, at);
      fs.fdatasyncSync(fd);
      return Promise.resolve(DONE);
    }
    return new Promise((resolve, reject) =>
      fs.write(fd, memory as Uint8Array, 0, bytes, at, (failed) => {
        if (failed) return reject(failed);
        fs.fdatasync(fd, (error) => error ? reject(error) : resolve(DONE));
      })
    );
  };
  const read: Log["io"]["read"] = () => Promise.reject(new Error("a new log reads nothing"));
  const pool = { alloc: (pages: number) => new Uint8Array(pages * PAGE), free() {} } as unknown as Pool;
  return { pool, read, write, flush };
}

if (import.meta.main) {
  const work: NodeFsLog = JSON.parse(Deno.args[0]!);
  const fd = fs.openSync(work.path, "r+");
  await using bdev = BlockDevice.open(work.path, { exclusive: false });
  await appendAll(work, service(fd, work.blocking), bdev);
  fs.closeSync(fd);
}
