/**
 * Files that calls of threads use, in mapped memory. JavaScript and threads are their users: the last user closes a file.
 *
 * @module
 */

import { errno, libc } from "../../ffi/libc.ts";
import { open_file } from "../../ffi/thread_layout.ts";
import { F_DUPFD_CLOEXEC } from "../../ffi/uapi.ts";

const USERS = open_file.users / 4;
const FD = open_file.fd / 4;

/** Places in the table of files. */
export const FILE_ENTRIES = 256;
/** Bytes of the table. */
export const FILE_TABLE_BYTES: number = FILE_ENTRIES * open_file.size;

/** The files of one engine: a table of files, and files that single calls bring. A file is named by its offset in the memory. */
export class OpenFiles {
  readonly #words: Uint32Array;
  readonly #from: number;
  // The descriptor that each place of the table was filled with; -1: none.
  readonly #made = new Int32Array(FILE_ENTRIES).fill(-1);

  /**
   * @param words The memory.
   * @param from Where in it the table begins, in bytes.
   */
  constructor(words: Uint32Array, from: number) {
    this.#words = words;
    this.#from = from;
  }

  /** Fills or, with -1, empties a place of the table. @returns 0, or `-errno`. */
  set(place: number, fd: number): number {
    if (this.#made[place]! >= 0) this.letGo(this.at(place));
    this.#made[place] = -1;
    if (fd < 0) return 0;
    const made = this.make(this.at(place), fd);
    if (made === 0) this.#made[place] = fd;
    return made;
  }

  /** Empties the table. */
  clear(): void {
    for (let place = 0; place < FILE_ENTRIES; place++) this.set(place, -1);
  }

  /** The file at a place of the table. */
  at(place: number): number {
    return this.#from + place * open_file.size;
  }

  /** The descriptor that a place of the table was filled with. */
  madeFrom(place: number): number {
    return this.#made[place]!;
  }

  /** The descriptor of a file. */
  fdOf(file: number): number {
    return this.#words[file / 4 + FD]!;
  }

  /** Makes a file with one user. It stays open when `fd` is closed. @returns 0, or `-errno`. */
  make(file: number, fd: number): number {
    const own = libc().fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return -errno();
    this.#words[file / 4 + USERS] = 1;
    this.#words[file / 4 + FD] = own;
    return 0;
  }

  /** Makes the file of a call that uses no file: a record that is never closed. */
  makeNone(file: number): void {
    this.#words[file / 4 + USERS] = 2;
  }

  /** Adds a user of a file. */
  hold(file: number): void {
    Atomics.add(this.#words, file / 4 + USERS, 1);
  }

  /** Removes a user of a file. The last user closes it. */
  letGo(file: number): void {
    if (Atomics.sub(this.#words, file / 4 + USERS, 1) === 1) libc().close(this.fdOf(file));
  }
}
