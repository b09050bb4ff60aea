/**
 * Tests of what not every machine has.
 *
 * @module
 */

/**
 * Registers a test. Where the machine lacks what it needs, it counts as ignored, and the reason is printed.
 *
 * @param lack What the machine lacks, in words for a person; null when it lacks nothing.
 * @param name The test's name.
 * @param fn The test.
 */
export function testUnless(lack: string | null, name: string, fn: () => Promise<void>): void {
  if (lack !== null) console.log(`ignored: ${name}: ${lack}`);
  Deno.test({ name, ignore: lack !== null, fn });
}
