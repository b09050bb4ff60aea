/**
 * Block devices, and regular files that stand for one.
 *
 * @module
 */

import { DeviceFacts, inspect, SECTOR_SIZE, sectorsNow, updateFacts } from "./facts.ts";
import { closeFd } from "./fd.ts";
import { Abilities } from "./abilities.ts";
import type { DeviceKind } from "./kind.ts";
import { limitsOf } from "./limits.ts";
import { type BlockDeviceInfo, listDevices } from "./list.ts";
import { rereadPartitions } from "./partitions.ts";
import { syncFd } from "./sync.ts";
import { openDevice, type OpenOptions } from "./open.ts";
import { noteOpen } from "../live.ts";
import { whenUnloaded } from "../unload.ts";
import { DmioFault } from "../fault.ts";

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
let abilitiesOf: (device: BlockDevice) => Abilities;
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
  #abilities: Abilities | null = null;
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
   * @throws {SystemError} `EBUSY` (a block device that is held, unless `exclusive` is `false`), `EROFS` (`write`, and the device refuses
   * writes), `EINVAL` (a file system without direct I/O), and other errors of `open(2)`.
   *
   * @example
   * ```ts
   * import { BlockDevice } from "@dmio/dmio";
   *
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * console.log(device.size, device.sectors); // 1048576 2048
   * ```
   */
  static open(path: string | URL, options: OpenOptions = {}): BlockDevice {
    return new BlockDevice(openDevice(path, options));
  }

  /**
   * Lists the block devices of the system: disks and all other devices that are no partition, each with its partitions. The list comes from
   * sysfs; no device is opened. Deno wants `--allow-all` for sysfs. The program needs neither root nor liburing.
   *
   * Devices of no size (loop devices without a file, drives without a medium) and devices that the kernel hides are left out.
   *
   * @returns The devices, in natural order of their names.
   * @throws {Deno.errors.NotCapable} Without `--allow-all`.
   * @throws {Deno.errors.NotFound} Without sysfs.
   * @example
   * ```ts
   * import { BlockDevice } from "@dmio/dmio";
   *
   * for (const { path, model, size, system } of BlockDevice.list()) {
   *   console.log(path, model ?? "-", `${size} bytes`, system ? "runs this system" : "");
   * }
   * ```
   */
  static list(): BlockDeviceInfo[] {
    return listDevices();
  }

  /**
   * Reads the facts again that may change while the device is open: `sectors`, `tailBytes`, `size`, `readOnly`, `logicalBlockSize`,
   * `physicalBlockSize`, `memoryAlignment`. After it, a device or file that grew can be used up to its new end.
   *
   * A request for a region past the end of a device that shrank sets the region's bit before this call, and throws a `RangeError` after it.
   * (A file grows again when it is written there.) Requests under way are not checked again. A device that was removed has 0 sectors.
   *
   * @throws {TypeError} When the device is closed, and when its logical block size changed while requests that name it are under way. The
   * device keeps all its facts then.
   * @throws {SystemError} When the kernel does not answer (`statx`, `ioctl`).
   * @example
   * ```ts
   * import { BlockDevice } from "@dmio/dmio";
   *
   * await using device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * Deno.truncateSync("/tmp/disk.img", 2 << 20); // another program makes it longer
   * device.refresh();
   * console.log(device.sectors); // 4096
   * ```
   */
  refresh(): void {
    this.#assertOpen("refreshed");
    const facts = this.#kind.inspect(this.fd);
    if (facts.logicalBlockSize !== this.logicalBlockSize && this.#held > 0) {
      throw new TypeError(
        `${this.path} has logical blocks of ${facts.logicalBlockSize} bytes now, not ${this.logicalBlockSize}, while ${this.#held} ` +
          "regions of requests name it; await these before refresh()",
      );
    }
    updateFacts(this, facts);
    this.#abilities = null;
  }

  /**
   * Has the kernel read the disk's partition table again (`BLKRRPART`) after a program wrote it: await the writes first. It needs root
   * (`CAP_SYS_ADMIN`) and `--allow-all`. The disk may be open exclusively, which keeps other programs from taking it meanwhile.
   *
   * The promise resolves when the node of each partition is in `/dev` and leads to the partition. Links that udev makes
   * (`/dev/disk/by-partuuid`) and the nodes' owners may come later. The kernel refuses while a program has a partition open, as udev does for
   * a moment: then the call tries again for up to a second.
   *
   * @returns The partitions, as in {@linkcode BlockDevice.list}, in the order of their numbers.
   * @throws {TypeError} When the device is closed, is a file or is itself a partition.
   * @throws {SystemError} `EBUSY` while a partition is in use, with the name of the holder; `EINVAL` when the driver reads no partition table,
   * as of a loop device without `--partscan`; `EACCES` without the capability; the disk's own errors.
   * @throws {Deno.errors.NotCapable} Without `--allow-all`.
   * @throws {Deno.errors.NotFound} When a node does not appear within 5 seconds, as in a container with a `/dev` of its own. The kernel has
   * read the table then.
   * @example
   * ```ts
   * import { BlockDevice } from "@dmio/dmio";
   *
   * async function partition(path: string): Promise<void> {
   *   await using disk = BlockDevice.open(path, { write: true, direct: true });
   *   // Write the partition table here.
   *   for (const { path, size } of await disk.rereadPartitions()) console.log(path, size);
   * }
   * ```
   */
  async rereadPartitions(): Promise<readonly BlockDeviceInfo[]> {
    this.#assertOpen("asked for its partitions");
    if (!this.isBlockDevice || this.#kind.makeEngine !== null) {
      throw new TypeError(`${this.path} is no block device of the system, which alone has partitions`);
    }
    holdDevice(this);
    try {
      return await rereadPartitions(this.fd, this.path);
    } finally {
      releaseDevice(this);
    }
  }

  #assertOpen(what: string): void {
    if (this.#closed) throw new TypeError(`${this.path} is closed; it cannot be ${what}`);
  }

  /** Size in bytes, the partial sector included, when it was opened or refreshed; exact below 2^53. */
  get size(): number {
    return this.sectors * SECTOR_SIZE + this.tailBytes;
  }

  /** How many regions of outstanding requests name it, over all clients; a `rereadPartitions` under way counts as one. */
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
   * @throws {SystemError} The error of `fdatasync`: not all written data is on the medium. The file descriptor is closed all the same.
   *
   * @example
   * ```ts
   * import { BlockDevice } from "@dmio/dmio";
   *
   * const device = BlockDevice.open("/tmp/disk.img", { write: true, create: 1 << 20 });
   * await device.close();
   * ```
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
        if (this.#written && !this.direct) await this.#kind.sync(this.fd, this.path);
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
    abilitiesOf = (device) => device.#abilities ??= new Abilities(device, device.#kind.limits(device.fd));
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
 * Makes a device that is not the system's, such as one in RAM.
 *
 * @param facts The facts about it.
 * @param kind Its kind.
 * @returns The open device.
 */
export function deviceOfKind(facts: DeviceFacts, kind: DeviceKind): BlockDevice {
  const open: Opened = { ...facts, [KIND]: kind };
  return new BlockDevice(open);
}

type Opened = OpenDevice & { [KIND]?: DeviceKind };

// The kind of a device of the system, whose I/O goes through the client's own engine.
function ofSystem(open: OpenDevice): DeviceKind {
  const { syncFd: sync = syncFd, closeFd: close = closeFd } = open;
  return {
    makeEngine: null,
    sectorsNow,
    inspect: (fd) => inspect(fd).facts,
    limits: () => limitsOf(open),
    sync,
    close,
  };
}

export {
  /** The abilities of a device. They are read at the first call, and at the first call after a refresh. */
  abilitiesOf,
  /** Keeps a device's file descriptor open until `releaseDevice` was called as often. */
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
