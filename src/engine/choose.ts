/**
 * Chooses the engine of a client: a ring where the kernel gives one, else threads.
 *
 * @module
 */

import { EACCES, ENOMEM, ENOSYS, EPERM, SystemError } from "../../ffi/errno.ts";
import { libc } from "../../ffi/libc.ts";
import { liburing } from "../../ffi/liburing.ts";
import { describe } from "../check.ts";
import type { Engine } from "./engine.ts";
import { IoUring } from "./io_uring.ts";
import { ThreadsEngine } from "./threads.ts";

/**
 * What carries a client's I/O. `"io_uring"`: a ring, or an error. `"threads"`: system calls. `"auto"`: a ring where liburing is installed and
 * the kernel allows one, else system calls.
 */
export type EngineChoice = "auto" | "io_uring" | "threads";

/** Errors by which a kernel, a container or a limit refuses a ring. */
const REFUSALS = new Set([EPERM, EACCES, ENOSYS, ENOMEM]);

let usual: EngineChoice = "auto";

/** Sets the engine of clients without the option. For tests. */
export function chooseByDefault(choice: EngineChoice): void {
  usual = choice;
}

/**
 * Checks the option `engine`.
 *
 * @param choice What a caller gave; `undefined` for nothing.
 * @returns The choice.
 * @throws {TypeError} When it is none of the three values.
 */
export function checkEngine(choice: unknown): EngineChoice {
  if (choice === undefined) return usual;
  if (choice === "auto" || choice === "io_uring" || choice === "threads") return choice;
  throw new TypeError(`options.engine is ${describe(choice)}; it must be "auto", "io_uring" or "threads"`);
}

/**
 * Makes an engine.
 *
 * @param choice Which.
 * @param entries Entries of a ring's submission queue.
 * @param capacity SQEs that may be queued or in flight.
 * @throws {SystemError} When the system lacks memory or file descriptors; with the choice `"io_uring"`, also when the kernel refuses a ring.
 * @throws {Error} With the choice `"io_uring"`, when liburing is missing; on any system but Linux.
 */
export function makeEngine(choice: EngineChoice, entries: number, capacity: number): Engine {
  if (choice === "threads") return new ThreadsEngine(capacity, 'the client was made with engine: "threads"');
  if (choice === "io_uring") return new IoUring(entries, capacity);
  const refused = missing();
  if (refused !== null) return new ThreadsEngine(capacity, refused);
  try {
    return new IoUring(entries, capacity);
  } catch (error) {
    if (
      !(error instanceof SystemError && REFUSALS.has(error.errno) && error.syscall.startsWith("io_uring"))
    ) throw error;
    return new ThreadsEngine(capacity, error.message);
  }
}

// Why there is no liburing; null when there is.
function missing(): string | null {
  libc(); // throws on another system, or without --allow-ffi
  try {
    liburing();
    return null;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return error instanceof Error ? error.message : `${error}`;
  }
}
