/**
 * Sets up an io_uring with the best flags that the kernel takes, and explains a refusal.
 *
 * @module
 */

import { EACCES, EINVAL, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM, SystemError } from "../../ffi/errno.ts";
import {
  io_uring_cqe,
  io_uring_params,
  io_uring_probe,
  io_uring_probe_op,
  io_uring_sqe,
} from "../../ffi/layout.ts";
import { liburing } from "../../ffi/liburing.ts";
import { pageSize } from "../../ffi/memory.ts";
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
} from "../../ffi/uapi.ts";
import { lockMemory, memlockLimit, unlockMemory } from "./locked_memory.ts";
import type { Structs } from "./structs.ts";

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
  /** Bytes of the queues, which the kernel counts as locked memory. */
  readonly lockedBytes: number;
}

/**
 * Sets up a ring. The kernel rounds the entries of each queue up to a power of two, and clamps.
 *
 * @param entries Entries of the submission queue.
 * @param completions Entries of the completion queue, no fewer.
 * @param structs Memory for the `struct io_uring` and its parameters.
 * @returns What is in use; `tearDown` undoes it.
 * @throws {SystemError} When the kernel refuses every set of flags: why, and the way out.
 */
export function setUp(entries: number, completions: number, structs: Structs): Setup {
  const { ring, params, paramsView } = structs;
  const { io_uring_queue_init_params } = liburing();
  const lockedBytes = queueBytes(entries * io_uring_sqe.size) + queueBytes(completions * io_uring_cqe.size);
  let result = 0;
  for (const flags of FLAG_SETS) {
    result = lockMemory(lockedBytes, () => {
      for (let offset = 0; offset < io_uring_params.size; offset++) paramsView.setUint8(offset, 0);
      paramsView.setUint32(io_uring_params.flags, flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE, true);
      paramsView.setUint32(io_uring_params.cq_entries, completions, true);
      return io_uring_queue_init_params(entries, ring, params);
    });
    if (result === 0) {
      return {
        sqEntries: paramsView.getUint32(io_uring_params.sq_entries, true),
        cqEntries: paramsView.getUint32(io_uring_params.cq_entries, true),
        flags,
        features: paramsView.getUint32(io_uring_params.features, true),
        lockedBytes,
      };
    }
    if (result !== -EINVAL) break;
  }
  throw new SystemError("io_uring_setup", -result, setupAdvice(-result, entries));
}

/**
 * Undoes `setUp`: the mappings of the queues are gone when this returns.
 *
 * @param structs The ring's structures.
 * @param setup What `setUp` returned.
 */
export function tearDown(structs: Structs, setup: Setup): void {
  liburing().io_uring_queue_exit(structs.ring);
  unlockMemory(setup.lockedBytes);
}

/**
 * Has the kernel signal an eventfd at completions.
 *
 * @param structs The structures of a ring that is set up.
 * @param fd The eventfd.
 * @throws {SystemError} When the kernel refuses it.
 */
export function registerEventFd(structs: Structs, fd: number): void {
  const refused = liburing().io_uring_register_eventfd(structs.ring, fd);
  switch (-refused) {
    case 0:
      return;
    case ENOMEM:
      throw new SystemError("io_uring_register", ENOMEM, `no memory for an eventfd. ${memlockAdvice()}`);
    case EPERM:
    case EACCES:
      throw new SystemError("io_uring_register", -refused, FILTERED);
    default: {
      const advice = "the ring takes no eventfd to wake the event loop by";
      throw new SystemError("io_uring_register", -refused, advice);
    }
  }
}

/**
 * Allows the kernel a worker for each operation. What can't be done without blocking it hands to workers, of which it allows few by
 * default (8 on two cores): a file that hangs would take them all. Linux before 5.15 does as it does.
 *
 * @param structs The structures of a ring that is set up.
 * @param count How many operations there may be.
 */
export function allowWorkers(structs: Structs, count: number): void {
  const { ring, scratch, scratchView } = structs;
  scratchView.setUint32(0, count, true);
  scratchView.setUint32(4, 0, true);
  liburing().io_uring_register_iowq_max_workers(ring, scratch);
}

/**
 * Whether the kernel knows `IORING_OP_READ` and `IORING_OP_WRITE`; `false` when it refuses the probe.
 *
 * @param structs The structures of a ring that is set up.
 * @returns Whether both are there.
 */
export function probePlainOpcodes(structs: Structs): boolean {
  const { fd, scratch, scratchView } = structs;
  const opcodes = IORING_OP_WRITE + 1;
  // The kernel takes a probe only when it is zeros.
  for (let at = 0; at < io_uring_probe.size + opcodes * io_uring_probe_op.size; at += 8) {
    scratchView.setBigUint64(at, 0n, true);
  }
  if (liburing().io_uring_register(fd, IORING_REGISTER_PROBE, scratch, opcodes) < 0) return false;
  return [IORING_OP_READ, IORING_OP_WRITE].every((opcode) => {
    const flags = io_uring_probe.size + opcode * io_uring_probe_op.size + io_uring_probe_op.flags;
    return opcode < scratchView.getUint8(io_uring_probe.ops_len) &&
      (scratchView.getUint16(flags, true) & IO_URING_OP_SUPPORTED) !== 0;
  });
}

// The kernel adds a header of less than a page to the completion queue.
function queueBytes(bytes: number): number {
  return Math.ceil(bytes / pageSize()) * pageSize();
}

const FILTERED =
  "a seccomp filter (a container's, systemd's SystemCallFilter=) or a security module allows only " +
  "a part of io_uring; allow all of io_uring_setup, io_uring_enter and io_uring_register, or none";

function setupAdvice(errno: number, entries: number): string {
  switch (errno) {
    case EPERM:
      return "io_uring is forbidden here. Either the sysctl kernel.io_uring_disabled is 1 or 2 " +
        "(sysctl kernel.io_uring_disabled=0 allows it), or a container's seccomp profile blocks it " +
        "(Docker's default does: --security-opt seccomp=PROFILE with io_uring_setup, io_uring_enter and " +
        "io_uring_register allowed)";
    case EACCES:
      return "io_uring is forbidden here by a security module. With SELinux the program's domain needs the " +
        "permissions of class io_uring (`ausearch -m avc` shows what was denied); or a container's seccomp " +
        "profile blocks it (--security-opt seccomp=PROFILE with io_uring_setup, io_uring_enter and " +
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

/** Why `io_uring_enter` failed for good, and the way out. */
export function enterAdvice(errno: number): string {
  const lost = "the ring can no longer be used";
  return errno === EPERM || errno === EACCES || errno === ENOSYS ? `${lost}: ${FILTERED}` : lost;
}

/** Says what limits locked memory for this process, and how to raise it. */
export function memlockAdvice(): string {
  const limit = memlockLimit();
  const bytes = limit === Infinity ? "unlimited" : `${limit / 1024} KiB`;
  return `Locked memory is limited by RLIMIT_MEMLOCK, which is ${bytes} here (all rings and pools of the user count). ` +
    "Raise it with `ulimit -l KIB`, a line `USER - memlock KIB` in /etc/security/limits.conf, `LimitMEMLOCK=` in a " +
    "systemd unit, `--ulimit memlock=BYTES` for a container, or give the program CAP_IPC_LOCK; or ask for less";
}
