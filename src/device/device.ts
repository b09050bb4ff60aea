/**
 * Block devices, and regular files that stand for one.
 *
 * @module
 */

import { DeviceFacts, inspect, SECTOR_SIZE, sectorsNow } from "./facts.ts";
import { libc } from "../../ffi/libc.ts";
import { EBUSY, EROFS } from "../../ffi/errno.ts";
import { closeFd, openError, openFd } from "./open.ts";
import type { DeviceKind } from "./kind.ts";
import { limitsOf } from "./limits.ts";
import { syncFd } from "./sync.ts";
import { assertKind, exists, pathName } from "./path.ts";
import { noteOpen } from "../live.ts";
import { whenUnloaded } from "../unload.ts";
import { describe } from "../check.ts";
import { DmioFault } from "../fault.ts";

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
  /**
   * Refuses a block device that is mounted or otherwise held, and keeps it from being mounted or held while it is open (`O_EXCL`). It has
   * no effect on a regular file. Default: as `write`.
   */
  exclusive?: boolean;
}

/** An open device, for the constructor of {@linkcode BlockDevice}. */
export interface OpenDevice extends DeviceFacts {
  /** Closes the file descriptor. Default: `close(2)`. {@linkcode BlockDevice.close} rejects with an error that it throws. */
  readonly closeFd?: (fd: number) => void;
  /** Writes the dirty pages of the page cache to the medium, and rejects when that fails. Default: `fdatasync(2)`. */
  readonly syncFd?: (fd: number, path: string) => Promise<void>;
}

export { SECTOR_SIZE };

const KIND = Symbol("kind");

let holdDevice: (device: BlockDevice) => void;
let releaseDevice: (device: BlockDevice) => void;
let markWritten: (device: BlockDevice) => void;
let whenClosed: (device: BlockDevice, listener: () => void) => () => void;
let kindOf: (device: BlockDevice) => DeviceKind;

/**
 * A block device, or a regular file, which is a device of its size. It belongs to no client; any number may use it.
 *
 * @example
 * ```ts
 * import { BlockDevice } from "@dmio/dmio";
 *
 * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
 * console.log(device.sectors, device.logicalBlockSize);
 * ```
 */
export class BlockDevice extends DeviceFacts implements Disposable, AsyncDisposable {
  readonly #kind: DeviceKind;
  // A `closeFd` of the opener's own is left to the opener at the end of the isolate, too.
  readonly #forgetUnload: (() => void) | undefined;
  readonly #noteClosed: () => void;
  readonly #listeners = new Set<() => void>();
  readonly #closing = Promise.withResolvers<void>();
  #held = 0;
  #written = false;
  #closed = false;

  /**
   * Use {@linkcode BlockDevice.open}; this takes a file descriptor that is already open.
   *
   * @param open The file descriptor and the facts about it.
   */
  constructor(open: OpenDevice) {
    super(open);
    const { [KIND]: kind = ofSystem(open) }: Opened = open;
    this.#kind = kind;
    const { path } = open;
    this.#noteClosed = noteOpen((where) => [`the device ${path}, opened at ${where}, is not closed`]);
    this.#forgetUnload = kind.close === closeFd ? whenUnloaded(() => closeFd(this.fd)) : undefined;
  }

