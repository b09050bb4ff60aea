/**
 * Slots: one for each SQE in flight, which holds its transfer.
 *
 * @module
 */

import { DmioFault } from "../fault.ts";
import { Transfer } from "./io.ts";

/** The transfers of one engine, each found by the user data of its SQE. */
export class SlotTable {
  readonly #transfers: Transfer[] = [];
  readonly #idle: Transfer[] = [];

  /** @param capacity How many SQEs may be in flight at once. */
  constructor(capacity: number) {
    for (let slot = 0; slot < capacity; slot++) this.#transfers.push(new Transfer(slot));
    this.#idle = this.#transfers.toReversed();
  }

  /** How many slots are free. */
  get free(): number {
    return this.#idle.length;
  }

  /** All transfers; those of free slots have no region. */
  get all(): readonly Transfer[] {
    return this.#transfers;
  }

  /** Takes a free slot. @throws {DmioFault} When there is none. */
  take(): Transfer {
    const transfer = this.#idle.pop();
    if (transfer === undefined) throw new DmioFault("no slot is left, though one was counted");
    return transfer;
  }

  /** The transfer that a CQE belongs to. @throws {DmioFault} When none is in flight under that user data. */
  find(slot: number, generation: number): Transfer {
    const transfer = this.#transfers[slot];
    if (transfer === undefined || transfer.region === null || transfer.generation !== generation) {
      throw new DmioFault(`a CQE for slot ${slot}, use ${generation}, which has nothing in flight`);
    }
    return transfer;
  }

  /** Frees the slot of a transfer that is at its end. */
  release(transfer: Transfer): void {
    transfer.region = null;
    this.#idle.push(transfer);
  }
}
