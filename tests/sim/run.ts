/**
 * One run: what a program does with the library, drawn from a seed, while the model watches.
 *
 * @module
 */

import { call, callSync, notify } from "./calls.ts";
import type { Disk } from "./disk.ts";
import { drawRequest } from "./draw.ts";
import { SimEngine } from "./engine.ts";
import { Ledger } from "./ledger.ts";
import type { Client, Deadline, Device, Library, Result } from "./library.ts";
import { Hoard } from "./hoard.ts";
import { PoolPages } from "./loan.ts";
import type { Request, Target } from "./model.ts";
import type { Random } from "../../src/testing/random.ts";
import { drawCuts, drawDisks, drawEngine, drawWeather } from "./shape.ts";
import { chanceOf, Violation, World } from "./world.ts";

/** Requests that a run keeps under way at most. */
const MOST_UNDER_WAY = 40;
/** Microseconds after its deadline at which a request must have its result. */
const LATE = 2_000;

/** What a run did, for the report. */
export interface Tally {
  requests: number;
  failedRegions: number;
  completed: number;
  cuts: number;
}

/**
 * Runs `steps` steps from `seed`.
 *
 * @throws {Violation} With the first thing that went wrong.
 */
export async function run(library: Library, seed: number, steps: number, verbose = false): Promise<Tally> {
  const world = current = new World(seed, verbose);
  return await world.withClock(async () => {
    const scene = new Scene(world, library);
    try {
      for (let i = 0; i < steps && !world.violation; i++) await scene.step();
      if (world.violation) throw world.violation;
      await scene.end();
    } catch (error) {
      throw world.violation ?? error;
    }
    return scene.tally;
  });
}

let current: World | undefined;

// An uncaught error is a fault, unless a known fault caused it.
function uncaught(event: Event, reason: unknown): void {
  event.preventDefault();
  if (reason instanceof Violation || !current) return;
  current.violation ??= new Violation(`uncaught: ${reason instanceof Error ? reason.stack : reason}`);
}
globalThis.addEventListener("unhandledrejection", (event) => uncaught(event, event.reason));
globalThis.addEventListener("error", (event) => uncaught(event, event.error));

interface UnderWay {
  readonly request: Request;
  readonly done: Promise<void>;
  readonly abort: AbortController | undefined;
  readonly disks: ReadonlySet<Disk>;
}

interface Handle {
  readonly disk: Disk;
  readonly ledger: Ledger;
  device: Device;
  closing: Promise<void> | undefined;
}

class Scene {
  readonly tally: Tally = { requests: 0, failedRegions: 0, completed: 0, cuts: 0 };
  readonly #chance: Random;
  readonly #engine: SimEngine;
  readonly #client: Client;
  readonly #pages: PoolPages;
  readonly #handles: Handle[];
  readonly #underWay = new Set<UnderWay>();
  readonly #hoard: Hoard;
  readonly #deadlines: boolean;
  #inCall = false;
  /** A blocking call keeps timers from firing until it ends. */
  #blockedUntil = 0;

