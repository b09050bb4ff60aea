/**
 * What is open in this isolate and where it was made, so that a test can say what it left open.
 *
 * @module
 */

/** Something that is open. */
interface Live {
  /** Says what it is, and what of it is in use, given where it was made. */
  readonly describe: (where: string) => string[];
  /** Holds the stack of the call that made it, which V8 turns into text only when it is asked for. */
  readonly made: Error;
}

const live = new Set<Live>();

/** The library's own files, which no program made anything in. */
const LIBRARY = new URL("..", import.meta.url).href;

/**
 * Notes that something was opened. What `describe` holds is held until it is closed.
 *
 * @param describe Says what it is, given where it was made.
 * @returns Notes that it was closed.
 */
export function noteOpen(describe: (where: string) => string[]): () => void {
  const one = { describe, made: new Error() };
  live.add(one);
  return () => void live.delete(one);
}

/** Says what is open, in the order in which it was opened. */
export function whatIsOpen(): string[] {
  return [...live].flatMap(({ describe, made }) => describe(placeOf(made)));
}

// The place of the call that came from outside of the library: the first one, or what there is.
function placeOf({ stack }: Error): string {
  const places = [...`${stack}`.matchAll(/^ +at (?:.*\()?(\S+?:\d+:\d+)\)?$/gm)].map(([, place]) => place!);
  return places.find((place) => !own(place)) ?? "an unknown place";
}

function own(place: string): boolean {
  return ["mod.ts", "src/", "ffi/"].some((part) => place.startsWith(LIBRARY + part));
}
