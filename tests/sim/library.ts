/**
 * What a run needs of the library under test: the shape of its client and no more, so that a run can also be given a
 * client with a known fault.
 *
 * @module
 */

import type { Disk } from "./disk.ts";
import type { SimEngine } from "./engine.ts";

/** Operations by their numbers, as in the kernel. */
export const READ = 0;
export const WRITE = 1;

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
  /** The callback form, under the dm-io functions. */
  notify?(
    op: typeof READ | typeof WRITE,
    regions: Region[],
    memory: Memory,
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
