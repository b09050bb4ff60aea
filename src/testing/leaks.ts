/**
 * The report of clients, devices and pages that a test left open.
 *
 * @module
 */

import { whatIsOpen } from "../live.ts";

/**
 * Reports what is open in this isolate: each client and each device that was not closed, and how many pages of an open client were allocated
 * and not freed. Each line names the place where the client was made or the device was opened.
 *
 * @returns The lines; none when nothing is open.
 *
 * @example
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { dmioLeaks, ramDevice } from "@dmio/dmio/testing";
 *
 * Deno.test.afterEach(() => {
 *   const leaks = dmioLeaks();
 *   if (leaks.length > 0) throw new Error(leaks.join("\n"));
 * });
 *
 * Deno.test("a test that leaves nothing open", async () => {
 *   await using io = new IoClient({ pages: 16 });
 *   await using device = ramDevice(1 << 20);
 *   await io.flush([device]);
 * });
 * ```
 */
export function dmioLeaks(): string[] {
  return whatIsOpen();
}
