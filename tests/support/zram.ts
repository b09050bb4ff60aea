/**
 * zram devices: compressed memory, in blocks of one page.
 *
 * @module
 */

import { exists, until } from "./commands.ts";
import { atExit } from "./last_resort.ts";

const CONTROL = "/sys/class/zram-control";
const RELEASE_MILLISECONDS = 5000;

/**
 * Asks whether this machine can make a zram device.
 *
 * @returns Why it can't, in words for a person; null when it can.
 */
export function zramLack(): string | null {
  if (!exists(CONTROL)) {
    new Deno.Command("sh", { args: ["-c", "modprobe zram"], stderr: "null" }).outputSync();
  }
  return exists(CONTROL) ? null : `this kernel has no zram (${CONTROL} is missing)`;
}

/** A zram device of its own, gone at the end of its scope. */
export class ZramDevice implements AsyncDisposable {
  /** `/dev/zramN`. */
  readonly path: string;
  readonly #number: string;
  readonly #takeBack: () => void;

  private constructor(number: string) {
    this.#number = number;
    this.path = `/dev/zram${number}`;
    this.#takeBack = atExit(() => this.#remove());
  }

  /**
   * Makes a device.
   *
   * @param bytes Its size.
   * @throws {Error} When the kernel has no zram, or refuses the size.
   */
  static async create(bytes: number): Promise<ZramDevice> {
    // To read the file is to make a device: the kernel answers with its number.
    const device = new ZramDevice(Deno.readTextFileSync(`${CONTROL}/hot_add`).trim());
    try {
      Deno.writeTextFileSync(`/sys/block/zram${device.#number}/disksize`, `${bytes}`);
      if (!await until(() => exists(device.path), RELEASE_MILLISECONDS)) {
        throw new Error(`${device.path} does not appear`);
      }
      return device;
    } catch (error) {
      await device[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Removes the device.
   *
   * @throws {Error} When something keeps it open.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#takeBack();
    let refusal: unknown;
    const removed = await until(() => {
      try {
        this.#remove();
        return true;
      } catch (error) {
        refusal = error;
        return false;
      }
    }, RELEASE_MILLISECONDS);
    if (!removed) throw new Error(`${this.path} can't be removed: ${refusal}`);
  }

  #remove(): void {
    Deno.writeTextFileSync(`/sys/block/zram${this.#number}/reset`, "1");
    Deno.writeTextFileSync(`${CONTROL}/hot_remove`, this.#number);
  }
}
