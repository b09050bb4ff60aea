/**
 * What a test left open.
 *
 * @module
 */

import { whatIsOpen } from "../live.ts";

/**
 * Names what is open in this isolate: each client and each device that was not closed, and how many pages of a client's pool were allocated
 * and not freed. Each line says where the client was made or the device was opened.
 *
 * @returns A line each; none when nothing is open.
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
