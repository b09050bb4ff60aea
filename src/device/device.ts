/**
 * Block devices, and regular files that stand for one.
 *
 * @module
 */

import { deviceFacts } from "./facts.ts";
import { libc } from "../../ffi/libc.ts";
import { closeFd, openFd } from "./open.ts";
import { whenUnloaded } from "../unload.ts";
import { describe } from "../check.ts";
import { DmioFault } from "../fault.ts";

/** Bytes of a sector: always 512, as in the kernel, whatever the device's blocks are. */
export const SECTOR_SIZE = 512;

/** How to open a {@linkcode BlockDevice}. */
export interface OpenOptions {
  /** Whether it will be written. Needs `--allow-write`. Default: `false`, read only. */
  write?: boolean;
  /** Whether I/O goes past the page cache (`O_DIRECT`). Default: `false`. */
  direct?: boolean;
  /**
   * Makes a regular file of this many bytes (a multiple of 512) when there is none, and makes a shorter one that long;
   * a longer one stays as it is. Needs `write`.
   */
  create?: number;
  /** Refuses a block device that is mounted or held by another program (`O_EXCL`). Needs `write`. Default: `false`. */
  exclusive?: boolean;
}

/** An open device, for the constructor of {@linkcode BlockDevice}. */
export interface OpenDevice {
  /** Its path, for messages. */
  readonly path: string;
  /** Its file descriptor. */
  readonly fd: number;
  /** Size in whole sectors of 512 bytes. */
  readonly sectors: number;
  /** The unit of direct I/O in bytes. */
  readonly logicalBlockSize: number;
  /** The unit that the medium writes at once, in bytes. */
  readonly physicalBlockSize: number;
  /** What the address of memory must be a multiple of for direct I/O, in bytes. */
  readonly memoryAlignment: number;
  /** Whether the device itself refuses writes. */
  readonly readOnly: boolean;
  /** Whether it may be written. */
  readonly writable: boolean;
  /** Whether it was opened with `O_DIRECT`. */
  readonly direct: boolean;
  /** Whether I/O could block the thread that submits it, so that a thread of the kernel's has to. Default: `false`. */
  readonly mayBlock?: boolean;
  /** Closes the file descriptor. Default: `close(2)`. */
  readonly closeFd?: (fd: number) => void;
}

let holdDevice: (device: BlockDevice) => void;
let releaseDevice: (device: BlockDevice) => void;
let whenClosed: (device: BlockDevice, listener: () => void) => () => void;

/**
 * A block device, or a regular file, which is a device of its size. It belongs to no client; any number may use it.
 *
 * @example
 * ```ts
 * import { BlockDevice } from "@dmio/dmio";
 *
 * using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * console.log(device.sectors, device.logicalBlockSize);
 * ```
 */
export class BlockDevice implements Disposable, AsyncDisposable {
  /** The path it was opened by. */
  readonly path: string;
  /** Its file descriptor, for `ioctl`s of your own. It is the device's: do not close it. */
  readonly fd: number;
  /** Size in sectors of 512 bytes when it was opened. A file's last, partial sector does not count. */
  readonly sectors: number;
  /** The unit of direct I/O in bytes. */
  readonly logicalBlockSize: number;
  /** The unit that the medium writes at once, in bytes. */
  readonly physicalBlockSize: number;
  /** What the address of memory must be a multiple of for direct I/O without a copy, in bytes. */
  readonly memoryAlignment: number;
  /** Whether the device itself refuses writes. */
  readonly readOnly: boolean;
  /** Whether it was opened for writing. */
  readonly writable: boolean;
  /** Whether I/O goes past the page cache. */
  readonly direct: boolean;
  /** Whether I/O could block the thread that submits it (a file on FUSE), so that a thread of the kernel's does. */
  readonly mayBlock: boolean;

  readonly #closeFd: (fd: number) => void;
  // What opened its own file closes it at the end of the isolate too.
  #forgetUnload: (() => void) | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #closing = Promise.withResolvers<void>();
  #held = 0;
  #closed = false;

  /** Use {@linkcode BlockDevice.open}; this takes a file descriptor that is already open. */
  constructor(open: OpenDevice) {
    this.path = open.path;
    this.fd = open.fd;
    this.sectors = open.sectors;
    this.logicalBlockSize = open.logicalBlockSize;
    this.physicalBlockSize = open.physicalBlockSize;
    this.memoryAlignment = open.memoryAlignment;
    this.readOnly = open.readOnly;
    this.writable = open.writable;
    this.direct = open.direct;
    this.mayBlock = open.mayBlock ?? false;
    this.#closeFd = open.closeFd ?? closeFd;
    if (open.closeFd === undefined) this.#forgetUnload = whenUnloaded(() => closeFd(this.fd));
  }

