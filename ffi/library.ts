/**
 * Opens shared libraries by the first name that loads, and says why when none does.
 *
 * @module
 */

/** The part of `Deno.build` that decides whether the C layouts hold. */
export interface Platform {
  /** `Deno.build.os`. */
  readonly os: string;
  /** `Deno.build.arch`. */
  readonly arch: string;
}

/**
 * Checks that this is 64-bit Linux on a little-endian machine: the C layouts are of that, and io_uring is Linux's.
 *
 * @param platform The machine; this one when left out.
 * @throws {Error} On any other system.
 */
export function assertPlatform(platform: Platform = Deno.build): void {
  if (platform.os !== "linux") {
    throw new Error(`dmio needs Linux (io_uring); this is ${platform.os}`);
  }
  if (platform.arch !== "x86_64" && platform.arch !== "aarch64") {
    throw new Error(`dmio needs a 64-bit system, x86_64 or aarch64; this is ${platform.arch}`);
  }
}

/** Whether the program may call C (`--allow-ffi`) without a question to its user. */
export function mayCallC(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

/**
 * Opens a shared library.
 *
 * @param names File names or paths, tried in order.
 * @param symbols The functions to look up in it.
 * @param advice Added to the error when none loads.
 * @returns The library's functions.
 * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
 * @throws {Error} When no name loads: each name, why it failed, and the advice.
 */
export function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  names: readonly string[],
  symbols: S,
  advice: string,
): Deno.DynamicLibrary<S>["symbols"] {
  const reasons: string[] = [];
  for (const name of names) {
    try {
      return Deno.dlopen(name, symbols).symbols;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      reasons.push(`  ${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  throw new Error(`none of these libraries could be opened:\n${reasons.join("\n")}\n${advice}`);
}
