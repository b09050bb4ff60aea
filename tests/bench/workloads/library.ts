/** The library as the programs here use it. */
export type Library = typeof import("../../../mod.ts");

/** Part of a program's work: which checkout's library does it. */
export interface Loads {
  /** URL of the checkout's mod.ts. Nothing of it is imported before the program runs, so that two can be compared. */
  readonly library: string;
}

/** Imports the library that the work names. */
export function load({ library }: Loads): Promise<Library> {
  return import(library);
}
