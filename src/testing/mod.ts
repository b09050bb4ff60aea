/**
 * A kit for the tests of programs that use dmio: devices in RAM, their faults and power cuts, and a report of what a test left open.
 *
 * A mirror, a log or a database is written for `BlockDevice` and `IoClient`. Its tests give it {@linkcode ramDevice}s, which a real
 * `IoClient` drives: the whole library is at work, only the kernel is not. {@linkcode faults} makes sectors bad, lets operations fail, hang or
 * lie, and cuts the power. The kit needs no root, no io_uring, no liburing and no permission.
 *
 * @example A test of a mirror
 * ```ts
 * import { IoClient } from "@dmio/dmio";
 * import { dmioLeaks, faults, ramDevice } from "@dmio/dmio/testing";
 *
 * Deno.test("a mirror reads from its second leg when the first has a bad sector", async () => {
 *   {
 *     await using io = new IoClient({ pages: 16 });
 *     await using a = ramDevice(1 << 20);
 *     await using b = ramDevice(1 << 20);
 *     const legs = [a, b].map((bdev) => ({ bdev, sector: 0, count: 8 }));
 *     (await io.write(legs, new Uint8Array(4096).fill(7))).orThrow();
 *     faults(a).badSectors(3);
 *     const data = new Uint8Array(4096);
 *     let result = await io.read(legs[0]!, data);
 *     if (!result.ok) result = await io.read(legs[1]!, data);
 *     result.orThrow();
 *   }
 *   const leaks = dmioLeaks();
 *   if (leaks.length > 0) throw new Error(leaks.join("\n"));
 * });
 * ```
 *
 * @module
 */

export type { WriteCache } from "./disk.ts";
export type { FaultOp, FaultScope } from "./fault_rules.ts";
export { DeviceFaults, type Fault } from "./faults.ts";
export { dmioLeaks } from "./leaks.ts";
export type { IoService } from "../service.ts";
export { faults, ramDevice, type RamDeviceOptions, reopen } from "./ram_device.ts";
