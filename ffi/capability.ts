/**
 * Capabilities of this process (capabilities(7)).
 *
 * @module
 */

import { libc } from "./libc.ts";
import { _LINUX_CAPABILITY_VERSION_3 } from "./uapi.ts";
import { __user_cap_data_struct, __user_cap_header_struct } from "./layout.ts";

/**
 * Whether this thread has a capability in effect (`capget(2)`).
 *
 * @param capability A `CAP_*` number.
 * @returns `false` also when the system does not tell.
 */
export function hasCapability(capability: number): boolean {
  const header = new DataView(new ArrayBuffer(__user_cap_header_struct.size));
  header.setUint32(__user_cap_header_struct.version, _LINUX_CAPABILITY_VERSION_3, true);
  // Version 3 has two sets of 32 capabilities each.
  const data = new DataView(new ArrayBuffer(2 * __user_cap_data_struct.size));
  if (libc().capget(new Uint8Array(header.buffer), new Uint8Array(data.buffer)) !== 0) return false;
  const set = data.getUint32(
    Math.floor(capability / 32) * __user_cap_data_struct.size + __user_cap_data_struct.effective,
    true,
  );
  return (set >>> (capability % 32) & 1) !== 0;
}
