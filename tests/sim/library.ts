/**
 * What a run needs of the library under test: the shape of its client and no more, so that a run can also be given a
 * client with a known fault.
 *
 * @module
 */

import type { Disk } from "./disk.ts";
import type { SimEngine } from "./engine.ts";

/** Operations by their numbers, as in the kernel. */
export const NUMBERS = { read: 0, write: 1, flush: 2, discard: 3, zeroes: 9 } as const;

export interface Device {
  close(): unknown;
}

export interface Region {
  readonly bdev: Device;
  readonly sector: number;
  readonly count: number;
}

export interface PageList {
  next: PageList | null;
  page: Uint8Array;
}

export interface BioVec {
  page: Uint8Array;
  offset: number;
  len: number;
}

export type Memory = Uint8Array | { pageList: PageList; offset?: number } | { bvecs: BioVec[] };

export interface Failure {
  readonly region: number;
  readonly errno: number;
  readonly code: string;
  readonly sector: number;
}

export interface Result {
  readonly errorBits: bigint;
  readonly failures: readonly Failure[];
  readonly settled: Promise<void>;
}

/** How a request is carried out. */
export interface How {
  /** Whether the first bad block is searched for. */
  locate?: boolean;
  /** Whether the device is flushed before the data. */
  preflush?: boolean;
  /** Whether a write is durable by itself. */
  fua?: boolean;
  /** Whether zeroes may be a hole. */
  unmap?: boolean;
  /** Whether zeroes are written where the device makes none. */
  fallback?: boolean;
}

export interface Deadline extends How {
  timeout?: number;
  signal?: AbortSignal;
}

export interface Pool {
  alloc(pages: number): Uint8Array;
  allocList(pages: number): PageList;
  free(memory: Uint8Array | PageList): void;
  get(pages: number): void;
  put(pages: number): void;
}

export interface Client {
  readonly pool: Pool;
  read(region: Region, memory: Memory, deadline?: Deadline): Promise<Result>;
  write(regions: Region[], memory: Memory, deadline?: Deadline): Promise<Result>;
  /** The operations without data, if it has them; then it has options, too. */
  readonly more?: {
    flush(regions: Region[], deadline?: Deadline): Promise<Result>;
    discard(regions: Region[], deadline?: Deadline): Promise<Result>;
    writeZeroes(regions: Region[], deadline?: Deadline): Promise<Result>;
    flushSync(regions: Region[]): Result;
    discardSync(regions: Region[]): Result;
    writeZeroesSync(regions: Region[], how?: How): Result;
  };
  /** The callback form, under the dm-io functions. */
  notify?(
    op: number,
    regions: Region[],
    memory: Memory | null,
    fn: (errorBits: bigint, context: unknown) => void,
    context: unknown,
    how?: How,
  ): void;
  readSync(region: Region, memory: Memory, how?: How): Result;
  writeSync(regions: Region[], memory: Memory, how?: How): Result;
  close(): Promise<void>;
}

/** A way to make clients over an engine, and devices over disks. */
export interface Library {
  /** @param pages Pages of the pool. */
  client(engine: SimEngine, pages: number, poll: boolean): Client;
  /** @param onClose Called when the library closes the file descriptor. */
  device(disk: Disk, fd: number, onClose: () => void): Device;
}