  constructor(readonly world: World, readonly library: Library) {
    const chance = this.#chance = chanceOf(world, 0);
    this.#engine = new SimEngine(world, drawWeather(chance), drawEngine(chance));
    const poolPages = chance.pick([4, 16, 64, 256]);
    this.#deadlines = chance.chance(0.5);
    const disks = drawDisks(chance);
    this.#client = library.client(this.#engine, poolPages, chance.chance(0.3));
    this.#engine.lockedMemoryRunsOut = chance.chance(0.1);
    this.#pages = new PoolPages(this.#client.pool, this.#engine, poolPages >> 1);
    this.#hoard = new Hoard(this.#pages, poolPages, chance);
    this.#handles = disks.map((disk) => ({
      disk,
      ledger: new Ledger(world, disk),
      device: this.#open(disk),
      closing: undefined,
    }));
    for (const cut of drawCuts(disks, chance)) world.hardware(cut.at, () => this.#cutPower(cut.disks));
    world.log(() =>
      `${disks.length} disks, capacity ${this.#engine.capacity}, weather ${
        JSON.stringify(this.#engine.weather)
      }`
    );
  }

  #open(disk: Disk): Device {
    const { files } = this.#engine;
    const fd = files.open(disk);
    return this.library.device(disk, fd, () => files.close(fd, disk));
  }

  /** Does one thing. */
  async step(): Promise<void> {
    const chance = this.#chance;
    const dice = chance.below(100);
    if (dice < 45) return this.#issue();
    if (dice < 55) return this.#issueSync();
    if (dice < 60) {
      for (let i = chance.between(2, 12); i > 0; i--) this.#issue();
      return;
    }
    if (dice < 80) return await this.world.turns(chance.between(1, 10));
    if (dice < 86) return await this.#waitForOne();
    if (dice < 90) return this.#hoard.step();
    if (dice < 93) return this.#hoard.resize();
    if (dice < 96) return this.#abortOne();
    return this.#closeOne();
  }

  #issue(): void {
    if (this.#underWay.size >= MOST_UNDER_WAY) return;
    const drawn = this.#draw();
    if (!drawn) return;
    const { request, regions } = drawn;
    const disks = new Set(regions.map((region) => region.disk));
    if (this.#client.notify && this.#chance.chance(0.2)) return this.#notify(request, regions, disks);
    const deadline: Deadline = { ...request.how };
    let abort: AbortController | undefined;
    if (this.#deadlines && this.#chance.chance(0.3)) {
      deadline.timeout = this.#chance.pick([0.5, 1, 5, 20, 100]);
      request.timeoutAt = this.world.now + deadline.timeout * 1000;
    }
    if (this.#deadlines && this.#chance.chance(0.2)) {
      abort = new AbortController();
      deadline.signal = abort.signal;
    }
    const result = this.#calling(() => call(this.#client, request, regions, deadline));
    const entry: UnderWay = { request, done: this.#follow(request, result, () => entry), abort, disks };
    this.#underWay.add(entry);
  }

  /** The callback form: `fn` is called once, and never from inside a call of the library. */
  #notify(request: Request, regions: Target[], disks: ReadonlySet<Disk>): void {
    const done = Promise.withResolvers<void>();
    const entry: UnderWay = { request, done: done.promise, abort: undefined, disks };
    this.#underWay.add(entry);
    let calls = 0;
    const fn = (errorBits: bigint, context: unknown) => {
      try {
        this.world.log(() => `notify ${request.id}: ${errorBits.toString(2)}`);
        if (calls++ > 0) this.world.violate(`fn of request ${request.id} was called twice`);
        if (this.#inCall) this.world.violate(`fn of request ${request.id} was called from inside a call`);
        if (context !== request) this.world.violate(`fn of request ${request.id} was given another context`);
        request.answeredBits(errorBits);
        request.finish();
        request.loan.release();
      } catch (error) {
        this.#caught(request, error);
      }
      this.#underWay.delete(entry);
      done.resolve();
    };
    this.#calling(() => notify(this.#client, request, regions, fn));
  }

  #calling<T>(call: () => T): T {
    this.#inCall = true;
    try {
      return call();
    } finally {
      this.#inCall = false;
    }
  }

  /** Checks a request as it goes; what it finds is kept in the world. */
  async #follow(request: Request, promise: Promise<Result>, entry: () => UnderWay): Promise<void> {
    try {
      const result = await promise;
      const { now } = this.world;
      this.world.log(() => `answer ${request.id}: ${show(result)}`);
      request.answered(result);
      const deadline = Math.min(request.timeoutAt, request.abortAt);
      // A blocking call keeps the deadline from being judged. That time is given back once.
      const judged = Math.max(deadline, this.#blockedUntil);
      if (now > judged + (judged - deadline) + LATE) {
        this.world.violate(`request ${request.id} ended ${now - deadline} us after its deadline`);
      }
      this.tally.failedRegions += result.failures.length;
      // The caller may give pool pages back at once, even when the kernel still has them.
      const early = this.#chance.chance(0.5);
      if (early) request.loan.release();
      await result.settled;
      this.world.log(() => `settled ${request.id}`);
      request.settled(!early);
      request.finish();
      if (!early) request.loan.release();
    } catch (error) {
      this.#caught(request, error);
    }
    this.#underWay.delete(entry());
  }

  #caught(request: Request, error: unknown): void {
    if (this.world.violation) return;
    try {
      const text = error instanceof Error ? error.stack : String(error);
      this.world.violate(`request ${request.id} (${request.kind}) threw ${text}`);
    } catch { /* the world keeps it */ }
  }

  #issueSync(): void {
    const drawn = this.#draw();
    if (!drawn) return;
    const { request, regions } = drawn;
    try {
      const result = this.#calling(() => callSync(this.#client, request, regions));
      this.#blockedUntil = this.world.now;
      this.world.log(() => `answer ${request.id} (sync): ${show(result)}`);
      request.answered(result);
      request.settled();
      request.finish();
      this.tally.failedRegions += result.failures.length;
      request.loan.release();
    } catch (error) {
      this.#caught(request, error);
    }
  }

  #draw(): { request: Request; regions: Target[] } | undefined {
    const usable = this.#handles.filter(({ closing }) => !closing);
    const more = this.#client.more !== undefined;
    return drawRequest(this.world, this.tally, usable, this.#pages, more, this.#chance);
  }

  /** Cuts the power of disks, and checks what is left on them. */
  #cutPower(disks: readonly Disk[]): void {
    for (const { disk, ledger } of this.#handles) {
      if (!disks.includes(disk)) continue;
      this.#engine.cutPower(disk);
      ledger.cut();
      this.tally.cuts++;
    }
  }

  async #waitForOne(): Promise<void> {
    const [first] = this.#underWay;
    this.#hoard.free();
    if (first) await this.world.until(first.done, `request ${first.request.id}`);
  }

  #abortOne(): void {
    for (const { request, abort } of this.#underWay) {
      if (!abort || abort.signal.aborted) continue;
      this.world.log(() => `abort  ${request.id}`);
      request.abortAt = this.world.now;
      abort.abort();
      return;
    }
  }

  /** Closes a device, which may be in use, and opens it again once it is closed. */
  #closeOne(): void {
    const handle = this.#chance.pick(this.#handles);
    if (handle.closing) return;
    this.world.log(() => `closing ${handle.disk.name}`);
    handle.closing = this.#reopen(handle);
    handle.closing.catch(() => {}); // it is awaited at the end of the run
  }

  async #reopen(handle: Handle): Promise<void> {
    await handle.device.close();
    if (this.#engine.files.isOpen(handle.disk)) {
      this.world.log(() => `${handle.disk.name} is still open`);
      for (const entry of this.#underWay) if (entry.disks.has(handle.disk)) await entry.done;
    }
    if (this.#engine.files.isOpen(handle.disk)) {
      this.world.violate(`${handle.disk.name} was not closed`);
    }
    handle.device = this.#open(handle.disk);
    handle.closing = undefined;
  }

  /** Ends the run: everything has to come to rest, and nothing may be left over. */
  async end(): Promise<void> {
    const chance = this.#chance;
    const all = () => Promise.all([...this.#underWay].map((entry) => entry.done));
    let closed: Promise<void> | undefined;
    this.#hoard.free();
    // A client may be closed with requests under way; they end first.
    if (chance.chance(0.3)) closed = this.#client.close();
    closed?.catch(() => {}); // it is awaited further down, unless the run ends before
    await this.world.until(all(), "the last request");
    for (const { closing, disk } of this.#handles) {
      if (closing) await this.world.until(closing, `closing ${disk.name}`);
    }
    if (!closed) {
      this.#hoard.countPages();
    }
    await this.world.until(closed ?? this.#client.close(), "close of the client");
    for (const handle of this.#handles) {
      await this.world.until(Promise.resolve(handle.device.close()), `close of ${handle.disk.name}`);
    }
    this.#checkRest();
    // Whatever else happened, what was answered as durable is on the medium.
    this.#cutPower(this.#handles.map(({ disk }) => disk));
  }

  #checkRest(): void {
    const { world } = this;
    if (this.#engine.leftInFlight > 0) {
      world.violate(`closed with ${this.#engine.leftInFlight} SQEs in flight`);
    }
    if (this.#engine.outstanding > 0) world.violate(`${this.#engine.outstanding} SQEs are left over`);
    if (!this.#engine.closed) world.violate("the engine was not closed");
    if (this.#engine.files.size > 0) world.violate("a device was not closed");
    if (world.timers > 0) world.violate(`${world.timers} timers are left over`);
    for (const { disk } of this.#handles) {
      if (disk.claims.size > 0) world.violate(`a request of ${disk.name} never ended`);
    }
    this.tally.completed = this.#engine.completed;
  }
}

function show(result: Result): string {
  const failures = result.failures.map(({ region, code, sector }) => `${region}: ${code} at ${sector}`);
  return failures.join(", ") || "ok";
}
