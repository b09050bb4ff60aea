/**
 * The threads that make system calls for all engines of this JavaScript thread, and how devices share them.
 *
 * @module
 */

import { libc } from "../../ffi/libc.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { openPthread, startThread } from "../../ffi/pthread.ts";
import { threadCode } from "../../ffi/thread_code.ts";
import { lane as laneLayout, LANE_CALLS, thread, THREAD_ENDED } from "../../ffi/thread_layout.ts";
import { FUTEX_WAKE_PRIVATE, SYS_futex } from "../../ffi/uapi.ts";
import { DeviceCalls } from "./device_calls.ts";
import { Lanes } from "./lanes.ts";

/** The most threads for all engines of this JavaScript thread. */
export const MOST_THREADS = 24;
/** The most threads of one device. */
export const MOST_OF_A_DEVICE = 8;

/** How many devices may have calls in lanes at once. Further devices wait. */
const LANES = 64;
// One more `struct thread`, and one more lane, are for calls that this thread makes itself.
const OWN_THREAD = MOST_THREADS;
const OWN_LANE = LANES;
const LANES_AT = (MOST_THREADS + 1) * thread.size;
const BYTES = LANES_AT + (LANES + 1) * laneLayout.size;
/** Seconds after which a thread without work ends. */
const IDLE_SECONDS = 1;
/** The most yields for threads that need a few more instructions until they are idle. */
const MOST_YIELDS = 1000;

const CODE = { parameters: ["pointer" /* struct thread * */], result: "void" } as const;

const IDLE = 0;
const NONE = -1;

/** The thread was sent to the lane. */
const STARTED = 0;
/** The system refused another thread. */
const REFUSED = 1;
/** The thread was found idle, and then went back to its last lane or ended. */
const LOST = 2;

/**
 * Up to 24 threads. A device has at most 8 of them, and gets another one only while it has fewer than are free. So the calls of two hung
 * devices hold 8 threads each, and the calls of each later device about half of the rest: a thread that is about to be idle may go back to
 * its device. Calls that find no thread wait in their order.
 */
export class CallThreads {
  static #shared: CallThreads | undefined;

  /** The threads of this JavaScript thread. Their memory is never unmapped, as they may use it until the process ends. */
  static get shared(): CallThreads {
    return CallThreads.#shared ??= new CallThreads();
  }

  readonly #code = threadCode();
  readonly #here = new Deno.UnsafeFnPointer(this.#code as Deno.PointerObject<typeof CODE>, CODE);
  readonly #memory = new MappedMemory(BYTES);
  readonly #words = new Uint32Array(this.#memory.buffer);
  readonly #lanes = new Lanes(this.#words, LANES_AT);
  readonly #devices = new Map<number, DeviceCalls>();
  // Devices with calls that wait, and without a thread.
  readonly #starved = new Set<DeviceCalls>();
  readonly #owners: (DeviceCalls | null)[] = Array(LANES).fill(null);
  // The last lane of each thread. A thread that found its lane empty may still go back to it.
  readonly #last: number[] = Array(MOST_THREADS).fill(NONE);
  readonly #onLane = new Uint8Array(LANES);

