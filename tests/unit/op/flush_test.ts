/** What the CQE of a flush means. */

import { assertEquals } from "@std/assert";
import { EAGAIN, EBUSY, EINTR, EIO } from "../../../ffi/errno.ts";
import { flush } from "../../../src/op/flush.ts";
import { DONE, FAILED, Transfer } from "../../../src/schedule/io.ts";
import { deviceOf, ioOf, segmentsOf } from "../parts.ts";

Deno.test("a flush that fails is not tried again, whatever the error", () => {
  for (const errno of [EIO, EAGAIN, EBUSY, EINTR]) {
    const io = ioOf(flush, [deviceOf()], 0, segmentsOf());
    const transfer = new Transfer(0);
    transfer.start(io.regions[0]!, 1);
    assertEquals([flush.complete(transfer, -errno), transfer.errno, transfer.offset], [FAILED, errno, 0]);
    assertEquals(flush.complete(transfer, 0), DONE);
  }
});
