/**
 * The engine under test: `DMIO_ENGINE=threads` makes clients that choose none run without io_uring, in this process (where this module is
 * preloaded) and in the programs that tests start.
 *
 * @module
 */

import { chooseByDefault, type EngineChoice } from "../../src/engine/choose.ts";

/** What the clients of tests run on, unless they choose. */
export const ENGINE: EngineChoice = Deno.env.get("DMIO_ENGINE") === "threads" ? "threads" : "auto";

chooseByDefault(ENGINE);

/** The source text of a module of the library, for a program: its clients choose the same engine. */
export function withEngine(source: string): string {
  return source.replace('let usual: EngineChoice = "auto";', `let usual: EngineChoice = "${ENGINE}";`);
}

/** Registers a test of what only io_uring has; its name says so. */
export function ringTest(name: string, fn: () => Promise<void> | void, ignore = false): void {
  Deno.test({ name: `io_uring: ${name}`, ignore: ignore || ENGINE === "threads", fn });
}
