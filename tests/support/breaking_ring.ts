import { IoUring } from "../../src/engine/io_uring.ts";

/** A ring that fails for good, as when its file descriptor is gone, when it is told to. */
export class BreakingRing extends IoUring {
  /** It fails at a submit of so many SQEs or more; 0: at any. */
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
