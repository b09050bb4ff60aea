/**
 * Facts about an open device: those that the kernel reports, and how it was opened.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { EINVAL, ENOSYS, SystemError } from "../../ffi/errno.ts";
import { pageSize } from "../../ffi/memory.ts";
import type { DeviceNumber } from "./sysfs.ts";
import { statfs as STATFS, statx as STATX } from "../../ffi/layout.ts";
import {
  AT_EMPTY_PATH,
  BLKGETSIZE64,
  BLKPBSZGET,
  BLKROGET,
  BLKSSZGET,
  BTRFS_SUPER_MAGIC,
  EXT4_SUPER_MAGIC,
  FUSE_SUPER_MAGIC,
  S_IFBLK,
  S_IFMT,
  S_IFREG,
  STATX_BASIC_STATS,
  STATX_DIOALIGN,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from "../../ffi/uapi.ts";

/** Bytes of a sector: always 512, as in the kernel, whatever the device's blocks are. */
export const SECTOR_SIZE = 512;

/**
 * Facts about an open device. The size, the block sizes, the alignment and `readOnly` are those of its opening, or of the last
 * {@linkcode BlockDevice.refresh}.
 */
export class DeviceFacts {
  /** The path it was opened by. */
  readonly path: string;
  /** Its file descriptor, for your own `ioctl`s. The device owns it: do not close it. */
  readonly fd: number;
  /** Whether it is a block device, not a regular file. */
  readonly isBlockDevice: boolean;
  /** Whether it was opened for writing. */
  readonly writable: boolean;
  /** Whether I/O goes past the page cache (`O_DIRECT`). */
  readonly direct: boolean;
  /** Size in whole sectors of 512 bytes, when it was opened or refreshed. */
  readonly sectors: number;
  /** Bytes after the last whole sector, 0 to 511: a file's last, partial sector, which no region can name. */
  readonly tailBytes: number;
  /** The unit of direct I/O in bytes: sector, count and each piece of memory are multiples of it. */
  readonly logicalBlockSize: number;
  /** The unit that the medium writes at once, in bytes. */
  readonly physicalBlockSize: number;
  /** The alignment of memory in bytes that direct I/O needs to go without a copy. */
  readonly memoryAlignment: number;
  /** Whether the device itself refuses writes (`BLKROGET`). */
  readonly readOnly: boolean;
  /**
   * Whether I/O could block the submitting thread, so that a worker of the kernel does it instead. A file on FUSE blocks the thread while
   * its server has `max_background` requests.
   */
  readonly mayBlock: boolean;
  /**
   * Whether its file system may ignore `RWF_DSYNC` (FUSE with direct I/O, most network file systems), so that the library flushes after a
   * durable write. Default: `false`.
   */
  readonly ignoresDsync?: boolean;

  /**
   * Copies facts.
   *
   * @param facts The facts.
   */
  constructor(facts: DeviceFacts) {
    this.path = facts.path;
    this.fd = facts.fd;
    this.isBlockDevice = facts.isBlockDevice;
    this.writable = facts.writable;
    this.direct = facts.direct;
    this.sectors = facts.sectors;
    this.tailBytes = facts.tailBytes;
    this.logicalBlockSize = facts.logicalBlockSize;
    this.physicalBlockSize = facts.physicalBlockSize;
    this.memoryAlignment = facts.memoryAlignment;
    this.readOnly = facts.readOnly;
    this.mayBlock = facts.mayBlock;
    if (facts.ignoresDsync !== undefined) this.ignoresDsync = facts.ignoresDsync;
  }
}

/** Facts that the kernel reports about an open file. */
export interface Inspected {
  /** `"block"` for a block device, `"regular"` for a file, `"other"` for anything else. */
  readonly kind: "block" | "regular" | "other";
  /** The numbers of its file system and inode from `stat(2)`. Together they identify a file. */
  readonly fileSystem: number;
  readonly inode: number;
  /** The facts that do not depend on how it was opened. */
  readonly facts: Omit<DeviceFacts, "path" | "fd" | "writable" | "direct">;
}

/** The facts that may change while a device is open. */
export type ChangingFacts = Pick<
  DeviceFacts,
  "sectors" | "tailBytes" | "logicalBlockSize" | "physicalBlockSize" | "memoryAlignment" | "readOnly"
>;

/**
 * Gives a device the facts that may change while it is open.
 *
 * @param device The device.
 * @param facts What the kernel reports now.
 */
export function updateFacts(device: DeviceFacts, facts: ChangingFacts): void {
  const target: { -readonly [Name in keyof ChangingFacts]: ChangingFacts[Name] } = device;
  target.sectors = facts.sectors;
  target.tailBytes = facts.tailBytes;
  target.logicalBlockSize = facts.logicalBlockSize;
  target.physicalBlockSize = facts.physicalBlockSize;
  target.memoryAlignment = facts.memoryAlignment;
  target.readOnly = facts.readOnly;
}

// File systems that sync after each write with RWF_DSYNC, direct or not (generic_write_sync), and tmpfs, which has no medium.
const KEEPS_DSYNC = new Set([BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC]);

