/**
 * Bounces: memory that the kernel can't use is copied through pages of the pool, a window at a time.
 *
 * @module
 */

import { EFAULT } from "../../ffi/errno.ts";
import { pageSize } from "../../ffi/memory.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { PageWaiter } from "../pool/page_queue.ts";
import type { Io, RegionIo } from "../schedule/io.ts";
import { MAX_VECTORS } from "../engine/engine.ts";
import { Segments } from "./segments.ts";

/** The most pages of one window. */
const WINDOW_PAGES = 256;

/** Carries one request through the pool's pages. Each window is copied once, whatever the number of regions. */
export class Bounce implements PageWaiter {
  /** The operation. */
  readonly io: Io;
  /** The queue of the first device, or of the device that holds it up. Bounces with one key are served in order. */
  key: unknown;
  /** Whether it waits for pages. */
  waiting = false;
  /** Whether it ended early, so that no more windows of it are issued. */
  over = false;

  readonly #memory: Segments;
  readonly #pool: PagePool;
  readonly #served: Bounce[];
  readonly #pages = new Segments();
  readonly #need: number;
  readonly #unit: number;
  #taken = 0;
  #start = 0;
  #end = 0;

  /**
   * @param io The operation; its regions are set.
   * @param memory The caller's memory.
   * @param need Bytes of the longest region.
   * @param pool Has the pages.
   * @param served Receives this bounce whenever a window is ready to be issued, and when it ended early.
   * @throws {SystemError} When the system has no memory for pages to copy through.
   */
  constructor(io: Io, memory: Segments, need: number, pool: PagePool, served: Bounce[]) {
    this.io = io;
    this.key = io.regions[0]!.queue;
    this.#memory = memory;
    this.#need = need;
    this.#pool = pool;
    this.#served = served;
    // A window ends on a block of every device that is open for direct I/O.
    let unit = pageSize();
    for (let i = 0; i < io.count; i++) {
      const { direct, logicalBlockSize } = io.regions[i]!.device;
      if (direct) unit = Math.max(unit, logicalBlockSize);
    }
    this.#unit = unit / pageSize();
    pool.reserve(this.#unit);
  }

  /** Where the current window begins, in bytes from the start of the memory. All before it is done. */
  get start(): number {
    return this.#start;
  }

  /** Queues for the pages of the next window. */
  begin(): void {
    this.waiting = true;
    this.#pool.wait(this);
  }

  /** Takes a fair number of pages, and fills them for the next window. */
  take(): "served" | "short" | "held" {
    const { io } = this;
    const available = this.#pool.availableForCopies;
    if (available < this.#unit) return "short";
    // As with slots, a device may take pages only while it holds fewer than are free, so that hung devices leave pages to others.
    for (let i = 0; i < io.count; i++) {
      const { queue } = io.regions[i]!;
      if (queue.bouncePages < available) continue;
      this.key = queue;
      return "held";
    }
    const left = Math.ceil((this.#need - this.#start) / pageSize());
    const fair = Math.max(Math.floor(available / 2), 1);
    const most = Math.max(Math.floor(Math.min(left, WINDOW_PAGES, fair) / this.#unit), 1) * this.#unit;
    this.#taken = this.#pool.takeInto(this.#pages, most);
    if (this.#taken < most || this.#scattered) {
      this.#pool.giveBack(this.#pages);
      this.#pages.clear();
      this.#taken = 0;
      return "short";
    }
    this.waiting = false;
    this.#end = Math.min(this.#start + this.#taken * pageSize(), this.#need);
    const length = this.#end - this.#start;
    // The caller may have detached or shrunk the memory. The kernel's error for a bad address is EFAULT.
    if (io.op.writes && this.#memory.copyTo(this.#start, this.#pages, 0, length) < length) {
      this.#failRest(EFAULT);
      this.#giveBack();
      this.over = true;
    } else {
      io.segments = this.#pages;
      for (let i = 0; i < io.count; i++) {
        const region = io.regions[i]!;
        region.frame(this.#start, this.#end);
        region.queue.bouncePages += this.#taken;
      }
    }
    this.#served.push(this);
    return "served";
  }

  /** Ends a bounce that waits for pages. The bytes that were not transferred fail. */
  cancel(errno: number): void {
    if (!this.waiting) return;
    this.waiting = false;
    this.#failRest(errno);
    this.over = true;
    this.#served.push(this);
    // Bounces behind it may have waited for nothing else.
    this.#pool.serve();
  }

  /** Counts the window's pages off a region's device, which is done with them, though other regions may not be. */
  regionEnded(region: RegionIo): void {
    region.queue.bouncePages -= this.#taken;
    // Bounces to the same device may have waited for that.
    this.#pool.serve();
  }

  /** Ends a window that all regions are done with, and queues for the next. @returns Whether there is none. */
  advance(): boolean {
    const { io } = this;
    const length = this.#end - this.#start;
    if (!io.op.writes && !io.abandoned) {
      if (this.#pages.copyTo(0, this.#memory, this.#start, length) < length) this.#failRest(EFAULT);
    }
    this.#giveBack();
    this.#start = this.#end;
    if (this.#end >= this.#need || io.abandoned) return true;
    this.begin();
    return false;
  }

  // One SQE must be able to carry a whole block, which may be longer than as many single pages as it can name.
  get #scattered(): boolean {
    return this.#unit > MAX_VECTORS && this.#pages.count > MAX_VECTORS;
  }

  // Fails the regions that are not done. A region of 0 sectors whose flush is due is not done either.
  #failRest(errno: number): void {
    for (let i = 0; i < this.io.count; i++) {
      const region = this.io.regions[i]!;
      if (region.bytes > this.#start || region.flush !== null) region.fail(errno, this.#start);
    }
  }

  #giveBack(): void {
    this.#taken = 0;
    const pages = this.#pages;
    this.io.segments = this.#memory;
    this.#pool.giveBack(pages);
    pages.clear();
  }
}
