/**
 * What is still undone when the process ends in the middle: `Deno.exit` in a scope, or a signal.
 *
 * @module
 */

const steps = new Set<() => void>();

function runAll(): void {
  // The newest first: what was built last stands on what was built before it.
  for (const step of [...steps].reverse()) {
    steps.delete(step);
    try {
      step();
    } catch {
      // The other steps still have to run, and no caller is left to get the error.
    }
  }
}

globalThis.addEventListener("unload", runAll);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // A signal skips "unload" unless the process exits by itself.
  Deno.addSignalListener(signal, () => Deno.exit(signal === "SIGINT" ? 130 : 143));
}

/**
 * Registers a clean-up for the end of the process. It is synchronous, and runs only if it was not taken back.
 *
 * @param step What to do.
 * @returns Takes `step` back, once the orderly clean-up has been done.
 */
export function atExit(step: () => void): () => void {
  steps.add(step);
  return () => void steps.delete(step);
}
