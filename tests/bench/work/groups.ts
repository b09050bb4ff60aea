import type { Group } from "../rows.ts";
import type { TestBed } from "../test_bed.ts";
import { heap, live, startup } from "./costs.ts";
import { logAppends } from "./logging.ts";
import { pageCache, readMany, readOne, slowDevice, withoutIoUring } from "./reading.ts";
import { readableStream, writableStream } from "./streams.ts";
import { mirroredWrites, regionsPerRequest, sequentialWrites } from "./writing.ts";

/** Every group of rows, in the order in which they run. */
export function groups(bed: TestBed): Group[] {
  return [
    readOne(bed),
    readMany(bed, 16, 1.05),
    readMany(bed, 64, 1.15),
    pageCache(bed),
    withoutIoUring(bed, false),
    withoutIoUring(bed, true),
    mirroredWrites(bed, 32),
    mirroredWrites(bed, 128),
    sequentialWrites(bed),
    readableStream(bed),
    writableStream(bed),
    regionsPerRequest(bed),
    logAppends(bed, 1, 1.0),
    logAppends(bed, 64, 1.2),
    heap(bed),
    startup(bed),
    live(bed),
    slowDevice(bed),
  ];
}
