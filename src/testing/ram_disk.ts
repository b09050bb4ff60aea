/**
 * A disk in RAM with its faults: it carries out operations, and decides when they end.
 *
 * @module
 */

import { EFAULT, EINVAL, EIO, ENOSPC } from "../../ffi/errno.ts";
import { SECTOR_SIZE } from "../device/facts.ts";
import { Disk, type WriteCache } from "./disk.ts";
import type { FaultRule } from "./fault_rules.ts";
import type { RamOp } from "./ram_op.ts";
import type { Random } from "./random.ts";

/** Changes an operation that a fault hits, when the operation begins. */
export type Effect = (op: RamOp) => void;

/** A disk in RAM. Any number of devices, clients and engines may use it. */
export class RamDisk {
  /** Its medium and its cache. */
  readonly disk: Disk;
  /** Its size in sectors when it was made. */
  readonly sectors: number;
  /** The faults, each with its effect. */
  readonly rules: Map<FaultRule, Effect> = new Map();
  /** Operations that began so far. */
  operations = 0;

  readonly #inFlight = new Set<RamOp>();
  readonly #deaths = new Set<object>();

  /**
   * @param bytes Its size, a multiple of the block.
   * @param blockSize Bytes of a logical block.
   * @param cache Where a write goes first.
   */
  constructor(bytes: number, blockSize: number, cache: WriteCache) {
    this.disk = new Disk(bytes, blockSize, cache);
    this.sectors = bytes / SECTOR_SIZE;
  }

  /** The size now, in sectors; 0 while it is dead. */
  get sectorsNow(): number {
    return this.#deaths.size === 0 ? Math.floor(this.disk.end / SECTOR_SIZE) : 0;
  }

  /** Begins an operation: the faults that hit it say when it ends, and how. */
  begin(op: RamOp): void {
    this.operations++;
    this.#inFlight.add(op);
    if (this.#deaths.size > 0) return this.#end(op, EIO);
    for (const [rule, effect] of this.rules) if (rule.strikes(op)) effect(op);
    // A power cut at this operation killed the disk. Another fault may hold the operation up: it ends all the same.
    if (this.#deaths.size > 0) this.#end(op, EIO);
  }

  /** Drops an operation without ending it. */
  forget(op: RamOp): void {
    this.#inFlight.delete(op);
  }

  /** Takes a fault back. Operations that it held up go on. */
  remove(rule: FaultRule): void {
    this.rules.delete(rule);
    for (const op of this.#inFlight) {
      if (op.hangs.delete(rule) && op.hangs.size === 0) op.carrier.released();
    }
  }

  /** Dies of a cause: operations in flight and all later ones end with EIO. */
  die(cause: object): void {
    this.#deaths.add(cause);
    for (const op of this.#inFlight) this.#end(op, EIO);
  }

  /** Takes a cause of its death away. When none is left, it works again with all its data. */
  revive(cause: object): void {
    this.#deaths.delete(cause);
  }

  /**
   * Cuts the power. The disk keeps some of the blocks that were not flushed, and loses others. A write in flight reaches some of its blocks.
   * Operations in flight end with EIO.
   */
  powerCut(random: Random): void {
    for (const op of this.#inFlight) {
      this.#tear(op, random);
      this.#end(op, EIO);
    }
    this.disk.powerCut(random);
  }

  /** Carries out an operation that is due. @returns The result for its CQE: bytes moved, or `-errno`. */
  finish(op: RamOp): number {
    this.#inFlight.delete(op);
    if (op.errno !== 0) return -op.errno;
    switch (op.kind) {
      case "read":
        return this.#read(op);
      case "write":
        return this.#write(op);
      case "flush":
        if (op.lie === null) this.disk.flush();
        return 0;
      default:
        return this.#clear(op);
    }
  }

  #end(op: RamOp, errno: number): void {
    op.errno ||= errno;
    op.hangs.clear();
    op.due = 0;
    op.carrier.released();
  }

  #tear(op: RamOp, random: Random): void {
    if (op.errno !== 0) return;
    const { from, to, kind } = op;
    const { blockSize } = this.disk;
    if (kind !== "write") {
      if (kind === "zeroes" && random.chance(0.5)) this.disk.zero(from, Math.min(to, this.disk.end));
      return;
    }
    const bytes = op.gather(Math.max(Math.min(to, this.disk.end) - from, 0));
    if (bytes === null) return;
    for (let at = 0; at < bytes.length; at += blockSize) {
      if (random.chance(0.5)) this.disk.write(from + at, bytes.subarray(at, at + blockSize));
    }
  }

  #read(op: RamOp): number {
    const { disk } = this;
    const length = this.#length(op);
    if (length <= 0) return length;
    const bad = disk.firstBad(false, op.from, op.from + length);
    const bytes = new Uint8Array(bad === null ? length : bad.at - op.from);
    disk.read(op.from, bytes);
    if (op.lie === "corrupt") this.#corrupt(bytes);
    if (op.lie !== "lose" && !op.scatter(bytes)) return -EFAULT;
    return bad === null ? length : -bad.errno;
  }

  #write(op: RamOp): number {
    const { disk } = this;
    if (op.from >= disk.end) return -ENOSPC;
    const length = this.#length(op);
    if (length <= 0) return length;
    const bad = disk.firstBad(true, op.from, op.from + length);
    const bytes = op.gather(bad === null ? length : bad.at - op.from);
    if (bytes === null) return -EFAULT;
    if (op.lie === "corrupt") this.#corrupt(bytes);
    if (op.lie !== "lose") disk.write(op.from, bytes, op.durable);
    return bad === null ? length : -bad.errno;
  }

  #clear({ kind, from, to, lie }: RamOp): number {
    const { disk } = this;
    if (from % disk.blockSize !== 0 || to % disk.blockSize !== 0 || to > disk.end) return -EINVAL;
    const bad = disk.firstBad(true, from, to);
    if (bad !== null && kind === "zeroes") return -bad.errno;
    if (lie !== null) return 0;
    if (kind === "zeroes") disk.zero(from, to);
    else disk.discard(from, to);
    return 0;
  }

  // The bytes that a read or a write moves when no block is bad; `-EINVAL` when it does not begin and end on blocks.
  #length({ from, to, most }: RamOp): number {
    const { blockSize, end } = this.disk;
    if (from % blockSize !== 0 || to % blockSize !== 0) return -EINVAL;
    const there = Math.max(Math.min(to, end) - from, 0);
    return there > most ? most - most % blockSize : there;
  }

  // One bit of each block.
  #corrupt(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += this.disk.blockSize) bytes[at]! ^= 1;
  }
}
