/**
 * The system calls of one engine that threads make.
 *
 * @module
 */

import { libc } from "../../ffi/libc.ts";
import { MappedMemory } from "../../ffi/memory.ts";
import { call, queue } from "../../ffi/thread_layout.ts";
import { IOSQE_FIXED_FILE } from "../../ffi/uapi.ts";
import { DmioFault } from "../fault.ts";
import { CallThreads } from "./call_threads.ts";
import type { DeviceCalls } from "./device_calls.ts";
import type { Completions } from "./engine.ts";
import { FILE_TABLE_BYTES, OpenFiles } from "./open_files.ts";
import type { Sqe } from "./sqe.ts";

/** The most calls at once whose results are dropped. */
const MOST_DETACHED = 256;

const FILES_AT = queue.size;
const CALLS_AT = FILES_AT + FILE_TABLE_BYTES;
const CALL_WORDS = call.size / 4;

/**
 * Calls in mapped memory. A call is used again when its result was taken. A thread may begin a call late, when the descriptor that the call
 * was made for is closed and its number means another file. So each call holds its file open: by a descriptor of its own, or by a place in the
 * table of files.
 */
export class ThreadCalls {
  /** Calls that were begun and whose results were not taken. */
  inFlight = 0;

  readonly #threads = CallThreads.shared;
  readonly #memory: MappedMemory;
  readonly #words: Uint32Array;
  readonly #files: OpenFiles;
  readonly #free: number[] = [];
  readonly #device: (DeviceCalls | null)[];
  readonly #userData: Uint32Array;
  readonly #generation: Uint32Array;
  // Calls that have ended and whose results were not taken, the newest first.
  readonly #ended: number[] = [];

  /**
   * @param capacity How many calls there may be at once.
   * @throws {SystemError} When the system has no memory for them.
   */
  constructor(capacity: number) {
    this.#memory = new MappedMemory(CALLS_AT + capacity * call.size);
    this.#words = new Uint32Array(this.#memory.buffer);
    this.#files = new OpenFiles(this.#words, FILES_AT);
    this.#words[queue.one / 4] = 1;
    this.#device = Array(capacity).fill(null);
    this.#userData = new Uint32Array(capacity);
    this.#generation = new Uint32Array(capacity);
    for (let i = capacity - 1; i >= 0; i--) {
      this.#free.push(i);
      this.#set(i, call.queue, this.#memory.address);
      this.#words[this.#word(i) + call.name / 4] = i + 1;
    }
  }

  /** Whether a call has ended. */
  get ready(): boolean {
    return this.#ended.length > 0 || Atomics.load(this.#words, queue.top / 4) !== 0;
  }

  /** The eventfd that is signalled once, when the next call ends; -1: none. */
  set signals(fd: number) {
    Atomics.store(this.#words, queue.signal / 4, fd + 1);
  }

  /** Why calls wait for a thread, in a sentence; null while none does. */
  get busy(): string | null {
    return this.#threads.busy;
  }

  /** Gives free threads to calls that wait. @returns Whether a device with calls has no thread. */
  serve(): boolean {
    return this.#threads.serve();
  }

  /** The descriptor of a place in the table of files. */
  fdAt(place: number): number {
    return this.#files.fdOf(this.#files.at(place));
  }

  /** Fills or, with -1, empties a place of the table of files. @returns 0, or `-errno`. */
  setFile(place: number, fd: number): number {
    return this.#files.set(place, fd);
  }

  /**
   * Takes a free call, to be filled. Its first argument is a file descriptor.
   *
   * @param sqe The SQE that it carries out: its user data, and its I/O priority.
   */
  take({ userData, generation, ioprio }: Sqe): number {
    const i = this.#free.pop();
    if (i === undefined) throw new DmioFault("no system call is left, though there is room for one");
    this.#words[this.#word(i) + call.ioprio / 4] = ioprio;
    this.#userData[i] = userData;
    this.#generation[i] = generation;
    return i;
  }

  /** Sets the number of a call. */
  setNumber(i: number, number: number): void {
    this.#set(i, call.number, number);
  }

  /** Sets an argument of a call, 0 to 5, to a non-negative number below 2^53. */
  setArgument(i: number, argument: number, value: number): void {
    this.#set(i, call.arguments + argument * 8, value);
  }

  /** Sets an argument of a call to a 64-bit number, by its halves. */
  setHalves(i: number, argument: number, low: number, high: number): void {
    const at = this.#word(i) + (call.arguments + argument * 8) / 4;
    this.#words[at] = low;
    this.#words[at + 1] = high;
  }

  /** Writes two 64-bit numbers to a call's own memory. @returns Their address. */
  setScratch(i: number, first: number, second: number): number {
    this.#set(i, call.scratch, first);
    this.#set(i, call.scratch + 8, second);
    return this.#addressOf(i) + call.scratch;
  }

  /**
   * Names the file of a call.
   *
   * @param i The call.
   * @param file Its place in the table with `IOSQE_FIXED_FILE`, else its descriptor.
   * @param flags `IOSQE_*` flags.
   * @returns 0, or `-errno`: the system has no file descriptor for a call that brings its own.
   */
  use(i: number, file: number, flags: number): number {
    if ((flags & IOSQE_FIXED_FILE) !== 0) {
      this.#useFile(i, file);
      return 0;
    }
    const own = this.#ownFile(i);
    const made = this.#files.make(own, file);
    if (made === 0) this.#useOpen(i, own, file);
    return made;
  }

  /** Begins a call without a file, and drops its result. Does nothing while 256 such calls have not ended. */
  detach(number: number, argument: number): void {
    for (let i = this.next(); i >= 0; i = this.next()) this.#end(i);
    const i = this.#free.pop();
    if (i === undefined) return;
    this.#files.makeNone(this.#ownFile(i));
    this.#useOpen(i, this.#ownFile(i), -1);
    this.setNumber(i, number);
    this.setArgument(i, 0, argument);
    this.begin(i);
  }

  /** Has a thread make a call. */
  begin(i: number): void {
    this.inFlight++;
    this.#give(i);
  }

  /** Makes calls on this thread, before it returns. */
  run(calls: readonly number[]): void {
    this.inFlight += calls.length;
    // A call on this thread takes no share of its device's threads.
    for (const i of calls) this.#device[i] = null;
    this.#threads.run(calls.map((i) => this.#addressOf(i)));
  }

  /** Has a thread make a call again that has ended and whose result was not taken. Its file is in the table. */
  beginAgain(i: number, place: number): void {
    this.#useFile(i, place);
    this.#give(i);
  }

  #useFile(i: number, place: number): void {
    this.#files.hold(this.#files.at(place));
    this.#useOpen(i, this.#files.at(place), this.#files.madeFrom(place));
  }

