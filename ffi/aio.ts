/**
 * POSIX asynchronous I/O: libc's way to sync a file on another thread and get the error number. `fdatasync(2)` on a thread of
 * Deno sets `errno` in that thread, where it cannot be read.
 *
 * @module
 */

import { errno } from "./libc.ts";
import { EINPROGRESS } from "./errno.ts";
import { aiocb } from "./layout.ts";
import { assertPlatform, openLibrary } from "./library.ts";
import { MappedMemory } from "./memory.ts";
import { O_DSYNC, SIGEV_NONE } from "./uapi.ts";

const symbols = {
  aio_fsync: {
    parameters: ["i32", /* int op */ "pointer" /* struct aiocb *aiocbp */],
    result: "i32",
  },
  aio_error: { parameters: ["pointer" /* const struct aiocb *aiocbp */], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type Aio = Deno.DynamicLibrary<typeof symbols>["symbols"];

let opened: Aio | undefined;

function aio(): Aio {
  if (opened !== undefined) return opened;
  assertPlatform();
  return opened = openLibrary(
    // Before glibc 2.34 the functions were in librt.
    ["libc.so.6", "librt.so.1", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"],
    symbols,
    "dmio needs the system's C library with POSIX asynchronous I/O",
  );
}

/** An `fdatasync(2)` under way on a thread of libc. */
export class DataSync implements Disposable {
  // Comes first, so that nothing is mapped when the library is missing.
  readonly #aio = aio();
  // The thread writes its result here, even when this isolate has ended.
  readonly #block = new MappedMemory(aiocb.size);
  readonly #refusal: number = 0;

  /**
   * Starts it.
   *
   * @param fd The file descriptor, which must stay open until the result is there.
   */
  constructor(fd: number) {
    const view = new DataView(this.#block.buffer);
    view.setInt32(aiocb.aio_fildes, fd, true);
    view.setInt32(aiocb["aio_sigevent.sigev_notify"], SIGEV_NONE, true);
    if (this.#aio.aio_fsync(O_DSYNC, this.#block.pointer) !== 0) this.#refusal = errno();
  }

  /** The result of `fdatasync`: 0, or a positive error number; `null` while it is under way. */
  get answer(): number | null {
    if (this.#refusal !== 0) return this.#refusal;
    const error = this.#aio.aio_error(this.#block.pointer);
    return error === EINPROGRESS ? null : error;
  }

  /** Frees its memory. The result must be there. */
  [Symbol.dispose](): void {
    this.#block[Symbol.dispose]();
  }
}
