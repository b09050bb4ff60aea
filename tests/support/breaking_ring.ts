import { IoUring } from "../../src/engine/io_uring.ts";

/** A ring that can be made to fail for good, as when its file descriptor is gone. */
export class BreakingRing extends IoUring {
  /** A submit of at least so many SQEs fails; 0: every submit. */
  breaksAt = Infinity;

  /** Whether CQEs stay in the ring. */
  keepsCompletions = false;

  override reap(): number {
    return this.keepsCompletions ? 0 : super.reap();
  }

  override submit(): number {
    if (this.queued >= this.breaksAt) throw new Error("the ring is broken");
    return super.submit();
  }
}
