/**
 * Device queues: the regions that wait for one device of one client, and what is in flight for it.
 *
 * @module
 */

import { pageSize } from "../../ffi/memory.ts";
import type { BlockDevice } from "../device/device.ts";
import type { Engine } from "../engine/engine.ts";
import { IOSQE_ASYNC } from "../../ffi/uapi.ts";
import { Syncs } from "./syncs.ts";

/** An entry of a {@linkcode DeviceQueue}: a link of its list. */
export interface Queued<Self> {
  /** The next one in the same queue. */
  next: Self | null;
}

/** The regions that wait for one device, in the order of their requests. */
export class DeviceQueue<Region extends Queued<Region>> {
  /** SQEs in flight for the device. */
  inFlight = 0;
  /** Those of them that clear a range: discards and writes of zeroes. */
  clearing = 0;
  /** Pool pages that copies to or from the device hold. */
  bouncePages = 0;
  /** Its place among the queues that have something to issue; -1 while it has nothing. */
  place = -1;
  /** The first region with something left to issue. */
  head: Region | null = null;
  /** The syncs, which take turns; null for a device that is open for direct I/O, where the kernel answers each flush by itself. */
  readonly syncs: Syncs<Region> | null;
  #tail: Region | null = null;

  /**
   * @param device The device.
   * @param engine The engine that carries its I/O.
   * @param fd Its file descriptor, or its place in the table of files.
   * @param usualFlags `IOSQE_*` flags of its SQEs. With `IOSQE_FIXED_FILE`, `fd` is a place in the table.
   * @param forget Takes back the listener for the device's close.
   */
  constructor(
    readonly device: BlockDevice,
    readonly engine: Engine,
    readonly fd: number,
    readonly usualFlags: number,
    readonly forget: () => void,
  ) {
    this.syncs = device.direct ? null : new Syncs();
  }

  /**
   * `IOSQE_*` flags of its next SQE. While the kernel clears a range, it holds the lock of the page cache (`invalidate_lock`), for which a
   * read waits that is to fill the cache, though it may not wait (`page_cache_ra_unbounded`).
   */
  get flags(): number {
    return this.clearing > 0 && !this.device.direct ? this.usualFlags | IOSQE_ASYNC : this.usualFlags;
  }

  /**
   * Whether its SQEs may name registered buffers. The kernel checks a registered buffer page by page (`iov_iter_aligned_bvec`), so it
   * refuses all direct I/O in blocks longer than a page. Memory named by its address is checked as a whole.
   */
  get takesFixed(): boolean {
    return !this.device.direct || this.device.logicalBlockSize <= pageSize();
  }

  /** Queues a region. */
  push(region: Region): void {
    region.next = null;
    if (this.#tail === null) this.head = region;
    else this.#tail.next = region;
    this.#tail = region;
  }

  /** Removes the first region, all of which was issued. */
  shift(): void {
    const first = this.head!;
    this.head = first.next;
    if (this.head === null) this.#tail = null;
    first.next = null;
  }

  /** Removes a region from any place of the queue. @returns Whether it was there. */
  remove(region: Region): boolean {
    let before: Region | null = null;
    for (let one = this.head; one !== null; before = one, one = one.next) {
      if (one !== region) continue;
      if (before === null) this.head = one.next;
      else before.next = one.next;
      if (one.next === null) this.#tail = before;
      one.next = null;
      return true;
    }
    return false;
  }
}
