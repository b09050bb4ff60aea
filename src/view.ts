/**
 * Where a typed array really lies. A subclass, or a property of its own, may say anything; these ask the engine itself.
 *
 * @module
 */

const typedArray = Object.getPrototypeOf(Uint8Array.prototype);

function getter(name: string): (view: Uint8Array) => unknown {
  const { get } = Object.getOwnPropertyDescriptor(typedArray, name)!;
  return (view) => get!.call(view);
}

/** Its buffer. */
export const bufferOf = getter("buffer") as (view: Uint8Array) => ArrayBufferLike;
/** Where in its buffer it begins, in bytes. */
export const byteOffsetOf = getter("byteOffset") as (view: Uint8Array) => number;
/** Its length in bytes. */
export const byteLengthOf = getter("byteLength") as (view: Uint8Array) => number;
