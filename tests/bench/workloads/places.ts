import type { BlockDevice, IoRegion } from "../../../mod.ts";

/** Where the next write goes: the same place of each device, at random or one after the other. */
export class Places {
  readonly #devices: readonly BlockDevice[];
  readonly #regions: number;
  readonly #sectors: number;
  readonly #blocks: number;
  readonly #sequential: boolean;
  #block = 0;

  constructor(
    devices: readonly BlockDevice[],
    work: { readonly regions: number; readonly bytes: number; readonly order: "random" | "sequential" },
  ) {
    this.#devices = devices;
    this.#regions = work.regions;
    this.#sectors = work.bytes / 512;
    this.#blocks = Math.floor(Math.min(...devices.map((device) => device.sectors)) / this.#sectors);
    this.#sequential = work.order === "sequential";
  }

  /** The regions of one request, to be moved by {@linkcode Places.next}. */
  regions(): IoRegion[] {
    return Array.from({ length: this.#regions }, (_, i) => ({
      bdev: this.#devices[i % this.#devices.length]!,
      sector: 0,
      count: this.#sectors,
    }));
  }

  /** Moves a request's regions. Those that share a device lie far apart, so that none overlap. */
  next(regions: IoRegion[]): void {
    const first = this.#sequential ? this.#block++ : Math.floor(Math.random() * this.#blocks);
    const devices = this.#devices.length;
    const stride = Math.floor(this.#blocks / Math.ceil(regions.length / devices));
    for (let i = 0; i < regions.length; i++) {
      regions[i]!.sector = (first + Math.floor(i / devices) * stride) % this.#blocks * this.#sectors;
    }
  }
}
