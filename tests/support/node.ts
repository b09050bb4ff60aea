/**
 * Nodes of devices outside of `/dev`, which Deno opens with `--allow-read` and `--allow-write` alone.
 *
 * @module
 */

import { succeed } from "./commands.ts";
import { atExit } from "./last_resort.ts";

/** A folder of a file system that takes nodes of devices: those in memory are often mounted `nodev`. */
const FOLDER = "/var/tmp";

/** A second node of a device, gone at the end of its scope. */
export class DeviceNode implements AsyncDisposable {
  /** Its path. */
  readonly path: string;
  readonly #folder: string;
  readonly #takeBack: () => void;

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = `${folder}/node`;
    this.#takeBack = atExit(() => Deno.removeSync(folder, { recursive: true }));
  }

  /**
   * Makes a node.
   *
   * @param device The path of the device's node in `/dev`.
   */
  static async create(device: string): Promise<DeviceNode> {
    const [major = "", minor = ""] = (await succeed("stat", "-L", "-c", "%Hr %Lr", device)).split(" ");
    const node = new DeviceNode(Deno.makeTempDirSync({ dir: FOLDER, prefix: "dmio-" }));
    try {
      await succeed("mknod", node.path, "b", major, minor);
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Removes the node. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#takeBack();
    return Deno.remove(this.#folder, { recursive: true });
  }
}
