/**
 * Constants of the kernel's and libc's headers under their C names, in one place. `tests/package/layout_test.ts` compares each
 * with what a C compiler says.
 *
 * @module
 */

// linux/io_uring.h
export const IORING_OP_READV = 1;
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_READ_FIXED = 4;
export const IORING_OP_WRITE_FIXED = 5;
export const IORING_OP_FALLOCATE = 17;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_OP_URING_CMD = 46;

export const IORING_FSYNC_DATASYNC = 1 << 0;

export const IOSQE_FIXED_FILE = 1 << 0;
export const IOSQE_ASYNC = 1 << 4;

export const IORING_SETUP_CQSIZE = 1 << 3;
export const IORING_SETUP_CLAMP = 1 << 4;
export const IORING_SETUP_COOP_TASKRUN = 1 << 8;
export const IORING_SETUP_TASKRUN_FLAG = 1 << 9;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;

export const IORING_ENTER_GETEVENTS = 1 << 0;
export const IORING_ENTER_EXT_ARG = 1 << 3;

export const IORING_FEAT_EXT_ARG = 1 << 8;

export const IORING_SQ_CQ_OVERFLOW = 1 << 1;
export const IORING_SQ_TASKRUN = 1 << 2;
export const IORING_CQ_EVENTFD_DISABLED = 1 << 0;

export const IORING_UNREGISTER_BUFFERS = 1;
export const IORING_UNREGISTER_FILES = 3;
export const IORING_REGISTER_PROBE = 8;
export const IO_URING_OP_SUPPORTED = 1 << 0;

// linux/fs.h
export const BLKROGET = 0x125e;
export const BLKRRPART = 0x125f;
export const BLKGETSIZE64 = 0x80081272;
export const BLKSSZGET = 0x1268;
export const BLKPBSZGET = 0x127b;
export const BLKDISCARD = 0x1277;
export const BLKZEROOUT = 0x127f;
export const RWF_DSYNC = 0x2;
export const RWF_NOWAIT = 0x8;

// linux/blkdev.h, from Linux 6.12 on (`_IO(0x12, 0)`)
export const BLOCK_URING_CMD_DISCARD = 0x1200;

// linux/falloc.h
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;

// fcntl.h
export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_EXCL = 0o200;
export const O_DSYNC = 0o10000;
export const O_CLOEXEC = 0o2000000;
export const F_GETFL = 3;
export const F_DUPFD_CLOEXEC = 1030;
/** Its value depends on the architecture. */
export const O_DIRECT: number = Deno.build.arch === "aarch64" ? 0o200000 : 0o40000;

// linux/stat.h, sys/stat.h
export const AT_EMPTY_PATH = 0x1000;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_DIOALIGN = 0x2000;
export const S_IFMT = 0o170000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;

// sys/mman.h
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;
export const MADV_DONTNEED = 4;
export const MADV_DONTFORK = 10;

// bits/sigevent-consts.h
export const SIGEV_NONE = 1;

// linux/magic.h
export const BTRFS_SUPER_MAGIC = 0x9123683e;
export const EXT4_SUPER_MAGIC = 0xef53;
export const FUSE_SUPER_MAGIC = 0x65735546;
export const TMPFS_MAGIC = 0x01021994;
export const XFS_SUPER_MAGIC = 0x58465342;

// linux/capability.h
export const _LINUX_CAPABILITY_VERSION_3 = 0x20080522;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYS_NICE = 23;

// unistd.h
export const _SC_PHYS_PAGES = 85;

// sys/eventfd.h, poll.h, sys/resource.h
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;
export const POLLIN = 1;
export const RLIMIT_MEMLOCK = 8;

// linux/aio_abi.h
export const IOCB_CMD_PREAD = 0;
export const IOCB_CMD_PWRITE = 1;
export const IOCB_CMD_PREADV = 7;
export const IOCB_CMD_PWRITEV = 8;
export const IOCB_FLAG_RESFD = 1 << 0;
export const IOCB_FLAG_IOPRIO = 1 << 1;

// linux/futex.h
export const FUTEX_WAKE_PRIVATE = 129;

// pthread.h
export const PTHREAD_CREATE_DETACHED = 1;

// asm/unistd.h: the numbers of x86_64, and those of asm-generic/unistd.h, which aarch64 has.
const generic = Deno.build.arch === "aarch64";
export const SYS_io_setup: number = generic ? 0 : 206;
export const SYS_io_destroy: number = generic ? 1 : 207;
export const SYS_io_submit: number = generic ? 2 : 209;
export const SYS_io_getevents: number = generic ? 4 : 208;
export const SYS_ioctl: number = generic ? 29 : 16;
export const SYS_fallocate: number = generic ? 47 : 285;
export const SYS_fdatasync: number = generic ? 83 : 75;
export const SYS_futex: number = generic ? 98 : 202;
export const SYS_preadv2: number = generic ? 286 : 327;
export const SYS_pwritev2: number = generic ? 287 : 328;
