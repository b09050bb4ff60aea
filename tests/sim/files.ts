/**
 * Open files by descriptor, and the engine's table of registered ones.
 *
 * @module
 */

import type { Disk } from "./disk.ts";
import type { World } from "./world.ts";

/** The files of one process and one ring. */
export class Files {
  /** Open devices by file descriptor. */
  readonly #open = new Map<number, Disk>();
  readonly #registered = new Map<number, { fd: number; disk: Disk }>();

  /** @param places Places in the table of registered files. */
  constructor(readonly world: World, readonly places: number) {}

  /** How many descriptors are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Opens a disk at the lowest free descriptor, as the kernel does. */
  open(disk: Disk): number {
    let fd = 3;
    while (this.#open.has(fd)) fd++;
    this.#open.set(fd, disk);
    return fd;
  }

  /** Closes a descriptor, which must be this disk's. */
  close(fd: number, disk: Disk): void {
    this.world.log(() => `close  ${disk.name}, fd ${fd}`);
    if (this.#open.get(fd) !== disk) this.world.violate(`fd ${fd} was closed twice`);
    this.#open.delete(fd);
    for (const [index, file] of this.#registered) {
      if (file.fd === fd) {
        this.world.violate(`fd ${fd} was closed, but file index ${index} keeps the device open`);
      }
    }
  }

  /** Whether a disk has a descriptor. */
  isOpen(disk: Disk): boolean {
    for (const open of this.#open.values()) if (open === disk) return true;
    return false;
  }

  /** As `io_uring_register_files_update(3)`. */
  register(index: number, fd: number): void {
    if (index < 0 || index >= this.places) this.world.violate(`file index ${index} of ${this.places}`);
    if (fd === -1) {
      this.#registered.delete(index);
      return;
    }
    const disk = this.#open.get(fd);
    if (!disk) this.world.violate(`registerFile of fd ${fd}, which is not open`);
    this.#registered.set(index, { fd, disk });
  }

  /** The ring is gone, and its table with it. */
  unregisterAll(): void {
    this.#registered.clear();
  }

  /** The disk that an SQE names. */
  named(fd: number, registered: boolean): Disk {
    if (!registered) return this.#open.get(fd) ?? this.world.violate(`fd ${fd} is not open`);
    const file = this.#registered.get(fd) ?? this.world.violate(`file index ${fd} is empty`);
    if (this.#open.get(file.fd) !== file.disk) {
      this.world.violate(`file index ${fd} still names fd ${file.fd}, which was closed`);
    }
    return file.disk;
  }
}
