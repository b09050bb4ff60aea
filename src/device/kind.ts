/**
 * Kinds of devices: what answers for a device besides the engine of a client. Files and block devices of the system are one kind; a device
 * in RAM is another.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import type { Inspected } from "./facts.ts";
import type { DeviceLimits } from "./limits.ts";

/** Makes an engine that holds at most `capacity` SQEs. */
export type EngineMaker = (capacity: number) => Engine;

/** What a kind of device does by itself. `fd` is the number by which its engine knows the device. */
export interface DeviceKind {
  /** Makes the engine of all devices of this kind that one client names; null for the client's own engine. */
  readonly makeEngine: EngineMaker | null;
  /** The size now, in whole sectors; 0 when the device is gone. */
  sectorsNow(fd: number): number;
  /** What it can do, and how much of it at once. */
  limits(fd: number): DeviceLimits;
  /** The facts that may change while it is open. */
  inspect(fd: number): Inspected["facts"];
  /** Puts what was written on the medium. Rejects when that fails. */
  sync(fd: number, path: string): Promise<void>;
  /** Lets the device go. */
  close(fd: number): void;
}