  #useOpen(i: number, file: number, fd: number): void {
    this.#set(i, call.file, this.#memory.address + file);
    this.setArgument(i, 0, this.#files.fdOf(file));
    this.#device[i] = this.#threads.device(fd);
  }

  #give(i: number): void {
    const device = this.#device[i]!;
    device.add(this.#addressOf(i));
    this.#threads.feed(device);
  }

  /** Ends a call that was not begun, with a result. */
  refuse(i: number, result: number): void {
    this.inFlight++;
    this.#words[this.#word(i) + call.result / 4] = result;
    this.#ended.unshift(i);
  }

  /** Copies out the results of all calls that have ended, from entry `at` on. @returns How many. */
  reap(completions: Completions, at: number): number {
    let count = 0;
    for (let i = this.next(); i >= 0; i = this.next()) this.release(i, completions, at + count++);
    return count;
  }

  /** The next call that has ended, in their order; -1: none. */
  next(): number {
    if (this.#ended.length === 0) {
      let name = Atomics.exchange(this.#words, queue.top / 4, 0);
      while (name !== 0) {
        this.#ended.push(name - 1);
        name = this.#words[this.#word(name - 1) + call.next / 4]!;
      }
    }
    return this.#ended.pop() ?? -1;
  }

  /** As `release`, for a call that was not begun, as asynchronous I/O carried it out. */
  finish(i: number, outcome: number, { userData, generation, result }: Completions, at: number): void {
    userData[at] = this.#userData[i]!;
    generation[at] = this.#generation[i]!;
    result[at] = outcome;
    this.#free.push(i);
  }

  /** What the kernel returned for a call that has ended. */
  resultOf(i: number): number {
    return this.#words[this.#word(i) + call.result / 4]! | 0;
  }

  /** Copies out the result of a call that has ended, to entry `at`, and frees the call. */
  release(i: number, { userData, generation, result }: Completions, at: number): void {
    userData[at] = this.#userData[i]!;
    generation[at] = this.#generation[i]!;
    result[at] = this.resultOf(i);
    this.#end(i);
  }

  /** Frees, before it returns, the memory, unless a thread is in a call, and all files but those of such calls. */
  close(): void {
    const { address, bytes } = this.#memory;
    const taken = this.#threads.takeBack((it) => it >= address && it < address + bytes);
    for (const it of taken) this.#files.letGo(this.#fileOf((it - address - CALLS_AT) / call.size));
    this.inFlight -= taken.length;
    this.#files.clear();
    this.signals = -1;
    // A thread that saw the signal set may be about to write to the eventfd.
    while (Atomics.load(this.#words, queue.adding / 4) > 0) libc().sched_yield();
    for (let i = this.next(); i >= 0; i = this.next()) this.#end(i);
    if (this.inFlight === 0) this.#memory[Symbol.dispose]();
  }

  #end(i: number): void {
    const device = this.#device[i]!;
    this.#device[i] = null;
    this.#free.push(i);
    this.inFlight--;
    if (device !== null) this.#threads.ended(device);
  }

  // The file that a call uses, by its offset.
  #fileOf(i: number): number {
    const at = this.#word(i) + call.file / 4;
    return this.#words[at]! + this.#words[at + 1]! * 2 ** 32 - this.#memory.address;
  }

  #ownFile(i: number): number {
    return CALLS_AT + i * call.size + call.own_file;
  }

  #set(i: number, field: number, value: number): void {
    const at = this.#word(i) + field / 4;
    this.#words[at] = value >>> 0;
    this.#words[at + 1] = value / 2 ** 32;
  }

  #word(i: number): number {
    return CALLS_AT / 4 + i * CALL_WORDS;
  }

  #addressOf(i: number): number {
    return this.#memory.address + CALLS_AT + i * call.size;
  }
}

let detached: ThreadCalls | undefined;

/**
 * Has a thread make a system call, and drops its result.
 *
 * @param number The call, which takes no file descriptor.
 * @param argument Its first argument, below 2^53.
 */
export function detach(number: number, argument: number): void {
  detached ??= new ThreadCalls(MOST_DETACHED);
  detached.detach(number, argument);
}
