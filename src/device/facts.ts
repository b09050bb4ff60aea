/**
 * What the kernel says of an open file: kind, size, blocks, alignment.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { EINVAL, ENOSYS, SystemError } from "../../ffi/errno.ts";
import { pageSize } from "../../ffi/memory.ts";
import { statfs as STATFS, statx as STATX } from "../../ffi/layout.ts";
import {
  AT_EMPTY_PATH,
  BLKGETSIZE64,
  BLKPBSZGET,
  BLKROGET,
  BLKSSZGET,
  FUSE_SUPER_MAGIC,
  S_IFBLK,
  S_IFMT,
  S_IFREG,
  STATX_BASIC_STATS,
  STATX_DIOALIGN,
} from "../../ffi/uapi.ts";

/** What the kernel says of an open file. */
export interface DeviceFacts {
  /** `"block"` for a block device, `"regular"` for a file, `"other"` for what cannot be a device. */
  readonly kind: "block" | "regular" | "other";
  /** The file system that it is in, as `stat(2)` numbers it, and its number there: together they tell files apart. */
  readonly fileSystem: number;
  readonly inode: number;
  /** Size in whole sectors of 512 bytes. */
  readonly sectors: number;
  /** The unit of direct I/O in bytes: sector, count and each piece of memory are multiples of it. */
  readonly logicalBlockSize: number;
  /** The unit that the medium writes at once, in bytes. */
  readonly physicalBlockSize: number;
  /** What the address of memory must be a multiple of for direct I/O, in bytes. */
  readonly memoryAlignment: number;
  /** Whether the device refuses writes (`BLKROGET`). */
  readonly readOnly: boolean;
  /** Whether it is a file on FUSE, which blocks who submits when its server has enough to do (`max_background`). */
  readonly mayBlock: boolean;
}

const EMPTY_PATH = new Uint8Array(1);

/**
 * Reads the facts of an open file.
 *
 * @param fd A file descriptor.
 * @returns Its facts.
 * @throws {SystemError} When `statx` or an `ioctl` refuses.
 */
export function deviceFacts(fd: number): DeviceFacts {
  const stat = new DataView(new ArrayBuffer(STATX.size));
  const mask = STATX_BASIC_STATS | STATX_DIOALIGN;
  if (libc().statx(fd, EMPTY_PATH, AT_EMPTY_PATH, mask, new Uint8Array(stat.buffer)) !== 0) {
    throw new SystemError("statx", errno(), `could not look at file descriptor ${fd}`);
  }
  const inode = Number(stat.getBigUint64(STATX.stx_ino, true));
  const fileSystem = makedev(
    stat.getUint32(STATX.stx_dev_major, true),
    stat.getUint32(STATX.stx_dev_minor, true),
  );
  const type = stat.getUint16(STATX.stx_mode, true) & S_IFMT;
  // Direct I/O goes page by page: the kernel checks the part of registered memory in each page alone (iov_iter_aligned_bvec), and
  // zram takes each page's bytes from its start. So memory must lie on the logical blocks in its page.
  // Linux 6.1 says what direct I/O needs; 0 when the file system does not tell or does not do it.
  const tells = (stat.getUint32(STATX.stx_mask, true) & STATX_DIOALIGN) !== 0;
  const memoryAlign = tells ? stat.getUint32(STATX.stx_dio_mem_align, true) : 0;
  const offsetAlign = tells ? stat.getUint32(STATX.stx_dio_offset_align, true) : 0;
  if (type === S_IFBLK) {
    const logicalBlockSize = ioctlUint32(fd, BLKSSZGET);
    return {
      kind: "block",
      fileSystem,
      inode,
      sectors: wholeSectors(ioctlWords(fd, BLKGETSIZE64), 0),
      logicalBlockSize,
      physicalBlockSize: ioctlUint32(fd, BLKPBSZGET),
      memoryAlignment: Math.max(memoryAlign, Math.min(logicalBlockSize, pageSize())),
      readOnly: ioctlUint32(fd, BLKROGET) !== 0,
      mayBlock: false,
    };
  }
  // A file system's block is always enough; it is what remains when the kernel does not tell.
  const blockSize = stat.getUint32(STATX.stx_blksize, true);
  const unit = Math.min(blockSize, 4096);
  const logicalBlockSize = offsetAlign || unit;
  return {
    fileSystem,
    inode,
    kind: type === S_IFREG ? "regular" : "other",
    sectors: wholeSectors(stat, STATX.stx_size),
    logicalBlockSize,
    physicalBlockSize: blockSize,
    memoryAlignment: Math.max(memoryAlign, Math.min(logicalBlockSize, pageSize())),
    readOnly: false,
    mayBlock: fileSystemType(fd) === FUSE_SUPER_MAGIC,
  };
}

// gnu_dev_makedev of sys/sysmacros.h, for the numbers that Linux gives: 12 bits major, 20 bits minor.
function makedev(major: number, minor: number): number {
  return (minor & 0xff) + major * 2 ** 8 + (minor >>> 8) * 2 ** 20;
}

function fileSystemType(fd: number): number {
  const out = new DataView(new ArrayBuffer(STATFS.size));
  return libc().fstatfs(fd, new Uint8Array(out.buffer)) === 0 ? out.getUint32(STATFS.f_type, true) : 0;
}

// A size in bytes may pass 2^53; in sectors it does not.
function wholeSectors(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 23 + Math.floor(view.getUint32(offset, true) / 512);
}

function ioctlWords(fd: number, request: number): DataView {
  const out = new Uint8Array(8);
  if (libc().ioctl(fd, BigInt(request), out) !== 0) {
    const code = errno();
    const why = code === EINVAL || code === ENOSYS ? "the device does not know it" : "the device refused it";
    throw new SystemError(`ioctl(0x${request.toString(16)})`, code, why);
  }
  return new DataView(out.buffer);
}

function ioctlUint32(fd: number, request: number): number {
  return ioctlWords(fd, request).getUint32(0, true);
}
