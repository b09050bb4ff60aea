/**
 * The calls of a client that carry a request out.
 *
 * @module
 */

import { type Client, type Deadline, NUMBERS, type Result } from "./library.ts";
import type { Request, Target } from "./model.ts";

/** The form with a promise. */
export function call(
  client: Client,
  request: Request,
  regions: Target[],
  deadline: Deadline,
): Promise<Result> {
  const { kind, loan: { memory } } = request;
  switch (kind) {
    case "read":
      return client.read(regions[0]!, memory, deadline);
    case "write":
      return client.write(regions, memory, deadline);
    case "flush":
      return client.more!.flush(regions, deadline);
    case "discard":
      return client.more!.discard(regions, deadline);
    case "zeroes":
      return client.more!.writeZeroes(regions, deadline);
  }
}

/** The form that blocks. */
export function callSync(
  client: Client,
  { kind, loan: { memory }, how }: Request,
  regions: Target[],
): Result {
  switch (kind) {
    case "read":
      return client.readSync(regions[0]!, memory, how);
    case "write":
      return client.writeSync(regions, memory, how);
    case "flush":
      return client.more!.flushSync(regions);
    case "discard":
      return client.more!.discardSync(regions);
    case "zeroes":
      return client.more!.writeZeroesSync(regions, how);
  }
}

/** The form that calls back, with the request as its context. */
export function notify(
  client: Client,
  request: Request,
  regions: Target[],
  fn: (errorBits: bigint, context: unknown) => void,
): void {
  const { kind, loan, how } = request;
  const memory = kind === "read" || kind === "write" ? loan.memory : null;
  client.notify!(NUMBERS[kind], regions, memory, fn, request, how);
}
