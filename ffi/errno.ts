/**
 * Linux error numbers and their names (`asm-generic/errno.h`), and the error that carries one.
 *
 * @module
 */

export const EPERM = 1;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EINVAL = 22;
export const ENFILE = 23;
export const EMFILE = 24;
export const ENOTTY = 25;
export const ENOSPC = 28;
export const EROFS = 30;
export const ENOSYS = 38;
export const ENODATA = 61;
export const ETIME = 62;
export const EBADMSG = 74;
export const EILSEQ = 84;
export const EOPNOTSUPP = 95;
export const ETIMEDOUT = 110;
export const EINPROGRESS = 115;
export const EREMOTEIO = 121;
export const ECANCELED = 125;

const NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  15: "ENOTBLK",
  16: "EBUSY",
  17: "EEXIST",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  25: "ENOTTY",
  26: "ETXTBSY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  32: "EPIPE",
  34: "ERANGE",
  38: "ENOSYS",
  40: "ELOOP",
  52: "EBADE",
  61: "ENODATA",
  62: "ETIME",
  67: "ENOLINK",
  71: "EPROTO",
  74: "EBADMSG",
  75: "EOVERFLOW",
  77: "EBADFD",
  84: "EILSEQ",
  95: "EOPNOTSUPP",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  107: "ENOTCONN",
  108: "ESHUTDOWN",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  112: "EHOSTDOWN",
  113: "EHOSTUNREACH",
  114: "EALREADY",
  115: "EINPROGRESS",
  116: "ESTALE",
  117: "EUCLEAN",
  121: "EREMOTEIO",
  122: "EDQUOT",
  123: "ENOMEDIUM",
  124: "EMEDIUMTYPE",
  125: "ECANCELED",
  130: "EOWNERDEAD",
};

/**
 * The name of an error number.
 *
 * @param errno A positive error number.
 * @returns Its C name, or `E` and the number when Linux's block layer is not known to give it.
 */
export function errnoName(errno: number): string {
  return NAMES[errno] ?? `E${errno}`;
}

/** A system call that failed, with its purpose and what to do next. */
export class SystemError extends Error {
  /** The C name of the error number: `"ENOMEM"`. */
  readonly code: string;

  /**
   * An error of a system call.
   *
   * @param syscall The call that failed, by its C name.
   * @param errno The positive error number it gave.
   * @param advice The purpose of the call, the limit that it met, and what to do next.
   */
  constructor(readonly syscall: string, readonly errno: number, advice: string) {
    super(`${syscall}: ${errnoName(errno)}: ${advice}`);
    this.name = "SystemError";
    this.code = errnoName(errno);
  }
}
