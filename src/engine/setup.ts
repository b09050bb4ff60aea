/**
 * Sets up an io_uring with the best flags that the kernel takes, and explains a refusal.
 *
 * @module
 */

import { EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM, SystemError } from "../../ffi/errno.ts";
import { io_uring_params, io_uring_probe, io_uring_probe_op, rlimit } from "../../ffi/layout.ts";
import { libc } from "../../ffi/libc.ts";
import { liburing } from "../../ffi/liburing.ts";
import {
  IO_URING_OP_SUPPORTED,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IORING_REGISTER_PROBE,
  IORING_SETUP_CLAMP,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_CQSIZE,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_TASKRUN_FLAG,
  RLIMIT_MEMLOCK,
} from "../../ffi/uapi.ts";

// Best first. Linux 6.1 takes the first, 5.19 the second, 5.10 the last.
const FLAG_SETS = [
  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
  0,
];

/** What `io_uring_queue_init_params` gave. */
export interface Setup {
  /** Entries of the submission queue. */
  readonly sqEntries: number;
  /** Entries of the completion queue. */
  readonly cqEntries: number;
  /** `IORING_SETUP_*` flags in use. */
  readonly flags: number;
  /** `IORING_FEAT_*` bits of the kernel. */
  readonly features: number;
}

/**
 * Sets up a ring. The kernel rounds the entries of each queue up to a power of two, and clamps.
 *
 * @param entries Entries of the submission queue.
 * @param completions Entries of the completion queue, no fewer.
 * @param ring Memory for the `struct io_uring`.
 * @param params Zeroed memory for the `struct io_uring_params`.
 * @param paramsView The same memory, to read.
 * @returns What is in use.
 * @throws {SystemError} When the kernel refuses every set of flags: why, and the way out.
 */
export function setUp(
  entries: number,
  completions: number,
  ring: Deno.PointerValue,
  params: Deno.PointerValue,
  paramsView: DataView,
): Setup {
  let result = 0;
  for (const flags of FLAG_SETS) {
    for (let offset = 0; offset < io_uring_params.size; offset++) paramsView.setUint8(offset, 0);
    paramsView.setUint32(io_uring_params.flags, flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE, true);
    paramsView.setUint32(io_uring_params.cq_entries, completions, true);
    result = liburing().io_uring_queue_init_params(entries, ring, params);
    if (result === 0) {
      return {
        sqEntries: paramsView.getUint32(io_uring_params.sq_entries, true),
        cqEntries: paramsView.getUint32(io_uring_params.cq_entries, true),
        flags,
        features: paramsView.getUint32(io_uring_params.features, true),
      };
    }
    if (result !== -EINVAL) break;
  }
  throw new SystemError("io_uring_setup", -result, setupAdvice(-result, entries));
}

/**
 * Whether the kernel knows `IORING_OP_READ` and `IORING_OP_WRITE`. A kernel that can't be asked is taken not to.
 *
 * @param fd The ring's file descriptor.
 * @param scratch Zeroed memory of at least 1 KiB.
 * @param view The same memory, to read.
 * @returns Whether both are there.
 */
export function probePlainOpcodes(fd: number, scratch: Deno.PointerValue, view: DataView): boolean {
  const asked = IORING_OP_WRITE + 1;
  if (liburing().io_uring_register(fd, IORING_REGISTER_PROBE, scratch, asked) < 0) return false;
  return [IORING_OP_READ, IORING_OP_WRITE].every((opcode) => {
    const flags = io_uring_probe.size + opcode * io_uring_probe_op.size + io_uring_probe_op.flags;
    return opcode < view.getUint8(io_uring_probe.ops_len) &&
      (view.getUint16(flags, true) & IO_URING_OP_SUPPORTED) !== 0;
  });
}

function setupAdvice(errno: number, entries: number): string {
  switch (errno) {
    case EPERM:
      return "io_uring is forbidden here. Either the sysctl kernel.io_uring_disabled is 1 or 2 " +
        "(sysctl kernel.io_uring_disabled=0 allows it), or a container's seccomp profile blocks it " +
        "(Docker's default does: --security-opt seccomp=PROFILE with io_uring_setup, io_uring_enter and " +
        "io_uring_register allowed)";
    case ENOSYS:
      return "this kernel has no io_uring (dmio needs Linux 5.10 or later, with CONFIG_IO_URING), " +
        "or a container's seccomp profile hides it";
    case ENOMEM:
      return `no memory for a ring of ${entries} entries. ${memlockAdvice()}`;
    case EINVAL:
      return `the kernel takes no ring of ${entries} entries, with whatever flags; a smaller queueDepth may do`;
    case EMFILE:
    case ENFILE:
      return "no file descriptor is left for the ring; see `ulimit -n`";
    default:
      return `could not set up a ring of ${entries} entries`;
  }
}

/** Says what limits locked memory for this process, and how to raise it. */
export function memlockAdvice(): string {
  const limit = new DataView(new ArrayBuffer(rlimit.size));
  libc().getrlimit(RLIMIT_MEMLOCK, new Uint8Array(limit.buffer));
  const high = limit.getUint32(rlimit.rlim_cur + 4, true);
  const low = limit.getUint32(rlimit.rlim_cur, true);
  const bytes = high === 0xffffffff ? "unlimited" : `${(high * 2 ** 32 + low) / 1024} KiB`;
  return `Locked memory is limited by RLIMIT_MEMLOCK, which is ${bytes} here (all rings and pools of the user count). ` +
    "Raise it with `ulimit -l KIB`, a line `USER - memlock KIB` in /etc/security/limits.conf, `LimitMEMLOCK=` in a " +
    "systemd unit, `--ulimit memlock=BYTES` for a container, or give the program CAP_IPC_LOCK; or ask for less";
}
