/**
 * Abilities: how a device discards and writes zeroes. They begin as its limits say, and change when the device refuses a way.
 *
 * @module
 */

import type { DeviceFacts } from "./facts.ts";
import type { DeviceLimits } from "./limits.ts";

/** By the ring's own command. */
export const BY_COMMAND = 0;
/** By an `ioctl`. */
export const BY_IOCTL = 1;
/** By punching a hole (`FALLOC_FL_PUNCH_HOLE`). */
export const BY_HOLE = 2;
/** By zeroing a range (`FALLOC_FL_ZERO_RANGE`). */
export const BY_ZERO_RANGE = 3;
/** By writing zeros. */
export const BY_WRITES = 4;
/** Not at all. */
export const NOT = 5;

/** The abilities of one device. */
export class Abilities {
  /** How it discards. */
  discard: typeof BY_COMMAND | typeof BY_IOCTL | typeof BY_HOLE | typeof NOT;
  /** The most bytes that one command discards. */
  readonly mostDiscarded: number;
  /** How it makes zeroes. */
  zeroes: typeof BY_ZERO_RANGE | typeof BY_IOCTL | typeof BY_WRITES = BY_ZERO_RANGE;
  /** Whether it takes `FALLOC_FL_PUNCH_HOLE`, after which the range reads as zeros. */
  holes = true;
  /** Whether the device itself makes zeroes. For a device that does not, the kernel writes them as data. */
  readonly makesZeroes: boolean;

  /**
   * @param device The device.
   * @param limits Its limits.
   */
  constructor(device: DeviceFacts, { discardMaxBytes, writeZeroesMaxBytes }: DeviceLimits) {
    const block = device.logicalBlockSize;
    const most = Math.min(discardMaxBytes ?? MOST_DISCARDED, MOST_DISCARDED);
    this.mostDiscarded = Math.max(most - most % block, block);
    this.discard = !device.isBlockDevice ? BY_HOLE : discardMaxBytes === 0 ? NOT : BY_COMMAND;
    this.makesZeroes = writeZeroesMaxBytes !== 0;
  }
}

/** The most bytes of one discard: a command over a whole disk would hold up the commands behind it. */
const MOST_DISCARDED = 2 ** 30;
