/**
 * The clients and devices that are open in this isolate, and the places in the program that opened them: for leak reports of tests.
 *
 * @module
 */

/** A client or a device that is open. */
interface Live {
  /** Makes the lines of a report: that it is open, and what of it is in use. `where` is the place that opened it. */
  readonly describe: (where: string) => string[];
  /** Holds the stack of the call that opened it. V8 makes text of a stack only when the text is read. */
  readonly made: Error;
}

const live = new Set<Live>();

/** The folder of the library's own files. */
const LIBRARY = new URL("..", import.meta.url).href;

/**
 * Notes that a client or a device was opened. `describe`, with all that it refers to, is held until the close.
 *
 * @param describe Makes the lines of a report; `where` is the place that opened it.
 * @returns A function that notes the close.
 */
export function noteOpen(describe: (where: string) => string[]): () => void {
  const one = { describe, made: new Error() };
  live.add(one);
  return () => void live.delete(one);
}

/** The lines of a report of all that is open, in the order of the opens. */
export function whatIsOpen(): string[] {
  return [...live].flatMap(({ describe, made }) => describe(placeOf(made)));
}

// The first place of a stack that is not in the library.
function placeOf({ stack }: Error): string {
  const places = [...`${stack}`.matchAll(/^ +at (?:.*\()?(\S+?:\d+:\d+)\)?$/gm)].map(([, place]) => place!);
  return places.find((place) => !own(place)) ?? "an unknown place";
}

function own(place: string): boolean {
  return ["mod.ts", "src/", "ffi/"].some((part) => place.startsWith(LIBRARY + part));
}
