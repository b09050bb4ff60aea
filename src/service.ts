/**
 * The type of a client without its class, so that a mock or a wrapper can have it.
 *
 * @module
 */

import type { IoClient } from "./client.ts";

/**
 * The members of {@linkcode IoClient}, without the class. A function that takes an `IoService` also takes a mock in a test, or an object that
 * wraps a client.
 *
 * @example
 * ```ts
 * import { BlockDevice, type IoResult, type IoService } from "@dmio/dmio";
 *
 * // The function names the members that it needs, so that a mock has no others.
 * async function erase(io: Pick<IoService, "writeZeroes" | "flush">, bdev: BlockDevice): Promise<IoResult> {
 *   (await io.writeZeroes([{ bdev, sector: 0, count: bdev.sectors }])).orThrow();
 *   return await io.flush([bdev]);
 * }
 * console.log(erase.length);
 * ```
 */
export type IoService = Pick<IoClient, keyof IoClient>;
