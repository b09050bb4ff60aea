/**
 * A mirror: it reads from a leg that can, remembers what a failed leg missed, and copies that alone when the leg is back.
 *
 * @module
 */
import { type BlockDevice, IoError, type IoResult, type IoService, SECTOR_SIZE } from "../../mod.ts";
import { type Leg, Legs } from "./legs.ts";
import { createState } from "./state.ts";

const MIB = 1 << 20;

/** A mirror that is open. */
export class Raid1 {
  /** How many parts were copied from leg to leg so far. */
  copied = 0;
  #alone: Promise<void> | null = null;
  readonly #writes = new Set<Promise<void>>();

  private constructor(readonly io: Pick<IoService, "read" | "write" | "flush">, readonly legs: Legs) {}

  /** Makes a mirror with the data of the first leg, which is copied to the others. The first MiB of each leg is for the state. */
  static async create(io: Raid1["io"], devices: BlockDevice[]): Promise<Raid1> {
    await createState(io, devices);
    return await Raid1.open(io, devices);
  }

  /** Opens a mirror and makes its legs equal. A leg that is left out misses what is written, until it is back. */
  static async open(io: Raid1["io"], devices: BlockDevice[]): Promise<Raid1> {
    const mirror = new Raid1(io, await Legs.open(io, devices));
    await mirror.resync();
    return mirror;
  }

  /** Reads from the first leg that can be read. When an earlier leg failed, the data is written to it again. It rejects when no leg can be read. */
  async read(sector: number, data: Uint8Array): Promise<void> {
    const [first] = this.legs.current;
    if (await this.#read(sector, data) === first) return;
    await this.#exclusive(() => this.#copy(sector, data.length / SECTOR_SIZE));
  }

  /** Writes to all legs. A leg that fails gets no more writes until {@linkcode Raid1.resync}. It rejects when no leg has the data. */
  async write(sector: number, data: Uint8Array): Promise<void> {
    while (this.#alone !== null) await this.#alone;
    const write = this.#write(sector, data);
    this.#writes.add(write);
    await write.finally(() => this.#writes.delete(write));
  }

  /** Makes all written data durable. Then no part is dirty, unless a leg is failed or missing. */
  async flush(): Promise<void> {
    await this.#exclusive(async () => {
      await this.#flush();
      await this.legs.clean();
    });
  }

  /** Copies the dirty parts, also to legs that failed, which get another chance. */
  async resync(): Promise<void> {
    const { all, part, sectors } = this.legs;
    for (const leg of all) if (leg.state === "failed") leg.state = "copying";
    for (let sector = 0; sector < sectors; sector += part) {
      if (!this.legs.isDirty(sector / part) || all.length === 1) continue;
      await this.#exclusive(() => this.#copy(sector, Math.min(part, sectors - sector)));
      this.copied++;
    }
    await this.#exclusive(async () => {
      await this.#flush();
      for (const leg of all) if (leg.state === "copying") leg.state = "current";
      await this.legs.clean();
    });
  }

  async #write(sector: number, data: Uint8Array): Promise<void> {
    await this.legs.mark(sector, data.length / SECTOR_SIZE);
    await this.#writeTo(this.legs.working, sector, data);
  }

  async #flush(): Promise<void> {
    const legs = this.legs.working;
    await this.legs.lose(await this.io.flush(legs.map(({ bdev }) => bdev)), legs);
  }

  async #writeTo(legs: Leg[], sector: number, data: Uint8Array): Promise<void> {
    const regions = legs.map((leg) => this.legs.at(leg, sector, data.length / SECTOR_SIZE));
    await this.legs.lose(await this.io.write(regions, data), legs);
  }

  // Returns the leg that the data is from.
  async #read(sector: number, data: Uint8Array): Promise<Leg> {
    let result: IoResult | undefined;
    for (const leg of this.legs.current) {
      result = await this.io.read(this.legs.at(leg, sector, data.length / SECTOR_SIZE), data);
      if (result.ok) return leg;
    }
    throw new IoError(result!);
  }

  // Copies from the first leg that can be read to the others, 1 MiB at a time.
  async #copy(sector: number, count: number): Promise<void> {
    const memory = new Uint8Array(MIB);
    for (let at = sector; at < sector + count; at += MIB / SECTOR_SIZE) {
      const piece = memory.subarray(0, (sector + count - at) * SECTOR_SIZE);
      const source = await this.#read(at, piece);
      const legs = this.legs.working.filter((leg) => leg !== source);
      if (legs.length > 0) await this.#writeTo(legs, at, piece);
    }
  }

  // Runs work alone: after the writes in flight, before later ones. Writes that waited for it begin before other work runs alone.
  async #exclusive(work: () => Promise<void>): Promise<void> {
    while (this.#alone !== null) await this.#alone;
    const turn = Promise.allSettled(this.#writes).then(work);
    this.#alone = turn.catch(() => {}).then(() => {
      this.#alone = null;
    });
    await this.#alone;
    await turn;
  }
}
