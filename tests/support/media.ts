/**
 * A medium of each kind that operations treat in their own way, whose bytes are set and looked at without the library.
 *
 * @module
 */

import { BlockDevice } from "../../mod.ts";
import { FileSystem } from "./file_system.ts";
import { LoopDevice } from "./loop.ts";
import { fileSystemLack } from "./mount.ts";
import { NbdDevice } from "./nbd.ts";
import { Scratch } from "./scratch.ts";
import { ZramDevice, zramLack } from "./zram.ts";

/** Bytes of each medium. */
export const MEDIUM_BYTES = 1 << 20;

type Parts = AsyncDisposableStack;

async function onFileSystem(kind: "ext4" | "btrfs", parts: Parts): Promise<string> {
  return parts.use(await FileSystem.create(kind)).file(MEDIUM_BYTES);
}

async function inMemory(parts: Parts): Promise<string> {
  const path = parts.use(await Scratch.create()).join("file");
  Deno.writeFileSync(path, new Uint8Array(MEDIUM_BYTES));
  return path;
}

async function loop(parts: Parts, sectorSize = 512): Promise<string> {
  return parts.use(await LoopDevice.create({ bytes: MEDIUM_BYTES, sectorSize })).path;
}

interface Kind {
  readonly direct: boolean;
  readonly make: (parts: Parts) => Promise<string>;
}

const KINDS: Readonly<Record<string, Kind>> = {
  "a direct loop device": { direct: true, make: (parts) => loop(parts) },
  "a buffered loop device": { direct: false, make: (parts) => loop(parts) },
  "a loop device of 4096-byte blocks": { direct: true, make: (parts) => loop(parts, 4096) },
  "an nbdkit server": {
    direct: true,
    make: async (parts) => parts.use(await NbdDevice.create({ bytes: MEDIUM_BYTES })).path,
  },
  "a direct file on ext4": { direct: true, make: (parts) => onFileSystem("ext4", parts) },
  "a buffered file on ext4": { direct: false, make: (parts) => onFileSystem("ext4", parts) },
  "a file on tmpfs": { direct: false, make: inMemory },
  "a direct file on tmpfs": { direct: true, make: inMemory },
};
const ZRAM: Kind = {
  direct: true,
  make: async (parts) => parts.use(await ZramDevice.create(MEDIUM_BYTES)).path,
};

const BTRFS: Kind = { direct: false, make: (parts) => onFileSystem("btrfs", parts) };

/** Every kind of medium that this machine can make. */
export const MEDIA: Readonly<Record<string, Kind>> = {
  ...KINDS,
  ...(zramLack() === null ? { zram: ZRAM } : {}),
  ...(await fileSystemLack("btrfs") === null ? { "a file on btrfs": BTRFS } : {}),
};

/** An open medium. */
export class Medium implements AsyncDisposable {
  private constructor(readonly name: string, readonly bdev: BlockDevice, readonly parts: Parts) {}

  /** Makes a medium of a kind, and opens it for writing. */
  static async create(name: string): Promise<Medium> {
    const { direct, make } = MEDIA[name]!;
    await using parts = new AsyncDisposableStack();
    const path = await make(parts);
    const bdev = parts.use(BlockDevice.open(path, { write: true, direct }));
    return new Medium(name, bdev, parts.move());
  }

  /** Sectors of a logical block. */
  get unit(): number {
    return this.bdev.logicalBlockSize / 512;
  }

  /** Sets all its bytes. */
  fill(data: Uint8Array): void {
    using file = Deno.openSync(this.bdev.path, { write: true });
    for (let at = 0; at < data.length;) at += file.writeSync(data.subarray(at));
    file.syncDataSync();
  }

  /** Reads all its bytes. */
  contents(): Uint8Array<ArrayBuffer> {
    return Deno.readFileSync(this.bdev.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.disposeAsync();
  }
}
