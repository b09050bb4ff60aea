/**
 * The end of an isolate whose process goes on, as at a restart of `deno run --watch`: what it holds outside of JavaScript is freed then.
 *
 * A Worker that ends, by `terminate()` or `self.close()`, fires no `unload`.
 *
 * @module
 */

const held = new Set<() => void>();

/**
 * Has something freed when the isolate ends. There is one listener for all, and none while nothing is held.
 *
 * @param free Frees it, before it returns.
 * @returns Takes that back: it was freed otherwise.
 */
export function whenUnloaded(free: () => void): () => void {
  if (held.size === 0) addEventListener("unload", freeAll);
  held.add(free);
  return () => {
    if (held.delete(free) && held.size === 0) removeEventListener("unload", freeAll);
  };
}

function freeAll(): void {
  for (const free of held) {
    try {
      free();
    } catch (error) {
      // The others are freed all the same.
      reportError(error);
    }
  }
}
