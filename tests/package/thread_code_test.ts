/** The machine code of the threads, assembled again from the listing beside its bytes; and run, that of aarch64 by an emulator. */

import { assertEquals, assertGreater } from "@std/assert";
import * as code from "../../ffi/thread_code.ts";
import * as layout from "../../ffi/thread_layout.ts";
import { run, succeed } from "../support/commands.ts";
import { Scratch } from "../support/scratch.ts";

/** The tools for one architecture. */
interface Tools {
  readonly listing: string;
  readonly prologue: string;
  readonly prefix: string;
  readonly emulator: string;
  readonly write: number;
  readonly ioprioGet: number;
}

const TOOLS: Readonly<Record<string, Tools>> = {
  x86_64: {
    listing: code.X86_64,
    prologue: ".intel_syntax noprefix",
    prefix: "",
    emulator: "",
    write: 1,
    ioprioGet: 252,
  },
  aarch64: {
    listing: code.AARCH64,
    prologue: "",
    prefix: Deno.build.arch === "aarch64" ? "" : "aarch64-linux-gnu-",
    emulator: Deno.build.arch === "aarch64" ? "" : "qemu-aarch64",
    write: 64,
    ioprioGet: 31,
  },
};

/** The assembly beside the bytes of a listing. */
function assembly(listing: string): string {
  return listing.split("\n").map((line) => line.replace(/^ {2}(?:[0-9a-f]{2} )+/, "").replace(/\/\/.*/, ""))
    .join("\n");
}

/** Assembles a source text into an object file. */
async function assemble({ prefix, prologue }: Tools, folder: Scratch, text: string): Promise<string> {
  Deno.writeTextFileSync(folder.join("code.s"), `${prologue}\n.text\n${text}\n`);
  await succeed(`${prefix}as`, "-o", folder.join("code.o"), folder.join("code.s"));
  return folder.join("code.o");
}

for (const [arch, tools] of Object.entries(TOOLS)) {
  const lacks = arch === "x86_64" && Deno.build.arch !== arch;

  Deno.test({
    name: `the code of a thread for ${arch} is what its listing assembles to`,
    ignore: lacks,
    fn: async () => {
      await using folder = await Scratch.create();
      const object = await assemble(tools, folder, assembly(tools.listing));
      await succeed(`${tools.prefix}objcopy`, "-O", "binary", "-j", ".text", object, folder.join("code.bin"));
      assertGreater(code.assembled(tools.listing).length, 200);
      assertEquals(Deno.readFileSync(folder.join("code.bin")), code.assembled(tools.listing));
    },
  });

  Deno.test({
    name: `a thread of ${arch} makes the calls of its lane, and ends`,
    ignore: lacks,
    fn: async () => {
      await using folder = await Scratch.create();
      const object = await assemble(
        tools,
        folder,
        PROGRAMS[arch]! + data(tools) + bytesOf(code.assembled(tools.listing)),
      );
      await succeed(`${tools.prefix}ld`, "-o", folder.join("program"), object);
      const command = [...(tools.emulator === "" ? [] : [tools.emulator]), folder.join("program")];
      const { code: exit, stdout } = await run(command);
      assertEquals([exit, stdout], [0, "onetwo"]);
    },
  });
}

/** What a word of the data holds afterwards, or does not hold. The exit code is the number of checks that failed. */
const CHECKS: readonly { readonly at: string; readonly is: number; readonly not?: boolean }[] = [
  { at: "call1+56", is: 3 }, // write returned
  { at: "call2+56", is: 0xfffffff7 }, // -EBADF of a descriptor that is closed
  { at: "call3+56", is: 3 },
  { at: "file", is: 0 }, // the call that was its last user closed it
  { at: "call4+56", is: 0x4005 }, // the I/O priority that it asked for
  { at: "call5+56", is: 0x4005, not: true }, // the thread's own, again
  { at: "lane", is: 5 },
  { at: "queue", is: 5 }, // the call that ended last, which names those before it
  { at: "call3+84", is: 2 },
  { at: "call2+84", is: 1 },
  { at: "call1+84", is: 0 },
  { at: "queue+4", is: 0 }, // the eventfd, here a pipe that is closed, was signalled once
  { at: "queue+8", is: 0 },
  { at: "thread", is: 0xffffffff },
];

const PROGRAMS: Readonly<Record<string, string>> = {
  x86_64: `
.globl _start
_start:
  lea rax, [rip+thread]
  mov [rip+thread+8], rax
  mov rdi, rax
  call code
  xor edi, edi
${
    CHECKS.map(({ at, is, not }) =>
      `  cmp dword ptr [rip+${at}], ${is | 0}\n  ${not ? "jne" : "je"} 1f\n  inc edi\n1:`
    ).join("\n")
  }
  mov eax, 231
  syscall
`,
  aarch64: `
.globl _start
_start:
  ldr x0, =thread
  str x0, [x0, #8]
  bl code
  mov x0, #0
${
    CHECKS.map(({ at, is, not }) =>
      `  ldr x1, =${at}\n  ldr w1, [x1]\n  ldr w2, =${is >>> 0}\n  cmp w1, w2\n  cinc x0, x0, ${
        not ? "eq" : "ne"
      }`
    ).join("\n")
  }
  mov x8, #94
  svc #0
.ltorg
`,
};

/** A thread with five calls: three that write, of which the second finds its file closed by the first, and two with priorities. */
function data({ write, ioprioGet }: Tools): string {
  const { lane, call, queue, thread } = layout;
  const one = (n: number, number: number, args: string, file: string, ioprio = 0) => `
.balign 16
call${n}: .quad ${number}, ${args}, 0, 0, 0, 99
.quad ${file}, queue
.long ${n}, 99
.skip ${call.ioprio - 88}
.long ${ioprio}
.skip ${call.size - call.ioprio - 4}`;
  return `
.data
.balign 64
thread: .long lane - thread, 1
.quad 0, 0, 1000000
.skip ${thread.size - 32}
lane: .long 0
.skip ${lane.tail - 4}
.long 5
.skip ${lane.ring - lane.tail - 4}
.quad call1, call2, call3, call4, call5
.skip ${lane.size - lane.ring - 40}
queue: .long 0, 10000, 0, 0
.quad 1
.skip ${queue.size - 24}
file: .long 1, 9
stdout: .long 9, 1
one: .ascii "one"
two: .ascii "two"
${one(1, write, "1, one, 3", "file")}
${one(2, write, "9, two, 3", "stdout")}
${one(3, write, "1, two, 3", "stdout")}
${one(4, ioprioGet, "1, 0, 0", "stdout", 0x4005)}
${one(5, ioprioGet, "1, 0, 0", "stdout")}
.text
.balign 16
code:
`;
}

function bytesOf(bytes: Uint8Array): string {
  return `.byte ${bytes.join(", ")}\n`;
}
