/**
 * Values in messages.
 *
 * @module
 */

/**
 * A short text of any value, for messages.
 *
 * @param value Any value.
 * @returns A description on one line.
 */
export function describe(value: unknown): string {
  switch (typeof value) {
    case "object":
      return value === null ? "null" : Object.prototype.toString.call(value).slice(8, -1);
    case "function":
      return "a function";
    case "string":
      return JSON.stringify(value.slice(0, 40));
    case "bigint":
      return `${value}n`;
    case "symbol":
      return "a symbol";
    default:
      return `${value}`;
  }
}

/**
 * Checks an integer that a caller gave.
 *
 * @param name What the caller calls it.
 * @param value The value.
 * @param least The least that it may be.
 * @param most The most that it may be.
 * @param bound What `most` is, for the message.
 * @throws {RangeError} When it is no integer within the bounds; a message that names all of them.
 */
export function checkInteger(name: string, value: number, least: number, most: number, bound = ""): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new RangeError(integerMessage(name, value, least, most, bound));
}

/** The message for a value that is no integer within its bounds. */
export function integerMessage(
  name: string,
  value: unknown,
  least: number,
  most: number,
  bound = "",
): string {
  const why = bound === "" ? "" : `, ${bound}`;
  return `${name} is ${describe(value)}; it must be an integer from ${least} to ${most}${why}`;
}

/**
 * Checks that a caller gave an object of named parts.
 *
 * @param name What the caller calls it.
 * @param value The value.
 * @param parts The names of its parts, for the message: `"{ op, sector }"`.
 * @throws {TypeError} When the value is no object.
 */
export function checkObject(name: string, value: unknown, parts: string): void {
  if (typeof value === "object" && value !== null) return;
  throw new TypeError(`${name} is ${describe(value)}; it must be ${parts}`);
}

/**
 * Checks that a caller gave a boolean.
 *
 * @param name What the caller calls it.
 * @param value The value.
 * @throws {TypeError} When it is anything else.
 */
export function checkBoolean(name: string, value: unknown): void {
  if (typeof value !== "boolean") throw new TypeError(`${name} is ${describe(value)}; it must be a boolean`);
}
