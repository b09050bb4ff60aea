/**
 * The asynchronous wait: the event loop runs until the kernel signals an eventfd, on which a thread of Deno's pool blocks.
 *
 * @module
 */

import type { EventFd } from "../../ffi/eventfd.ts";

/**
 * When a wait first looks by itself, in milliseconds; each later pause is twice as long. The signal may not come: Deno has
 * 32 threads for everything that blocks, and with all of them blocked (by opening FIFOs, say) none reads the eventfd; and Linux
 * 6.12 signals only the first completion of an SQE that waits for its file.
 */
const FIRST_LOOK_MS = 1;
/** The longest pause between two looks, in milliseconds. */
const LONGEST_PAUSE_MS = 50;

/** The events that an asynchronous wait of an engine waits for. */
export interface Awaited {
  /** Whether there is something to reap, or to submit. */
  ready(): boolean;
  /** Switches the signal of the eventfd at such an event on or off. */
  signal(on: boolean): void;
}

/** The one wait of an engine. */
export class AsyncWait {
  /** Whether something was reaped since the wait began: it is not to wait for the next. */
  reaped = false;

  readonly #event: EventFd;
  readonly #awaited: Awaited;
  #resolve: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause = 0;
  #listening = false;

  /**
   * @param event The eventfd that is signalled.
   * @param awaited The events to wait for.
   */
  constructor(event: EventFd, awaited: Awaited) {
    this.#event = event;
    this.#awaited = awaited;
    awaited.signal(false);
  }

  /** Begins a wait. @returns Resolves when something may be there. */
  begin(): Promise<void> {
    this.reaped = false;
    // Before the look, so that what comes after it is signalled.
    this.#awaited.signal(true);
    if (!this.#over) return new Promise(this.#start);
    this.#awaited.signal(false);
    return Promise.resolve();
  }

  /** Ends the wait, if there is one. */
  end(): void {
    const resolve = this.#resolve;
    if (resolve === null) return;
    this.#resolve = null;
    clearTimeout(this.#timer);
    this.#awaited.signal(false);
    // The thread is not to hold up the event loop for longer than the wait.
    if (this.#listening) this.#event.signal();
    resolve();
  }

  get #over(): boolean {
    return this.reaped || this.#awaited.ready();
  }

  readonly #start = (resolve: () => void): void => {
    this.#resolve = resolve;
    this.#pause = FIRST_LOOK_MS;
    this.#timer = setTimeout(this.#look, FIRST_LOOK_MS);
    this.#listen();
  };

  // A thread that an earlier wait asked for may still be on its way back: it serves this one too.
  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    void this.#event.wait().then(this.#signalled);
  }

  // All engines of the JavaScript thread share the eventfd: the signal may be another's.
  readonly #signalled = (): void => {
    this.#listening = false;
    if (this.#resolve === null) return;
    if (this.#over) this.end();
    else this.#listen();
  };

  readonly #look = (): void => {
    if (this.#over) return this.end();
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    this.#timer = setTimeout(this.#look, this.#pause);
  };
}
