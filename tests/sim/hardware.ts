/**
 * What becomes of SQEs that the kernel took: how each ends, when, and what a power cut does to them.
 *
 * @module
 */

import { Random } from "../../src/testing/random.ts";
import type { Claim, Disk, Fault, Outcome, Weather } from "./disk.ts";
import type { Files } from "./files.ts";
import type { AddressSpace } from "./memory.ts";
import { describe, movesData, type Sqe } from "./sqe.ts";
import { Transfer } from "./transfer.ts";
import type { World } from "./world.ts";

/** The devices of a run at work. */
export class Hardware {
  readonly #inFlight = new Map<Sqe, Transfer>();
  // The claims that a flush in flight comes before.
  readonly #preflushed = new Map<Sqe, readonly Claim[]>();
  readonly #failing = new Map<Sqe, Fault>();

  /** @param ended Takes each SQE that has ended. */
  constructor(
    readonly world: World,
    readonly weather: Weather,
    readonly memory: AddressSpace,
    readonly files: Files,
    readonly ended: (sqe: Sqe, result: number) => void,
  ) {}

  /** Decides from the SQE's number alone what becomes of it, so that other SQEs do not change its fate. */
  start(sqe: Sqe): void {
    const { world } = this;
    const { disk } = sqe;
    const chance = Random.of(world.seed, 1000 + sqe.number);
    if (!this.files.isOpen(disk)) world.violate(`${disk.name} was closed with an SQE queued`);
    const delay = disk.hungUntil(world.now) - world.now +
      (chance.chance(0.1) ? 0 : chance.below(this.weather.latency));
    const outcome = this.#outcome(sqe, chance);
    world.log(() => `start  ${describe(sqe)} -> ${outcome.result} in ${delay} us`);
    const transfer = new Transfer(world, this.memory, sqe, () => this.files.isOpen(disk));
    this.#inFlight.set(sqe, transfer);
    if (sqe.kind === "flush") this.#startFlush(sqe, outcome);
    transfer.schedule(outcome, delay, chance);
    world.hardware(delay, () => {
      const result = transfer.end(outcome, chance);
      this.#inFlight.delete(sqe);
      world.log(() => `end    ${describe(sqe)} -> ${result}`);
      this.ended(sqe, result);
    });
  }

  #startFlush(sqe: Sqe, { result }: Outcome): void {
    const { disk } = sqe;
    // Of two syncs of the page cache that overlap, the kernel tells one that a page was lost.
    const others = [...this.#inFlight.keys()].some((one) =>
      one !== sqe && one.kind === "flush" && one.disk === disk
    );
    if (others && !disk.facts.direct) this.world.violate(`two syncs of ${disk.name} at once`);
    this.#preflushed.set(sqe, [...disk.claims].filter((claim) => claim.preflush));
    if (result < 0) this.#willFail(sqe);
  }

  // Notes the last fault of a disk as that of a flush, until the program knows of it.
  #willFail(sqe: Sqe): void {
    const fault = sqe.disk.faults.at(-1)!;
    sqe.disk.failing.add(fault);
    this.#failing.set(sqe, fault);
  }

  #outcome(sqe: Sqe, chance: Random): Outcome {
    const { disk, kind, from, length, refusal, opcode } = sqe;
    if (refusal > 0) return { ...disk.fail(kind, from, from + length, [refusal], false), uncertain: false };
    return disk.outcome(sqe, movesData(opcode), this.world.now, this.weather, chance);
  }

  /** The program has the CQE: data that waits for its preflush may come. */
  reaped(sqe: Sqe, result: number): void {
    if (result === 0) { for (const claim of this.#preflushed.get(sqe) ?? []) claim.flushed = true; }
    this.#preflushed.delete(sqe);
    const fault = this.#failing.get(sqe);
    if (fault !== undefined) sqe.disk.failing.delete(fault);
    this.#failing.delete(sqe);
  }

  /** Cuts the power of a disk, and turns it on again. */
  cutPower(disk: Disk): void {
    const { world } = this;
    const chance = Random.of(world.seed, 1e8 + disk.cuts);
    world.log(() => `power  of ${disk.name} is cut, with ${disk.store.unflushed} blocks in its cache`);
    for (const [sqe, transfer] of this.#inFlight) {
      if (sqe.disk !== disk) continue;
      transfer.cutPower(chance);
      if (sqe.kind === "flush") this.#willFail(sqe);
    }
    disk.store.powerCut(chance);
    disk.cuts++;
  }
}
