/**
 * Kinds of devices. A kind makes the engine of its devices, and reports their size, limits and facts. Files and block devices of the system
 * are one kind; devices in RAM are another.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import type { Inspected } from "./facts.ts";
import type { DeviceLimits } from "./limits.ts";

/** Makes an engine that holds at most `capacity` SQEs. */
export type EngineMaker = (capacity: number) => Engine;

/** A kind of device. `fd` is the number by which the kind and its engine know a device. */
export interface DeviceKind {
  /** Makes the engine of all devices of this kind that one client names; null for the client's own engine. */
  readonly makeEngine: EngineMaker | null;
  /** The size now, in whole sectors; 0 when the device is gone. */
  sectorsNow(fd: number): number;
  /** The limits on discards and on writes of zeroes. */
  limits(fd: number): DeviceLimits;
  /** The facts that may change while it is open. */
  inspect(fd: number): Inspected["facts"];
  /** Puts all written data on the medium. Rejects when that fails. */
  sync(fd: number, path: string): Promise<void>;
  /** Lets the device go. */
  close(fd: number): void;
}
