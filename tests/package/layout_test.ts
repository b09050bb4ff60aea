/** What ffi/ says of C, compared with what a C compiler says of the headers of liburing, the kernel and libc. */

import { assert, assertEquals, assertGreater } from "@std/assert";
import * as errno from "../../ffi/errno.ts";
import * as layout from "../../ffi/layout.ts";
import * as uapi from "../../ffi/uapi.ts";
import { run, succeed } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

/** Linux knows no error number above this one (`EHWPOISON`). */
const LAST_ERRNO = 133;

const LIBC_HEADERS = [
  "aio.h",
  "errno.h",
  "fcntl.h",
  "pthread.h",
  "poll.h",
  "stddef.h",
  "stdio.h",
  "unistd.h",
  "linux/capability.h",
  "linux/falloc.h",
  "linux/aio_abi.h",
  "linux/fs.h",
  "linux/futex.h",
  "linux/magic.h",
  "linux/time_types.h",
  "sys/eventfd.h",
  "sys/ioctl.h",
  "sys/mman.h",
  "sys/resource.h",
  "sys/stat.h",
  "sys/statfs.h",
  "sys/syscall.h",
  "sys/uio.h",
];
// liburing brings its own copy of the kernel's header, under the same guard: a program sees one or the other.
const LIBURING = ["liburing.h", ...LIBC_HEADERS];
const KERNEL = ["linux/io_uring.h", ...LIBC_HEADERS];

/** Every number of ffi/, by the C expression that it stands for. */
/** Names that headers of Linux before 6.12 lack. */
const NEWER = new Set(["BLOCK_URING_CMD_DISCARD"]);

function numbersOfFfi(): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const [name, value] of Object.entries(uapi)) numbers.set(name, value);
  for (const [name, fields] of Object.entries(layout)) {
    for (const [field, value] of Object.entries(fields)) {
      const expression = field === "size" ? `sizeof(struct ${name})` : `offsetof(struct ${name}, ${field})`;
      numbers.set(expression, value);
    }
  }
  for (const [name, value] of Object.entries(errno)) if (typeof value === "number") numbers.set(name, value);
  for (let number = 1; number <= LAST_ERRNO; number++) {
    const name = errno.errnoName(number);
    if (name !== `E${number}`) numbers.set(name, number);
  }
  return numbers;
}

/**
 * What a C compiler says of some expressions. One that these headers do not know is left out of the answer.
 *
 * @param headers What to include.
 * @param expressions C expressions of an integer type.
 */
async function askCompiler(
  headers: readonly string[],
  expressions: readonly string[],
): Promise<Map<string, number>> {
  await using folder = await Scratch.create();
  const prologue = [
    "#define _GNU_SOURCE",
    ...headers.map((name) => `#include <${name}>`),
    "int main(void) {",
  ];
  let asked = [...expressions];
  for (let attempt = 0; attempt < 2; attempt++) {
    const lines = asked.map((it) => `printf("%lld %s\\n", (long long)(${it}), "${it}");`);
    Deno.writeTextFileSync(folder.join("ask.c"), [...prologue, ...lines, "return 0; }", ""].join("\n"));
    const flags = ["-fmax-errors=0", "-w", "-o", folder.join("ask")];
    const { code, stderr } = await run(["gcc", ...flags, folder.join("ask.c")]);
    if (code === 0) {
      const answers = (await succeed(folder.join("ask"))).split("\n").map((line) => line.split(/ (.*)/));
      return new Map(answers.map(([value, name]) => [name ?? "", Number(value)]));
    }
    const unknown = new Set(
      [...stderr.matchAll(/ask\.c:(\d+):\d+: error/g)].map(([, line]) => Number(line) - prologue.length - 1),
    );
    assert(unknown.size > 0 && [...unknown].every((at) => at in asked), stderr);
    asked = asked.filter((_, at) => !unknown.has(at));
  }
  throw new Error("the program did not compile without what the headers do not know");
}

for (const [whose, headers] of [["liburing's", LIBURING], ["the kernel's", KERNEL]] as const) {
  Deno.test(`every size, offset and constant is that of ${whose} headers`, async () => {
    const numbers = numbersOfFfi();
    const answers = await askCompiler(headers, [...numbers.keys()]);
    assertGreater(answers.size, numbers.size / 2, "most of the names must be known");
    const known = [...numbers].filter(([name]) => answers.has(name));
    assertEquals(known, known.map(([name]) => [name, answers.get(name)]));
  });
}

