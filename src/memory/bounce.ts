/**
 * Bounces: pool pages that stand in for memory which the kernel can't be given, a window at a time.
 *
 * @module
 */

import { EFAULT, ENOMEM } from "../../ffi/errno.ts";
import { pageSize } from "../../ffi/memory.ts";
import { Segments } from "./segments.ts";
import type { PagePool } from "../pool/page_pool.ts";
import type { PageWaiter } from "../pool/page_queue.ts";
import type { Request } from "../request/request.ts";

/** The most pages that one request has at a time. */
const WINDOW_PAGES = 256;

/** What a bounce needs of its client. */
export interface BounceHooks {
  /** Issues the window that was framed. */
  issue(request: Request): void;
  /** Ends the request: nothing more of it is to be issued. */
  finish(request: Request): void;
}

/** Carries one request through the pool's pages. Each window is copied once, whatever the number of regions. */
export class Bounce implements PageWaiter {
  /** The request. */
  readonly request: Request;
  /** The first device that it names, or the one that holds it up: those of one device wait behind each other. */
  key: unknown;
  /** Whether it waits for pages. */
  waiting = false;

  readonly #pool: PagePool;
  readonly #hooks: BounceHooks;
  readonly #pages = new Segments();
  readonly #need: number;
  readonly #unit: number;
  #taken = 0;
  #start = 0;
  #end = 0;

  /**
   * @param request A request whose `memory` is reduced and whose regions are set.
   * @param need Bytes of its longest region.
   * @param pool Where the pages come from.
   * @param hooks Whom to tell.
   */
  constructor(request: Request, need: number, pool: PagePool, hooks: BounceHooks) {
    this.request = request;
    this.key = request.regions[0]!.lane;
    this.#need = need;
    this.#pool = pool;
    this.#hooks = hooks;
    // A window ends on a block of every device that is open for direct I/O.
    let unit = pageSize();
    for (let i = 0; i < request.count; i++) {
      unit = Math.max(unit, request.regions[i]!.device.logicalBlockSize);
    }
    this.#unit = unit / pageSize();
    if (pool.pages < this.#unit) {
      throw new RangeError(
        `memory must be copied through the pool, which takes ${this.#unit} pages at least; it holds ${pool.pages}. ` +
          "Add some with pool.get (dmIoGet), or use memory that needs no copy: the pool's, or a SharedArrayBuffer's, aligned",
      );
    }
  }

  /** Where the window under way begins, in bytes from the start of the memory: all before it is done. */
  get start(): number {
    return this.#start;
  }

  /** Queues for the pages of the next window. */
  begin(): void {
    this.waiting = true;
    this.#pool.wait(this);
  }

  /** Takes pages, as many as are fair, and issues the next window. */
  take(): "served" | "short" | "held" {
    const { request } = this;
    const available = this.#pool.available;
    if (available < this.#unit) return this.#short();
    // As with slots: a device may hold pages only while it has fewer than are left, so that one that hangs leaves some for others.
    for (let i = 0; i < request.count; i++) {
      const { lane } = request.regions[i]!;
      if (lane.bouncePages < available) continue;
      this.key = lane;
      return "held";
    }
    const left = Math.ceil((this.#need - this.#start) / pageSize());
    const fair = Math.max(Math.floor(available / 2), 1);
    const most = Math.max(Math.floor(Math.min(left, WINDOW_PAGES, fair) / this.#unit), 1) * this.#unit;
    this.#taken = this.#pool.takeInto(this.#pages, most);
    if (this.#taken < most) {
      this.#pool.giveBack(this.#pages);
      this.#pages.clear();
      this.#taken = 0;
      return this.#short();
    }
    this.#charge(this.#taken);
    this.waiting = false;
    this.#end = Math.min(this.#start + this.#taken * pageSize(), this.#need);
    const length = this.#end - this.#start;
    if (request.write && request.memory.copyTo(this.#start, this.#pages, 0, length) < length) {
      this.#fault();
      this.#giveBack();
      this.#hooks.finish(request);
      return "served";
    }
    request.segments = this.#pages;
    for (let i = 0; i < request.count; i++) request.frame(request.regions[i]!, this.#start, this.#end);
    this.#hooks.issue(request);
    return "served";
  }

  /** Stops waiting for pages: what was not transferred yet has failed. */
  cancel(errno: number): void {
    if (!this.waiting) return;
    this.waiting = false;
    for (let i = 0; i < this.request.count; i++) {
      const region = this.request.regions[i]!;
      if (region.bytes > this.#start) region.fail(errno, this.#start);
    }
    this.#hooks.finish(this.request);
    // Those behind it may have waited only for their turn.
    this.#pool.serve();
  }

  /** A window was transferred. @returns Whether it was the last. */
  advance(): boolean {
    const { request } = this;
    const length = this.#end - this.#start;
    if (!request.write && !request.abandoned) {
      if (this.#pages.copyTo(0, request.memory, this.#start, length) < length) this.#fault();
    }
    this.#giveBack();
    this.#start = this.#end;
    if (this.#end >= this.#need || request.abandoned) return true;
    this.begin();
    return false;
  }

  // Pages come back, unless the pool was shrunk since, or transferred away: then none ever will.
  #short(): "served" | "short" {
    if (this.#pool.pages >= this.#unit) return "short";
    this.cancel(ENOMEM);
    return "served";
  }

  // The owner detached or shrank the memory while it was in use: what the kernel says of a bad address.
  #fault(): void {
    for (let i = 0; i < this.request.count; i++) {
      const region = this.request.regions[i]!;
      if (region.bytes > this.#start) region.fail(EFAULT, this.#start);
    }
  }

  #giveBack(): void {
    this.#charge(-this.#taken);
    this.#taken = 0;
    const pages = this.#pages;
    this.request.segments = this.request.memory;
    this.#pool.giveBack(pages);
    pages.clear();
  }

  #charge(pages: number): void {
    for (let i = 0; i < this.request.count; i++) this.request.regions[i]!.lane.bouncePages += pages;
  }
}
