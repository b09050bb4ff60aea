/** System calls that io_uring has no opcode for: threads make them, and their completions come with those of the ring. */

import { assertEquals, assertLess } from "@std/assert";
import { BlockDevice } from "../../mod.ts";
import { BLKDISCARD, BLKZEROOUT, IORING_OP_READ, IOSQE_FIXED_FILE } from "../../ffi/uapi.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { IoUring } from "../../src/engine/io_uring.ts";
import { OP_IOCTL, Sqe } from "../../src/engine/sqe.ts";
import { ringTest } from "../support/engine.ts";
import { LoopDevice } from "../support/loop.ts";

const KIB = 1024;
const MIB = 1 << 20;
const EBADF = 9;
const EINVAL = 22;

/** An SQE with some fields. */
function sqe(fields: Partial<Sqe>): Sqe {
  return Object.assign(new Sqe(), fields);
}

/** Reaps so many completions; the results by user data. */
async function results(ring: IoUring, count: number, wait: () => unknown): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (let seen = 0; seen < count;) {
    await wait();
    ring.submit(); // runs the completions that the kernel has put off
    const reaped = ring.reap();
    for (let i = 0; i < reaped; i++) {
      found.set(ring.completions.userData[i]!, ring.completions.result[i]!);
    }
    seen += reaped;
  }
  assertEquals(found.size, count);
  return found;
}

const WAITS: Record<string, (ring: IoUring) => unknown> = {
  "a blocking wait": (ring) => ring.wait(),
  "a bounded blocking wait": (ring) => ring.wait(100),
  "an asynchronous wait": (ring) => ring.waitAsync(),
};
for (const [name, wait] of Object.entries(WAITS)) {
  ringTest(`${name} for a ring ends at an ioctl of a thread, which does what it says`, async () => {
    await using loop = await LoopDevice.create({ bytes: 8 * MIB });
    Deno.writeFileSync(loop.backing, new Uint8Array(8 * MIB).fill(0xa5));
    await using device = BlockDevice.open(loop.path, { write: true, direct: true });
    const ring = new IoUring(8, 64);
    try {
      assertEquals(ring.registerFile(3, device.fd), 0);
      const zeroout = sqe({ opcode: OP_IOCTL, opFlags: BLKZEROOUT, address3: 4 * KIB });
      // Many at once, more than the submission queue holds; half of them by their place in the table of files.
      for (let i = 0; i < 32; i++) {
        const file = i % 2 ? { fd: device.fd, flags: 0 } : { fd: 3, flags: IOSQE_FIXED_FILE };
        ring.push(
          Object.assign(zeroout, file, { address: (16 + 2 * i) * 4 * KIB, userData: i, generation: 9 }),
        );
      }
      ring.push(
        sqe({
          opcode: OP_IOCTL,
          fd: device.fd,
          opFlags: BLKDISCARD,
          address: 1,
          address3: 512,
          userData: 90,
        }),
      );
      ring.push(sqe({ opcode: OP_IOCTL, fd: 99_999, opFlags: BLKDISCARD, address3: 512, userData: 91 }));
      ring.submit();
      const found = await results(ring, 34, () => wait(ring));
      assertEquals([found.get(90), found.get(91)], [-EINVAL, -EBADF]);
      for (let i = 0; i < 32; i++) assertEquals(found.get(i), 0, `ioctl ${i}`);
      const medium = Deno.readFileSync(loop.backing);
      for (let block = 0; block < 128; block++) {
        const zeroed = block >= 16 && block < 80 && block % 2 === 0;
        assertEquals(medium[block * 4 * KIB], zeroed ? 0 : 0xa5, `block ${block}`);
      }
    } finally {
      await ring.close();
    }
  });
}

ringTest("ioctls and the ring's own SQEs complete side by side", async () => {
  await using loop = await LoopDevice.create({ bytes: 8 * MIB });
  await using device = BlockDevice.open(loop.path, { write: true, direct: true });
  using memory = new MappedMemory(4 * KIB);
  const ring = new IoUring(64, 256);
  try {
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 32; i++) {
        const fields = { fd: device.fd, address: 4 * KIB * i, address3: 4 * KIB, userData: i };
        ring.push(sqe({ opcode: OP_IOCTL, opFlags: BLKZEROOUT, ...fields }));
        const read = { opcode: IORING_OP_READ, fd: device.fd, address: memory.address, length: 4 * KIB };
        ring.push(sqe({ ...read, userData: 100 + i }));
      }
      ring.submit();
      const found = await results(ring, 64, () => (round % 2 ? ring.waitAsync() : ring.wait()));
      for (let i = 0; i < 32; i++) assertEquals([found.get(i), found.get(100 + i)], [0, 4 * KIB]);
    }
  } finally {
    await ring.close();
  }
});

ringTest("a ring that made ioctls leaves no file descriptor behind, and few threads", async () => {
  await using loop = await LoopDevice.create({ bytes: MIB });
  await using device = BlockDevice.open(loop.path, { write: true, direct: true });
  const open = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const threads = () => [...Deno.readDirSync("/proc/self/task")].length;
  const before = [open(), threads()] as const;
  for (let i = 0; i < 20; i++) {
    const ring = new IoUring(8, 64);
    for (let userData = 0; userData < 64; userData++) {
      ring.push(sqe({ opcode: OP_IOCTL, fd: device.fd, opFlags: BLKZEROOUT, address3: 4 * KIB, userData }));
    }
    await results(ring, 64, () => ring.wait());
    await ring.close();
  }
  assertEquals(open(), before[0]);
  assertLess(threads(), before[1] + 12);
});