Deno.test("every size, offset and constant is known to liburing's or the kernel's headers", async () => {
  const names = [...numbersOfFfi().keys()];
  const answers = await Promise.all([LIBURING, KERNEL].map((headers) => askCompiler(headers, names)));
  const unknown = names.filter((name) => !answers.some((known) => known.has(name)));
  assertEquals(unknown.filter((name) => !NEWER.has(name)), []);
});

/** A function as ffi/ declares it: the C types are those of the comments beside the FFI types. */
interface Declared {
  readonly name: string;
  readonly parameters: readonly { readonly ffi: string; readonly type: string }[];
  readonly result: string;
  readonly resultType: string;
}

function declarations(file: string): Declared[] {
  const source = Deno.readTextFileSync(new URL(`../../ffi/${file}`, import.meta.url));
  const symbols = source.slice(source.indexOf("const symbols = {"), source.indexOf("} as const satisfies"));
  const entries = symbols.matchAll(/^ {2}(\w+): \{([^}]*?)result: "(\w+)"(?:, \/\/ (\w+))?/gm);
  return [...entries].map(([, key = "", body = "", result = "", resultType = ""]) => ({
    name: /name: "(\w+)"/.exec(body)?.[1] ?? key,
    parameters: [
      ...body.slice(body.indexOf("[")).matchAll(/"(\w+)",?\s*(?:\/\/|\/\*) ([^\n:,]*?\w)\s*(?=[:,\n]|\*\/)/g),
    ]
      // "unsigned int fd" is a type and a name.
      .map(([, ffi = "", parameter = ""]) => ({ ffi, type: parameter.replace(/\w+$/, "") })),
    result,
    resultType,
  }));
}

const BYTES: Record<string, number> = { i32: 4, u32: 4, i64: 8, u64: 8, usize: 8, pointer: 8, buffer: 8 };

/** C that compiles only if the header declares the function like this, and the FFI types pass it rightly. */
function proof({ name, parameters, result, resultType }: Declared): string[] {
  const types = parameters.map(({ type }) => type);
  const call = `${name}(${types.map((type) => `(${type})0`).join(", ")})`;
  const lines = parameters.flatMap(({ ffi, type }) => [
    `_Static_assert(sizeof(${type}) == ${BYTES[ffi]}, "size of a parameter");`,
    `_Static_assert(IS_POINTER(${type}) == ${
      Number(ffi === "pointer" || ffi === "buffer")
    }, "kind of a parameter");`,
  ]);
  if (result === "void") {
    lines.push(`_Static_assert(__builtin_types_compatible_p(__typeof__(${call}), void), "result");`);
  } else {
    const size = resultType === "" ? `${BYTES[result]}` : `sizeof(${resultType})`;
    lines.push(`_Static_assert(sizeof(__typeof__(${call})) == ${size}, "size of the result");`);
    lines.push(
      `_Static_assert(IS_POINTER(__typeof__(${call})) == ${Number(result === "pointer")}, "result");`,
    );
  }
  // A second declaration compiles only if it agrees with the header's. Some have "..." there, getrlimit glibc's own enum, and pthread_create
  // a pointer to a function.
  if (!["ioctl", "open", "fcntl", "syscall", "getrlimit", "pthread_create"].includes(name)) {
    lines.push(`extern __typeof__(${call}) ${name}(${types.join(", ") || "void"});`);
  }
  return lines;
}

Deno.test("every C function has the parameters and result that ffi/ declares", async () => {
  await using folder = await Scratch.create();
  const files = ["liburing.ts", "libc.ts", "aio.ts", "pthread.ts"];
  const functions = files.flatMap(declarations);
  for (const file of files) {
    const source = Deno.readTextFileSync(new URL(`../../ffi/${file}`, import.meta.url));
    assertEquals(
      declarations(file).length,
      [...source.matchAll(/\bresult: "/g)].length,
      `functions of ${file}`,
    );
  }
  for (const { name, parameters } of functions) {
    assert(
      parameters.every(({ ffi, type }) => ffi in BYTES && type !== ""),
      `${name}: ${JSON.stringify(parameters)}`,
    );
  }
  const source = [
    "#define _GNU_SOURCE",
    ...LIBURING.map((name) => `#include <${name}>`),
    // The C library has it, and leaves its declaration to libcap.
    "#include <linux/capability.h>",
    "extern int capget(cap_user_header_t header, cap_user_data_t data);",
    "#define IS_POINTER(type) (__builtin_classify_type((type)0) == 5)",
    ...functions.flatMap(proof),
    "",
  ];
  Deno.writeTextFileSync(folder.join("proof.c"), source.join("\n"));
  const { code, stderr } = await run(["gcc", "-fsyntax-only", folder.join("proof.c")]);
  assertEquals(code, 0, stderr);
});
