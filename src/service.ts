/**
 * What a client does, as a type that others than the class can have.
 *
 * @module
 */

import type { IoClient } from "./client.ts";

/**
 * All that an {@linkcode IoClient} does, without the class. A program that takes an `IoService` can be given a mock in its tests, or a layer
 * of its own around a client.
 *
 * @example
 * ```ts
 * import { BlockDevice, type IoResult, type IoService } from "@dmio/dmio";
 *
 * // It takes what it needs of a client, so that a mock is short.
 * async function erase(io: Pick<IoService, "writeZeroes" | "flush">, bdev: BlockDevice): Promise<IoResult> {
 *   (await io.writeZeroes([{ bdev, sector: 0, count: bdev.sectors }])).orThrow();
 *   return await io.flush([bdev]);
 * }
 * console.log(erase.length);
 * ```
 */
export type IoService = Pick<IoClient, keyof IoClient>;
