/**
 * An eventfd: how the kernel, or a close, wakes the event loop.
 *
 * @module
 */

import { errno, libc } from "./libc.ts";
import { SystemError } from "./errno.ts";
import { MappedMemory } from "./memory.ts";
import { EFD_CLOEXEC } from "./uapi.ts";

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A counter in the kernel that a thread can wait on while the event loop runs. */
export class EventFd {
  /** Its file descriptor. */
  readonly fd: number;
  // The waiting thread writes here, so it must be memory that no collector moves or frees.
  readonly #counter = new MappedMemory(8);
  #waiting: Promise<number> | null = null;

  /** @throws {SystemError} When no file descriptor is left. */
  constructor() {
    this.fd = libc().eventfd(0, EFD_CLOEXEC);
    if (this.fd < 0) {
      const code = errno();
      this.#counter[Symbol.dispose]();
      throw new SystemError("eventfd", code, "could not make an eventfd; see `ulimit -n`");
    }
  }

  /** Resolves once the counter is above 0, and sets it to 0. One at a time. */
  async wait(): Promise<void> {
    this.#waiting = libc().readAsync(this.fd, this.#counter.pointer, 8n);
    await this.#waiting;
    this.#waiting = null;
  }

  /** Adds one: a `wait` under way ends. */
  signal(): void {
    libc().write(this.fd, ONE, 8n);
  }

  /** Frees it; a `wait` under way ends first, so that no thread is left behind. */
  async close(): Promise<void> {
    if (this.#waiting !== null) {
      this.signal();
      await this.#waiting;
    }
    libc().close(this.fd);
    this.#counter[Symbol.dispose]();
  }
}
