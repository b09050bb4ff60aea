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

/**
 * A counter in the kernel that a thread can wait on while the event loop runs. Deno has 32 such threads for everything, so all rings
 * share one eventfd, and one thread at most waits for it.
 */
export class EventFd {
  static #shared: EventFd | null = null;

  /** Its file descriptor. */
  readonly fd: number;
  // The waiting thread writes here, so it must be memory that no collector moves or frees.
  readonly #counter = new MappedMemory(8);
  #waiting: Promise<number> | null = null;
  #users = 0;

  /**
   * The eventfd of this JavaScript thread; each call wants a `release`.
   *
   * @throws {SystemError} When no file descriptor is left.
   */
  static share(): EventFd {
    const event = EventFd.#shared ??= new EventFd();
    event.#users++;
    return event;
  }

  private constructor() {
    this.fd = libc().eventfd(0, EFD_CLOEXEC);
    if (this.fd < 0) {
      const code = errno();
      this.#counter[Symbol.dispose]();
      throw new SystemError("eventfd", code, "could not make an eventfd; see `ulimit -n`");
    }
  }

  /** Resolves at the next signal, for all who wait. */
  async wait(): Promise<void> {
    if (this.#waiting === null) {
      const waiting = libc().readAsync(this.fd, this.#counter.pointer, 8n);
      this.#waiting = waiting.finally(() => this.#waiting = null);
    }
    await this.#waiting;
  }

  /** Adds one: all who wait are told. */
  signal(): void {
    libc().write(this.fd, ONE, 8n);
  }

  /** Undoes one `share`; the last one frees it, when the thread that waits has come back. */
  async release(): Promise<void> {
    if (--this.#users > 0) return;
    EventFd.#shared = null;
    if (this.#waiting !== null) {
      this.signal();
      await this.#waiting;
    }
    libc().close(this.fd);
    this.#counter[Symbol.dispose]();
  }
}
