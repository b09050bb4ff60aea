/**
 * The types of the standard library's modules that deno.json maps to `npm:deno-std`, which has none of its own:
 * without them `assert(x)` would narrow nothing and a misspelt name would be `any`.
 */

declare module "@std/assert" {
  type Newable<T> = abstract new (...args: never[]) => T;

  export class AssertionError extends Error {
    constructor(message: string, options?: ErrorOptions);
  }
  export function assert(expr: unknown, msg?: string): asserts expr;
  export function assertFalse(expr: unknown, msg?: string): asserts expr is false;
  export function assertEquals<T>(actual: T, expected: T, msg?: string): void;
  export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void;
  export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T;
  export function assertNotStrictEquals<T>(actual: T, expected: T, msg?: string): void;
  export function assertAlmostEquals(
    actual: number,
    expected: number,
    tolerance?: number,
    msg?: string,
  ): void;
  export function assertGreater<T>(actual: T, expected: T, msg?: string): void;
  export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void;
  export function assertLess<T>(actual: T, expected: T, msg?: string): void;
  export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void;
  export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T>;
  export function assertInstanceOf<T>(
    actual: unknown,
    expectedType: Newable<T>,
    msg?: string,
  ): asserts actual is T;
  export function assertNotInstanceOf<A, T>(
    actual: A,
    unexpectedType: Newable<T>,
    msg?: string,
  ): asserts actual is Exclude<A, T>;
  export function assertIsError<E extends Error = Error>(
    error: unknown,
    ErrorClass?: Newable<E>,
    msgMatches?: string | RegExp,
    msg?: string,
  ): asserts error is E;
  export function assertMatch(actual: string, expected: RegExp, msg?: string): void;
  export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void;
  export function assertStringIncludes(actual: string, expected: string, msg?: string): void;
  export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, msg?: string): void;
  export function assertObjectMatch(
    actual: Record<PropertyKey, unknown>,
    expected: Record<PropertyKey, unknown>,
    msg?: string,
  ): void;
  export function assertThrows(fn: () => unknown, msg?: string): unknown;
  export function assertThrows<E extends Error = Error>(
    fn: () => unknown,
    ErrorClass: Newable<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;
  export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
  export function assertRejects<E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    ErrorClass: Newable<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
  export function equal(a: unknown, b: unknown): boolean;
  export function fail(msg?: string): never;
  export function unimplemented(msg?: string): never;
  export function unreachable(msg?: string): never;
}

declare module "@std/async/deadline" {
  export function deadline<T>(p: Promise<T>, ms: number, options?: { signal?: AbortSignal }): Promise<T>;
}

declare module "@std/async/delay" {
  export function delay(ms: number, options?: { signal?: AbortSignal; persistent?: boolean }): Promise<void>;
}

declare module "@std/async/retry" {
  export interface RetryOptions {
    multiplier?: number;
    maxTimeout?: number;
    maxAttempts?: number;
    minTimeout?: number;
    jitter?: number;
    isRetriable?: (error: unknown) => boolean;
    signal?: AbortSignal;
  }
  export class RetryError extends Error {
    constructor(cause: unknown, attempts: number);
  }
  export function retry<T>(fn: () => Promise<T> | T, options?: RetryOptions): Promise<T>;
}

declare module "@std/fmt/bytes" {
  export interface FormatOptions {
    bits?: boolean;
    binary?: boolean;
    signed?: boolean;
    locale?: boolean | string | string[];
    minimumFractionDigits?: number;
    maximumFractionDigits?: number;
  }
  export function format(num: number | bigint, options?: FormatOptions): string;
}

declare module "@std/fmt/colors" {
  type Paint = (str: string) => string;
  export const black: Paint, red: Paint, green: Paint, yellow: Paint, blue: Paint, magenta: Paint;
  export const cyan: Paint, white: Paint, gray: Paint, bold: Paint, dim: Paint, italic: Paint;
  export const underline: Paint, inverse: Paint, reset: Paint, stripAnsiCode: Paint;
  export function getColorEnabled(): boolean;
  export function setColorEnabled(value: boolean): void;
}

declare module "@std/fmt/duration" {
  export interface FormatOptions {
    style?: "narrow" | "digital" | "full";
    ignoreZero?: boolean;
  }
  export function format(ms: number, options?: FormatOptions): string;
}

declare module "@std/fmt/printf" {
  export function sprintf(format: string, ...args: unknown[]): string;
  export function printf(format: string, ...args: unknown[]): void;
}

declare module "@std/path" {
  export interface ParsedPath {
    root: string;
    dir: string;
    base: string;
    ext: string;
    name: string;
  }
  export const SEPARATOR: "/" | "\\";
  export const DELIMITER: ":" | ";";
  export function basename(path: string | URL, suffix?: string): string;
  export function common(paths: string[]): string;
  export function dirname(path: string | URL): string;
  export function extname(path: string | URL): string;
  export function format(path: Partial<ParsedPath>): string;
  export function fromFileUrl(url: string | URL): string;
  export function globToRegExp(glob: string): RegExp;
  export function isAbsolute(path: string): boolean;
  export function join(path?: string | URL, ...paths: string[]): string;
  export function normalize(path: string | URL): string;
  export function parse(path: string): ParsedPath;
  export function relative(from: string, to: string): string;
  export function resolve(...paths: string[]): string;
  export function toFileUrl(path: string): URL;
}
