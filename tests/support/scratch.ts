/**
 * A temporary folder.
 *
 * @module
 */

import { exists, run, succeed } from "./commands.ts";
import { atExit } from "./last_resort.ts";

const MEMORY_FOLDER = "/dev/shm";

/** How to make a {@linkcode Scratch}. */
export interface ScratchOptions {
  /** Bytes of a tmpfs of its own, which is full when they are used; without it, a folder on the shared tmpfs. */
  readonly tmpfs?: number;
}

/** A temporary folder in memory, gone at the end of its scope with all that is in it. */
export class Scratch implements AsyncDisposable {
  /** The folder's path. */
  readonly path: string;
  readonly #mounted: boolean;
  readonly #takeBack: () => void;
  #disposed = false;

  private constructor(path: string, mounted: boolean) {
    this.path = path;
    this.#mounted = mounted;
    this.#takeBack = atExit(() => {
      if (mounted) new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).outputSync();
      Deno.removeSync(path, { recursive: true });
    });
  }

  /**
   * Makes a folder.
   *
   * @param options See {@linkcode ScratchOptions}.
   * @throws {Error} When a tmpfs of its own cannot be mounted (that takes root).
   */
  static async create(options: ScratchOptions = {}): Promise<Scratch> {
    const dir = exists(MEMORY_FOLDER) ? MEMORY_FOLDER : undefined;
    const path = Deno.makeTempDirSync({ prefix: "dmio-", ...(dir === undefined ? {} : { dir }) });
    if (options.tmpfs !== undefined) {
      try {
        await succeed("mount", "-t", "tmpfs", "-o", `size=${options.tmpfs},mode=0700`, "dmio-test", path);
      } catch (error) {
        Deno.removeSync(path);
        throw error;
      }
    }
    return new Scratch(path, options.tmpfs !== undefined);
  }

  /**
   * The path of something in the folder.
   *
   * @param name Its name.
   */
  join(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Unmounts and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#takeBack();
    if (this.#mounted && (await run(["umount", this.path])).code !== 0) {
      // Something in it is still open: out of the tree now, gone when that is closed.
      await succeed("umount", "-l", this.path);
    }
    Deno.removeSync(this.path, { recursive: true });
  }
}
