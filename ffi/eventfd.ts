/**
 * An eventfd: the kernel, or a close, signals it to wake the event loop.
 *
 * @module
 */

import { errno, libc } from "./libc.ts";
import { SystemError } from "./errno.ts";
import { MappedMemory } from "./memory.ts";
import { __kernel_timespec, pollfd } from "./layout.ts";
import { setTimespec } from "./timespec.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK, POLLIN } from "./uapi.ts";

const COUNTER = new Uint8Array(8);
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** How long a release blocks for the waiting thread to take its signal, in milliseconds: it needs microseconds. */
const TAKEN_MS = 5;
/** How long a release waits for that thread to come back, in milliseconds. */
const LATE_MS = 1000;

/**
 * A counter in the kernel that a thread can wait on while the event loop runs. Deno has 32 such threads for everything, so all engines
 * share one eventfd, and one thread at most waits for it.
 */
export class EventFd {
  static #shared: EventFd | null = null;

  /** Its file descriptor. */
  readonly fd: number;
  // The waiting thread writes here, so it must be memory that no collector moves or frees.
  readonly #counter: MappedMemory;
  #waiting: Promise<number> | null = null;
  #users = 0;

  /**
   * The eventfd of this JavaScript thread. Each call needs one `release`.
   *
   * @throws {SystemError} When no file descriptor is left.
   */
  static share(): EventFd {
    const event = EventFd.#shared ??= new EventFd();
    event.#users++;
    return event;
  }

  private constructor() {
    using counter = new DisposableStack();
    this.#counter = counter.use(new MappedMemory(8));
    this.fd = libc().eventfd(0, EFD_CLOEXEC);
    if (this.fd < 0) throw new SystemError("eventfd", errno(), "could not make an eventfd; see `ulimit -n`");
    counter.move();
  }

  /** Resolves at the next signal, for all callers. */
  async wait(): Promise<void> {
    if (this.#waiting === null) {
      const waiting = libc().readAsync(this.fd, this.#counter.pointer, 8n);
      this.#waiting = waiting.finally(() => this.#waiting = null);
    }
    await this.#waiting;
  }

  /** Resets the counter, unless a thread waits. A caller that drops signals so must look for events before its wait. */
  drain(): void {
    if (this.#waiting === null && readable(this.fd)) libc().read(this.fd, COUNTER, 8n);
  }

  /** Adds one to the counter: every wait resolves. */
  signal(): void {
    libc().write(this.fd, ONE, 8n);
  }

  /**
   * Undoes one `share`; the last one frees it. The file descriptor is closed before this returns when no thread waits, or when the
   * waiting thread takes the signal at once, as it does when it blocks in `read`.
   *
   * @returns Resolves when no thread waits, or after a time limit when all threads of Deno's pool are blocked.
   */
  async release(): Promise<void> {
    if (--this.#users > 0) return;
    EventFd.#shared = null;
    const waiting = this.#waiting;
    if (waiting === null) return this.#free();
    this.signal();
    const closed = this.#taken();
    if (closed) libc().close(this.fd);
    const freed = waiting.then(() => closed ? this.#counter[Symbol.dispose]() : this.#free());
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LATE_MS);
    await Promise.race([freed, late.promise]);
    clearTimeout(timer);
  }

  // Whether the waiting thread takes the signal, which resets the counter. It does not use the file descriptor afterwards.
  #taken(): boolean {
    for (let pause = 0; readable(this.fd); pause++) {
      if (pause === TAKEN_MS) return false;
      libc().poll(null, 0n, 1);
    }
    return true;
  }

  #free(): void {
    libc().close(this.fd);
    this.#counter[Symbol.dispose]();
  }
}

function readable(fd: number): boolean {
  const poll = new DataView(new ArrayBuffer(pollfd.size));
  poll.setInt32(pollfd.fd, fd, true);
  poll.setInt16(pollfd.events, POLLIN, true);
  return libc().poll(new Uint8Array(poll.buffer), 1n, 0) > 0;
}

/** An eventfd on which the JavaScript thread itself sleeps. */
export class BlockingEventFd implements Disposable {
  /** Its file descriptor. */
  readonly fd: number;
  readonly #poll = new DataView(new ArrayBuffer(pollfd.size));
  readonly #timeout = new DataView(new ArrayBuffer(__kernel_timespec.size));

  /** @throws {SystemError} When no file descriptor is left. */
  constructor() {
    this.fd = libc().eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (this.fd < 0) throw new SystemError("eventfd", errno(), "could not make an eventfd; see `ulimit -n`");
    this.#poll.setInt32(pollfd.fd, this.fd, true);
    this.#poll.setInt16(pollfd.events, POLLIN, true);
  }

  /**
   * Sleeps until it is signalled, and resets it.
   *
   * @param timeout Microseconds to sleep at most; `Infinity`: no bound. A signal of the process may cut it short.
   */
  wait(timeout: number): void {
    const bounded = timeout !== Infinity;
    if (bounded) setTimespec(this.#timeout, 0, timeout);
    const fds = new Uint8Array(this.#poll.buffer);
    const signalled = libc().ppoll(fds, 1n, bounded ? new Uint8Array(this.#timeout.buffer) : null, null);
    if (signalled > 0) libc().read(this.fd, COUNTER, 8n);
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    libc().close(this.fd);
  }
}
