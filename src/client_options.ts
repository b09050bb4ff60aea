/**
 * How a client is made and closed.
 *
 * @module
 */

import type { EngineChoice } from "./engine/choose.ts";
import type { DeadlineOptions } from "./request/options.ts";

/** Options of {@linkcode IoClient}. */
export interface IoClientOptions {
  /** Pages of the pool to begin with. Default: 1024, which is 4 MiB. */
  pages?: number;
  /**
   * SQEs that one device may have in flight, 1 to 4096. The client holds four times as many. Three hung devices may fill their depth; each
   * later one gets at most half of the rest, so that ten hung devices do not hold up another. Default: 128.
   */
  queueDepth?: number;
  /** Whether to poll for completions for up to 50 us before sleeping, while polls find completions. Default: `true`. */
  poll?: boolean;
  /**
   * What carries the I/O. `"io_uring"`: a ring, or an error. `"threads"`: system calls, most of them on up to 24 threads, at most 8 of them
   * for one device. Default: `"auto"`, a ring where liburing is installed and the kernel allows one, else threads.
   * {@linkcode IoClient.features} says which engine the client has, and why it has no ring.
   */
  engine?: EngineChoice;
}

/** Options of {@linkcode IoClient.close}. */
export interface CloseOptions {
  /** Milliseconds to wait for outstanding requests. Default: no limit. */
  timeout?: number;
}

/** Options of a call that blocks: it has no deadline. */
export type Blocking<Options> = Omit<Options, keyof DeadlineOptions>;