  /**
   * Opens a block device or a regular file. Obeys `--allow-read` and `--allow-write`; Deno wants `--allow-all` for what lies in `/dev`.
   *
   * @param path Its path.
   * @param options How to open it.
   * @returns The open device.
   * @throws {Deno.errors.NotCapable} Without the permission.
   * @throws {Deno.errors.NotFound} When there is none, and other errors of `Deno.openSync`.
   * @throws {TypeError} When it is neither a block device nor a regular file, or options do not go together.
   * @throws {RangeError} When `create` is no whole number of sectors.
   * @throws {SystemError} `EBUSY` (`exclusive`), `EINVAL` (a file system without direct I/O), and what else `open(2)` says.
   */
  static open(path: string | URL, options: OpenOptions = {}): BlockDevice {
    const { write = false, direct = false, create, exclusive = false } = options;
    if (!write && (create !== undefined || exclusive)) {
      throw new TypeError(`options.${create !== undefined ? "create" : "exclusive"} needs write: true`);
    }
    if (create !== undefined && !(Number.isSafeInteger(create) && create > 0 && create % SECTOR_SIZE === 0)) {
      throw new RangeError(
        `options.create is ${describe(create)}; it must be a positive multiple of ${SECTOR_SIZE} bytes`,
      );
    }
    libc(); // what dmio does not run on, or may not, it tells before it makes a file
    const name = pathName(path);
    if (create === undefined || exists(name)) assertKind(name);
    // Deno opens it first, by its own rules on who may; then it is opened again as Deno can't, and must be the same one.
    using file = Deno.openSync(name, { read: true, write, create: create !== undefined });
    const { dev, ino, isFile, size } = file.statSync();
    if (create !== undefined && isFile && size < create) file.truncateSync(create);
    const fd = openFd(name, { write, direct, exclusive: exclusive && !isFile });
    try {
      const { kind, fileSystem, inode, ...facts } = deviceFacts(fd);
      if (kind === "other" || fileSystem !== dev || inode !== ino) {
        throw new TypeError(`${name} was replaced while it was opened`);
      }
      return new BlockDevice({ ...facts, path: name, fd, writable: write, direct });
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** How many regions of requests under way name it, over all clients. */
  get inFlight(): number {
    return this.#held;
  }

  /** Whether it was closed: new requests may not name it. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Closes it: new requests may not name it, and its file descriptor is closed when the last one under way is done.
   *
   * @returns Resolves when the file descriptor is closed.
   */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      if (this.#held === 0) this.#finish();
    }
    return this.#closing.promise;
  }

  /** As {@linkcode BlockDevice.close}, without waiting. */
  [Symbol.dispose](): void {
    void this.close();
  }

  /** As {@linkcode BlockDevice.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #finish(): void {
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
    this.#forgetUnload?.();
    this.#closeFd(this.fd);
    this.#closing.resolve();
  }

  static {
    holdDevice = (device) => {
      device.#held++;
    };
    releaseDevice = (device) => {
      if (--device.#held === 0 && device.#closed) device.#finish();
      if (device.#held < 0) throw new DmioFault(`${device.path} was let go more often than held`);
    };
    whenClosed = (device, listener) => {
      device.#listeners.add(listener);
      return () => device.#listeners.delete(listener);
    };
  }
}

export {
  /** Keeps a device's file descriptor open until as many `releaseDevice`. */
  holdDevice,
  /** Undoes one `holdDevice`; the last one lets a closed device go. */
  releaseDevice,
  /** Calls a listener just before a device's file descriptor is closed; what it returns takes that back. */
  whenClosed,
};

function pathName(path: string | URL): string {
  const name = path instanceof URL && path.protocol === "file:" ? decodeURIComponent(path.pathname) : path;
  if (typeof name === "string" && name !== "" && !name.includes("\0")) return name;
  throw new TypeError(`path is ${describe(path)}; it must be a path, or a file: URL, of a device or a file`);
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

// To open a pipe or a terminal can block, or do things; so what it is is asked first.
function assertKind(path: string): void {
  const { isFile, isBlockDevice } = Deno.statSync(path);
  if (!isFile && !isBlockDevice) throw new TypeError(`${path} is neither a block device nor a regular file`);
}
