/**
 * File systems of their own, on loop devices.
 *
 * @module
 */

import { run, succeed } from "./commands.ts";
import { atExit } from "./last_resort.ts";
import { LoopDevice } from "./loop.ts";
import { Scratch } from "./scratch.ts";

/** The kinds of file system, and how many bytes each needs at least. */
export const FILE_SYSTEMS = { ext4: 16 << 20, btrfs: 128 << 20 } as const;

/** A mounted file system, gone at the end of its scope. */
export class FileSystem implements AsyncDisposable {
  /** Where it is mounted. */
  readonly path: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(path: string, parts: AsyncDisposableStack) {
    this.path = path;
    this.#parts = parts;
  }

  /**
   * Makes a file system and mounts it.
   *
   * @param kind Its kind.
   * @throws {Error} When it cannot be made or mounted.
   */
  static async create(kind: keyof typeof FILE_SYSTEMS): Promise<FileSystem> {
    await using parts = new AsyncDisposableStack();
    const { path } = parts.use(await Scratch.create());
    const loop = parts.use(await LoopDevice.create({ bytes: FILE_SYSTEMS[kind], directIo: false }));
    await succeed(`mkfs.${kind}`, "-q", loop.path);
    await succeed("mount", loop.path, path);
    const takeBack = atExit(() => {
      new Deno.Command("umount", { args: ["-l", path], stderr: "null" }).outputSync();
    });
    parts.defer(async () => {
      takeBack();
      if ((await run(["umount", path])).code !== 0) await succeed("umount", "-l", path);
    });
    return new FileSystem(path, parts.move());
  }

  /**
   * Makes a file in it.
   *
   * @param bytes The file's size.
   * @returns Its path.
   */
  file(bytes: number): string {
    const path = `${this.path}/${crypto.randomUUID()}`;
    Deno.writeFileSync(path, new Uint8Array(bytes));
    return path;
  }

  /** Unmounts it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}
