/**
 * Values in messages.
 *
 * @module
 */

/**
 * A short text of any value, for messages.
 *
 * @param value Any value.
 * @returns What it is, on one line.
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
