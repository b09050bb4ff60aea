/**
 * File systems of their own, on loop devices.
 *
 * @module
 */

import { succeed } from "./commands.ts";
import { LoopDevice } from "./loop.ts";
import { mounted } from "./mount.ts";

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
    const loop = parts.use(await LoopDevice.create({ bytes: FILE_SYSTEMS[kind], directIo: false }));
    await succeed(`mkfs.${kind}`, "-q", loop.path);
    const { point } = parts.use(await mounted(loop.path));
    return new FileSystem(point, parts.move());
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