  private constructor() {
    openPthread();
    const view = new DataView(this.#memory.buffer);
    for (let i = 0; i <= MOST_THREADS; i++) {
      const at = i * thread.size;
      view.setUint32(at + thread.lane, THREAD_ENDED, true);
      view.setBigUint64(at + thread.base, BigInt(this.#memory.address), true);
      view.setUint32(at + thread.stays, i === OWN_THREAD ? 0 : 1, true);
      view.setBigInt64(at + thread.idle_timeout, BigInt(IDLE_SECONDS), true);
    }
  }

  /** The calls of a device, by its file descriptor. */
  device(fd: number): DeviceCalls {
    let device = this.#devices.get(fd);
    if (device === undefined) this.#devices.set(fd, device = new DeviceCalls(fd));
    return device;
  }

  /** Why calls wait, in a sentence; null while each device that has calls has a thread. */
  get busy(): string | null {
    this.serve();
    if (this.#starved.size === 0) return null;
    let calls = 0;
    for (const { waiting } of this.#starved) calls += waiting;
    return `all ${MOST_THREADS} threads are in system calls that have not returned; ${calls} more, for ` +
      `${this.#starved.size === 1 ? "a device" : `${this.#starved.size} devices`} without a thread, wait`;
  }

  /** Gives the waiting calls of a device to threads, as far as its share goes. */
  feed(device: DeviceCalls): void {
    if (device.waiting === 0) return;
    if (this.#threadsOf(device) === 0) {
      this.serve();
      if (!this.#begin(device)) this.#starved.add(device);
      return;
    }
    // While a device has no thread, the others get no further calls, so that their threads come free.
    if (this.#starved.size === 0) this.#fill(device);
    else if (device.out === 0) this.#starved.add(device);
    this.#attach(device);
  }

  /** Notes that the result of a device's call was taken. */
  ended(device: DeviceCalls): void {
    device.out--;
    if (this.#starved.size > 0) this.serve();
    this.feed(device);
  }

  /** Gives free threads to devices that have none. @returns Whether a device with calls has no thread. */
  serve(): boolean {
    for (const device of this.#starved) {
      if (device.waiting > 0 && !this.#begin(device)) return true;
      this.#starved.delete(device);
    }
    return false;
  }

  /**
   * Makes calls on this thread, before it returns.
   *
   * @param addresses The address of each `struct call`.
   */
  run(addresses: readonly number[]): void {
    for (let i = 0; i < addresses.length;) {
      const end = Math.min(addresses.length, i + LANE_CALLS);
      while (i < end) this.#lanes.put(OWN_LANE, addresses[i++]!);
      this.#runLane(OWN_LANE);
    }
  }

  /**
   * Takes calls back that no thread has begun.
   *
   * @param isMeant Whether to take back the call at an address.
   * @returns The addresses of the calls that were taken back.
   */
  takeBack(isMeant: (address: number) => boolean): number[] {
    const taken: number[] = [];
    for (const device of this.#devices.values()) {
      taken.push(...device.drop(isMeant));
      if (device.waiting === 0) this.#starved.delete(device);
      const { lane } = device;
      if (lane === NONE) continue;
      const all = this.#lanes.take(lane);
      const kept = all.filter((address) => !isMeant(address));
      taken.push(...all.filter(isMeant));
      device.out -= all.length - kept.length;
      for (const address of kept) this.#lanes.put(lane, address);
      this.#attach(device);
    }
    return taken;
  }

  #threadsOf({ lane }: DeviceCalls): number {
    if (lane === NONE) return 0;
    this.#count();
    return this.#onLane[lane]!;
  }

  // Gives a device without a thread a lane, its first calls and a thread. Returns whether there was a thread.
  #begin(device: DeviceCalls): boolean {
    for (let yields = 0; yields < MOST_YIELDS; yields++) {
      const free = this.#count();
      const lane = device.lane === NONE ? this.#freeLane(free) : device.lane;
      if (lane === NONE || free === 0) return false;
      if (this.#onLane[lane]! > 0 || this.#unused(lane) !== NONE) {
        this.#own(device, lane);
        this.#fill(device);
        return this.#attach(device);
      }
      // A thread whose last call has ended is on its way to be idle.
      libc().sched_yield();
    }
    return false;
  }

  // Counts the threads of each lane. Returns how many have no call.
  #count(): number {
    this.#onLane.fill(0);
    for (let i = 0; i < MOST_THREADS; i++) {
      const at = this.#laneOf(i);
      if (at !== IDLE && at !== THREAD_ENDED) this.#onLane[this.#lanes.at(at)]!++;
    }
    let free = MOST_THREADS;
    for (let lane = 0; lane < LANES; lane++) {
      free -= Math.min(this.#onLane[lane]!, this.#owners[lane]?.out ?? 0);
    }
    return free;
  }

  // A lane whose owner has no calls out, preferably one that still has threads, but no more than a device's share of those that are free.
  #freeLane(free: number): number {
    const share = Math.max(Math.floor(free / 2), 1);
    let found = NONE;
    for (let lane = 0; lane < LANES; lane++) {
      const threads = this.#onLane[lane]!;
      if ((this.#owners[lane]?.out ?? 0) > 0 || threads > share) continue;
      if (threads > 0) return lane;
      if (found === NONE) found = lane;
    }
    return found;
  }

  #own(device: DeviceCalls, lane: number): void {
    const owner = this.#owners[lane] ?? null;
    if (owner !== null) owner.lane = NONE;
    this.#owners[lane] = device;
    device.lane = lane;
  }

  // Moves calls that wait into the device's lane, as many as it holds.
  #fill(device: DeviceCalls): void {
    let room = LANE_CALLS - this.#lanes.untaken(device.lane);
    for (; room > 0 && device.waiting > 0; room--) {
      this.#lanes.put(device.lane, device.shift());
      device.out++;
    }
  }

  // Gives the device's lane a thread for each call that no thread has taken, within its share. Returns whether the lane has a thread.
  #attach(device: DeviceCalls): boolean {
    const { lane } = device;
    for (let calls = this.#lanes.untaken(lane); calls > 0;) {
      const free = this.#count();
      const threads = this.#onLane[lane]!;
      // A thread more than there are calls would find none, and count as free although it is on its way here.
      const most = Math.min(MOST_OF_A_DEVICE, device.out);
      if (threads >= most || (threads > 0 && threads >= free)) return true;
      const i = this.#unused(lane);
      if (i === NONE) break;
      switch (this.#start(i, lane)) {
        case STARTED:
          calls--;
          break;
        case REFUSED:
          // When the system refuses even the first thread, this thread makes the calls.
          if (threads === 0) this.#runLane(lane);
          return true;
      }
    }
    if (this.#lanes.untaken(lane) === 0 || this.#threadsOf(device) > 0) return true;
    // The thread that was free went back to another lane.
    const left = this.#lanes.take(lane);
    device.putBack(left);
    device.out -= left.length;
    return false;
  }

  // A thread without a lane, preferably the one that had this lane last, as it may be going back to it.
  #unused(lane: number): number {
    let found = NONE;
    for (let i = 0; i < MOST_THREADS; i++) {
      const at = this.#laneOf(i);
      if (at === IDLE && this.#last[i] === lane) return i;
      if (at === IDLE || (at === THREAD_ENDED && found === NONE)) found = i;
    }
    return found;
  }

  #start(i: number, lane: number): typeof STARTED | typeof REFUSED | typeof LOST {
    const word = i * thread.size / 4;
    const at = this.#lanes.offsetOf(lane);
    const pointer = Deno.UnsafePointer.offset(this.#memory.pointer, i * thread.size) as Deno.PointerObject;
    if (Atomics.load(this.#words, word) === THREAD_ENDED) {
      Atomics.store(this.#words, word, at);
      if (startThread(this.#code, pointer) !== 0) {
        Atomics.store(this.#words, word, THREAD_ENDED);
        return REFUSED;
      }
    } else {
      if (Atomics.compareExchange(this.#words, word, IDLE, at) !== IDLE) return LOST;
      libc().futex(BigInt(SYS_futex), pointer, FUTEX_WAKE_PRIVATE, 1);
    }
    this.#last[i] = lane;
    return STARTED;
  }

  // Makes the calls of a lane on this thread.
  #runLane(lane: number): void {
    const word = OWN_THREAD * thread.size / 4;
    const pointer = Deno.UnsafePointer.offset(this.#memory.pointer, OWN_THREAD * thread.size);
    this.#words[word] = this.#lanes.offsetOf(lane);
    this.#here.call(pointer);
  }

  #laneOf(i: number): number {
    return Atomics.load(this.#words, i * thread.size / 4);
  }
}
