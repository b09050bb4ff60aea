/**
 * Where a typed array really lies. A subclass, or a property of its own, may say anything; these ask the engine itself.
 *
 * @module
 */

const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const getter = (name: string) => Object.getOwnPropertyDescriptor(typedArray, name)!.get!;
const buffer = getter("buffer");
const byteOffset = getter("byteOffset");
const byteLength = getter("byteLength");

// Three functions and not one made three times: V8 can put the getter itself in place of each.

/** Its buffer. */
export const bufferOf = (view: Uint8Array): ArrayBufferLike => buffer.call(view);
/** Where in its buffer it begins, in bytes. */
export const byteOffsetOf = (view: Uint8Array): number => byteOffset.call(view);
/** Its length in bytes. */
export const byteLengthOf = (view: Uint8Array): number => byteLength.call(view);
