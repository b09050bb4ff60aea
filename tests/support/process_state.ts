/**
 * What this process holds, to find leaks by.
 *
 * @module
 */

/** What this process holds at one moment. */
export interface ProcessState {
  /** Open file descriptors. */
  readonly openFiles: number;
  /** Bytes of memory that are resident (`VmRSS`). */
  readonly resident: number;
  /** Bytes of memory locked by `mlock(2)` (`VmLck`). */
  readonly locked: number;
  /** Bytes of memory pinned by the kernel, as registered buffers are (`VmPin`). */
  readonly pinned: number;
  /** Threads. */
  readonly threads: number;
}

/** Reads what this process holds. */
export function processState(): ProcessState {
  const status = Deno.readTextFileSync("/proc/self/status");
  const value = (key: string) => Number(new RegExp(`^${key}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? NaN);
  return {
    openFiles: openFiles(),
    resident: value("VmRSS") * 1024,
    locked: value("VmLck") * 1024,
    pinned: value("VmPin") * 1024,
    threads: value("Threads"),
  };
}

/**
 * Whether this kernel counts registered buffers in `VmPin`; kernels differ in what they charge to whom.
 *
 * @param register Registers some, and gives them back at its disposal.
 */
export function countsPinned(register: () => Disposable): boolean {
  const before = processState().pinned;
  using _registered = register();
  return processState().pinned > before;
}

/** How many file descriptors are open in this process. */
export function openFiles(): number {
  // The listing has one of its own open.
  return [...Deno.readDirSync("/proc/self/fd")].length - 1;
}