  /**
   * Opens a block device or a regular file. Obeys `--allow-read` and `--allow-write`; Deno wants `--allow-all` for what lies in `/dev`.
   *
   * @param path Its path, or a `file:` URL, which is read as Deno does.
   * @param options How to open it.
   * @returns The open device.
   * @throws {Deno.errors.NotCapable} Without the permission.
   * @throws {Deno.errors.NotFound} When there is none, and other errors of `Deno.openSync`.
   * @throws {TypeError} When it is neither a block device nor a regular file, or options do not go together.
   * @throws {RangeError} When `create` is no whole number of sectors.
   * @throws {SystemError} `EBUSY` (a block device that is held, unless `exclusive` is `false`), `EROFS` (`write`, and it refuses writes),
   * `EINVAL` (a file system without direct I/O), and other errors of `open(2)`.
   */
  static open(path: string | URL, options: OpenOptions = {}): BlockDevice {
    const { write = false, direct = false, create, exclusive = write } = options;
    if (!write && create !== undefined) throw new TypeError("options.create needs write: true");
    if (create !== undefined && !(Number.isSafeInteger(create) && create > 0 && create % SECTOR_SIZE === 0)) {
      throw new RangeError(
        `options.create is ${describe(create)}; it must be a positive multiple of ${SECTOR_SIZE} bytes`,
      );
    }
    libc(); // throws on an unsupported system, or without --allow-ffi, before a file is made
    const name = pathName(path);
    if (create === undefined || exists(name)) assertKind(name);
    // Deno opens it first, which checks the permissions. Then it is opened with flags that Deno lacks, and must be the same file.
    using file = openByDeno(name, write, create !== undefined);
    const { dev, ino, isFile, size } = file.statSync();
    if (create !== undefined && isFile && size < create) file.truncateSync(create);
    const flags = { write, direct, exclusive: exclusive && !isFile };
    const fd = openFd(name, flags);
    try {
      const { kind, fileSystem, inode, facts } = inspect(fd);
      if (kind === "other" || fileSystem !== dev || inode !== ino) {
        throw new TypeError(`${name} was replaced while it was opened`);
      }
      if (write && facts.readOnly) throw openError(name, flags, EROFS);
      return new BlockDevice({ ...facts, path: name, fd, writable: write, direct });
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** Size in bytes when it was opened, the partial sector included; exact below 2^53. */
  get size(): number {
    return this.sectors * SECTOR_SIZE + this.tailBytes;
  }

  /** How many regions of outstanding requests name it, over all clients. */
  get inFlight(): number {
    return this.#held;
  }

  /** Whether it was closed: new requests may not name it. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Closes it: new requests may not name it, and its file descriptor is closed when the last outstanding one is done. A device that was
   * written through the page cache is synced first (`fdatasync(2)`), as only a sync reports writes that failed there.
   *
   * @returns Resolves when the file descriptor is closed. Each call gives the same promise.
   * @throws {SystemError} Rejects with the error of `fdatasync`: not all written data is on the medium. The file descriptor is closed.
   */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      if (this.#held === 0) void this.#finish();
    }
    return this.#closing.promise;
  }

  /**
   * As {@linkcode BlockDevice.close}, without waiting: a sync that fails is an uncaught error. Use `await using` for a device that is
   * written.
   */
  [Symbol.dispose](): void {
    void this.close();
  }

  /** As {@linkcode BlockDevice.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Without a sync, the file descriptor is closed before this returns.
  async #finish(): Promise<void> {
    try {
      try {
        for (const listener of this.#listeners) listener();
        this.#listeners.clear();
        if (this.#written && !this.direct && !this.readOnly) await this.#kind.sync(this.fd, this.path);
      } finally {
        this.#forgetUnload?.();
        this.#noteClosed();
        this.#kind.close(this.fd);
      }
      this.#closing.resolve();
    } catch (error) {
      this.#closing.reject(error);
    }
  }

  static {
    holdDevice = (device) => {
      device.#held++;
    };
    releaseDevice = (device) => {
      if (--device.#held === 0 && device.#closed) void device.#finish();
      if (device.#held < 0) throw new DmioFault(`${device.path} was let go more often than held`);
    };
    markWritten = (device) => {
      device.#written = true;
    };
    kindOf = (device) => device.#kind;
    whenClosed = (device, listener) => {
      device.#listeners.add(listener);
      return () => device.#listeners.delete(listener);
    };
  }
}

/**
 * Whether a block device was removed. Its size is 0 then, and its regions fail with `ENOSPC`, as past the end of any device.
 *
 * @param device An open device.
 */
export function isGone(device: BlockDevice): boolean {
  return device.isBlockDevice && kindOf(device).sectorsNow(device.fd) === 0;
}

/**
 * Makes a device of a kind that is not the system's.
 *
 * @param facts The facts about it.
 * @param kind What answers for it.
 * @returns The open device.
 */
export function deviceOfKind(facts: DeviceFacts, kind: DeviceKind): BlockDevice {
  const open: Opened = { ...facts, [KIND]: kind };
  return new BlockDevice(open);
}

type Opened = OpenDevice & { [KIND]?: DeviceKind };

// A file descriptor of the system, which any client's own engine can carry.
function ofSystem(open: OpenDevice): DeviceKind {
  const { syncFd: sync = syncFd, closeFd: close = closeFd } = open;
  return { makeEngine: null, sectorsNow, limits: limitsOf, sync, close };
}

export {
  /** Keeps a device's file descriptor open until as many `releaseDevice`. */
  holdDevice,
  /** The kind of a device. */
  kindOf,
  /** Notes that a device was written, so that it is synced when it is closed. */
  markWritten,
  /** Undoes one `holdDevice`; the last one closes the file descriptor of a closed device. */
  releaseDevice,
  /** Adds a listener, called just before a device's file descriptor is closed. Returns a function that removes it. */
  whenClosed,
};

// Deno checks its permissions and opens the file. EBUSY and EROFS get the same advice here as from openFd.
function openByDeno(path: string, write: boolean, create: boolean): Deno.FsFile {
  try {
    return Deno.openSync(path, { read: true, write, create });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    const flags = { write, direct: false, exclusive: false };
    if (code === "EBUSY") throw openError(path, flags, EBUSY);
    if (code === "EROFS") throw openError(path, flags, EROFS);
    throw error;
  }
}
