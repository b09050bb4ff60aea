/**
 * Errors that a CQE of block I/O can carry, by what they mean to a region. The numbers are written out here, and not taken
 * from the library, so that a wrong number there is seen.
 *
 * @module
 */

/** Name of each errno. */
export const NAME_OF: Readonly<Record<number, string>> = {
  1: "EPERM",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  14: "EFAULT",
  16: "EBUSY",
  19: "ENODEV",
  22: "EINVAL",
  25: "ENOTTY",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  52: "EBADE",
  61: "ENODATA",
  62: "ETIME",
  67: "ENOLINK",
  74: "EBADMSG",
  84: "EILSEQ",
  95: "EOPNOTSUPP",
  110: "ETIMEDOUT",
  116: "ESTALE",
  121: "EREMOTEIO",
  122: "EDQUOT",
  123: "ENOMEDIUM",
  125: "ECANCELED",
};

/** A bad place on a medium: the block layer's errors for one (blk_errors[] in block/blk-core.c). */
export const MEDIUM = [5, 28, 61, 74, 84, 121] as const;
/** A device, or a way to it, that takes nothing for a while. */
export const DEVICE = [1, 5, 6, 9, 12, 19, 22, 27, 28, 30, 52, 62, 67, 95, 110, 116, 121, 122, 123] as const;
/** Nothing was done, and the same request may work. */
export const TRANSIENT = [4, 11] as const;

export const EIO = 5;
export const ENOSPC = 28;
export const EINVAL = 22;
export const ENOTTY = 25;
export const EOPNOTSUPP = 95;
export const ETIMEDOUT = 110;
export const ECANCELED = 125;