const EMPTY_PATH = new Uint8Array(1);

/**
 * Reads the facts about an open file from the kernel.
 *
 * @param fd A file descriptor.
 * @returns The facts.
 * @throws {SystemError} When `statx` or an `ioctl` refuses.
 */
export function inspect(fd: number): Inspected {
  const stat = statxOf(fd);
  const inode = Number(stat.getBigUint64(STATX.stx_ino, true));
  const fileSystem = makedev(
    stat.getUint32(STATX.stx_dev_major, true),
    stat.getUint32(STATX.stx_dev_minor, true),
  );
  const type = stat.getUint16(STATX.stx_mode, true) & S_IFMT;
  if (type === S_IFBLK) return { kind: "block", fileSystem, inode, facts: blockFacts(fd, stat) };
  return { kind: type === S_IFREG ? "regular" : "other", fileSystem, inode, facts: fileFacts(fd, stat) };
}

/**
 * The number of the block device behind a file descriptor. It stays the device's own when its path names another device later.
 *
 * @param fd A file descriptor of a block device.
 * @returns The number.
 * @throws {SystemError} When `statx` refuses.
 */
export function deviceNumberOf(fd: number): DeviceNumber {
  const stat = statxOf(fd);
  return `${stat.getUint32(STATX.stx_rdev_major, true)}:${stat.getUint32(STATX.stx_rdev_minor, true)}`;
}

function statxOf(fd: number): DataView {
  const stat = new DataView(new ArrayBuffer(STATX.size));
  const mask = STATX_BASIC_STATS | STATX_DIOALIGN;
  if (libc().statx(fd, EMPTY_PATH, AT_EMPTY_PATH, mask, new Uint8Array(stat.buffer)) !== 0) {
    throw new SystemError("statx", errno(), `could not look at file descriptor ${fd}`);
  }
  return stat;
}

function blockFacts(fd: number, stat: DataView): Inspected["facts"] {
  const size = ioctlWords(fd, BLKGETSIZE64);
  const logicalBlockSize = ioctlUint32(fd, BLKSSZGET);
  return {
    sectors: wholeSectors(size, 0),
    tailBytes: tailBytes(size, 0),
    logicalBlockSize,
    physicalBlockSize: ioctlUint32(fd, BLKPBSZGET),
    memoryAlignment: memoryAlignment(directAlignment(stat).memory, logicalBlockSize),
    readOnly: ioctlUint32(fd, BLKROGET) !== 0,
    isBlockDevice: true,
    mayBlock: false,
  };
}

function fileFacts(fd: number, stat: DataView): Inspected["facts"] {
  const { memory, offset } = directAlignment(stat);
  // The block of the file system is always enough. It is used when the kernel reports no alignment.
  const blockSize = stat.getUint32(STATX.stx_blksize, true);
  const logicalBlockSize = offset || Math.min(blockSize, 4096);
  const type = fileSystemType(fd);
  return {
    sectors: wholeSectors(stat, STATX.stx_size),
    tailBytes: tailBytes(stat, STATX.stx_size),
    logicalBlockSize,
    physicalBlockSize: blockSize,
    memoryAlignment: memoryAlignment(memory, logicalBlockSize),
    readOnly: false,
    isBlockDevice: false,
    mayBlock: type === FUSE_SUPER_MAGIC,
    ignoresDsync: !KEEPS_DSYNC.has(type),
  };
}

// The alignments that direct I/O needs, from Linux 6.1 on; 0 when the file system reports none or has no direct I/O.
function directAlignment(stat: DataView): { memory: number; offset: number } {
  const tells = (stat.getUint32(STATX.stx_mask, true) & STATX_DIOALIGN) !== 0;
  return {
    memory: tells ? stat.getUint32(STATX.stx_dio_mem_align, true) : 0,
    offset: tells ? stat.getUint32(STATX.stx_dio_offset_align, true) : 0,
  };
}

// The kernel checks registered memory page by page (iov_iter_aligned_bvec), and zram reads the bytes of a page from the page's start,
// wherever they begin. So memory must begin on a logical block of its page, though the device's DMA may need less.
function memoryAlignment(reported: number, logicalBlockSize: number): number {
  return Math.max(reported, Math.min(logicalBlockSize, pageSize()));
}

/**
 * The size of a block device as it is now.
 *
 * @param fd Its file descriptor.
 * @returns Whole sectors of 512 bytes; 0 when the device is gone, or the `ioctl` fails.
 */
export function sectorsNow(fd: number): number {
  const out = new Uint8Array(8);
  return libc().ioctl(fd, BigInt(BLKGETSIZE64), out) === 0 ? wholeSectors(new DataView(out.buffer), 0) : 0;
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
  return view.getUint32(offset + 4, true) * 2 ** 23 + Math.floor(view.getUint32(offset, true) / SECTOR_SIZE);
}

function tailBytes(view: DataView, offset: number): number {
  return view.getUint32(offset, true) % SECTOR_SIZE;
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
