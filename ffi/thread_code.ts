/**
 * The code of the threads that make system calls. It is machine code, for two reasons. JavaScript runs on one thread. A call that FFI makes on
 * another thread gives its result only to the event loop, and without `errno`. This code stores the result in mapped memory as soon as the
 * kernel returns, also while the event loop stands still.
 *
 * A thread serves a lane, which is a ring of calls. It takes one call after another until the lane is empty, then it waits for its next lane.
 * Each call names a queue. When the call has ended, the thread adds it to the list of that queue. `thread_layout.ts` has the structures.
 *
 * @module
 */

import { errno, libc } from "./libc.ts";
import { SystemError } from "./errno.ts";
import { MappedMemory } from "./memory.ts";
import { PROT_EXEC, PROT_READ } from "./uapi.ts";

// Each line has the bytes of an instruction and its source. tests/package/thread_code_test.ts assembles the sources and compares the bytes.

/** For x86_64, in Intel's syntax. */
export const X86_64 = `
start: // the argument is a struct thread
  53                        push rbx
  55                        push rbp
  41 54                     push r12
  41 55                     push r13
  41 56                     push r14
  48 89 fb                  mov rbx, rdi
take_lane: // a thread that stays waits for a lane, on its futex
  44 8b 23                  mov r12d, [rbx]
  45 85 e4                  test r12d, r12d
  75 36                     jnz lane_taken
  83 7b 04 00               cmp dword ptr [rbx+4], 0
  74 1a                     je leave
  b8 ca 00 00 00            mov eax, 202
  48 89 df                  mov rdi, rbx
  be 80 00 00 00            mov esi, 128
  31 d2                     xor edx, edx
  4c 8d 53 10               lea r10, [rbx+16]
  0f 05                     syscall
  83 f8 92                  cmp eax, -110
  75 d8                     jne take_lane
leave: // it ends, unless it got a lane meanwhile
  31 c0                     xor eax, eax
  83 c9 ff                  or ecx, -1
  f0 0f b1 0b               lock cmpxchg [rbx], ecx
  75 cd                     jne take_lane
  41 5e                     pop r14
  41 5d                     pop r13
  41 5c                     pop r12
  5d                        pop rbp
  5b                        pop rbx
  31 c0                     xor eax, eax
  c3                        ret
lane_taken:
  48 8b 6b 08               mov rbp, [rbx+8]
  4c 01 e5                  add rbp, r12
next_call: // takes the next call of its lane, and the I/O priority that the call asks for
  8b 45 00                  mov eax, [rbp]
  3b 45 40                  cmp eax, [rbp+64]
  0f 84 ca 00 00 00         je lane_empty
  89 c1                     mov ecx, eax
  83 e1 3f                  and ecx, 63
  4c 8b ac cd 80 00 00 00   mov r13, [rbp+128+rcx*8]
  8d 48 01                  lea ecx, [rax+1]
  f0 0f b1 4d 00            lock cmpxchg [rbp], ecx
  75 dd                     jne next_call
  45 8b 75 70               mov r14d, [r13+112]
  45 85 f6                  test r14d, r14d
  74 1b                     jz make_call
  b8 fc 00 00 00            mov eax, 252
  bf 01 00 00 00            mov edi, 1
  31 f6                     xor esi, esi
  0f 05                     syscall
  44 89 f2                  mov edx, r14d
  41 89 c6                  mov r14d, eax
  b8 fb 00 00 00            mov eax, 251
  0f 05                     syscall
make_call: // makes it, stores what the kernel returned, and goes back to its own I/O priority
  49 8b 45 00               mov rax, [r13]
  49 8b 7d 08               mov rdi, [r13+8]
  49 8b 75 10               mov rsi, [r13+16]
  49 8b 55 18               mov rdx, [r13+24]
  4d 8b 55 20               mov r10, [r13+32]
  4d 8b 45 28               mov r8, [r13+40]
  4d 8b 4d 30               mov r9, [r13+48]
  0f 05                     syscall
  49 89 45 38               mov [r13+56], rax
  41 83 7d 70 00            cmp dword ptr [r13+112], 0
  74 11                     je priority_kept
  b8 fb 00 00 00            mov eax, 251
  bf 01 00 00 00            mov edi, 1
  31 f6                     xor esi, esi
  44 89 f2                  mov edx, r14d
  0f 05                     syscall
priority_kept: // lets the file go
  49 8b 4d 40               mov rcx, [r13+64]
  f0 ff 09                  lock dec dword ptr [rcx]
  75 0a                     jnz file_kept
  8b 79 04                  mov edi, [rcx+4]
  b8 03 00 00 00            mov eax, 3
  0f 05                     syscall
file_kept: // adds the call to the ended ones of its queue, and signals an eventfd if one is to be
  4d 8b 75 48               mov r14, [r13+72]
  f0 41 ff 46 08            lock inc dword ptr [r14+8]
  41 8b 4d 50               mov ecx, [r13+80]
push_record:
  41 8b 06                  mov eax, [r14]
  41 89 45 54               mov [r13+84], eax
  f0 41 0f b1 0e            lock cmpxchg [r14], ecx
  75 f2                     jne push_record
  31 c0                     xor eax, eax
  41 87 46 04               xchg [r14+4], eax
  85 c0                     test eax, eax
  74 13                     jz signalled
  8d 78 ff                  lea edi, [rax-1]
  49 8d 76 10               lea rsi, [r14+16]
  ba 08 00 00 00            mov edx, 8
  b8 01 00 00 00            mov eax, 1
  0f 05                     syscall
signalled:
  f0 41 ff 4e 08            lock dec dword ptr [r14+8]
  e9 2a ff ff ff            jmp next_call
lane_empty: // is idle, unless a call came meanwhile
  31 c0                     xor eax, eax
  87 03                     xchg [rbx], eax
  8b 45 00                  mov eax, [rbp]
  3b 45 40                  cmp eax, [rbp+64]
  0f 84 d5 fe ff ff         je take_lane
  31 c0                     xor eax, eax
  f0 44 0f b1 23            lock cmpxchg [rbx], r12d
  e9 c9 fe ff ff            jmp take_lane
`;

/** For aarch64. The kernel makes the instruction cache follow when it makes a page executable. */
export const AARCH64 = `
start: // the argument is a struct thread
  f3 53 bd a9               stp x19, x20, [sp, #-48]!
  f5 5b 01 a9               stp x21, x22, [sp, #16]
  f7 63 02 a9               stp x23, x24, [sp, #32]
  f3 03 00 aa               mov x19, x0
take_lane: // a thread that stays waits for a lane, on its futex
  74 fe df 88               ldar w20, [x19]
  b4 02 00 35               cbnz w20, lane_taken
  60 06 40 b9               ldr w0, [x19, #4]
  20 01 00 34               cbz w0, leave
  e0 03 13 aa               mov x0, x19
  01 10 80 d2               mov x1, #128
  02 00 80 d2               mov x2, #0
  63 42 00 91               add x3, x19, #16
  48 0c 80 d2               mov x8, #98
  01 00 00 d4               svc #0
  1f b8 01 b1               cmn x0, #110
  a1 fe ff 54               b.ne take_lane
leave: // it ends, unless it got a lane meanwhile
  01 00 80 12               mov w1, #-1
  60 fe 5f 88               ldaxr w0, [x19]
  40 fe ff 35               cbnz w0, take_lane
  61 fe 02 88               stlxr w2, w1, [x19]
  82 ff ff 35               cbnz w2, leave
  f7 63 42 a9               ldp x23, x24, [sp, #32]
  f5 5b 41 a9               ldp x21, x22, [sp, #16]
  f3 53 c3 a8               ldp x19, x20, [sp], #48
  00 00 80 d2               mov x0, #0
  c0 03 5f d6               ret
lane_taken:
  75 06 40 f9               ldr x21, [x19, #8]
  b5 02 14 8b               add x21, x21, x20
next_call: // takes the next call of its lane, and the I/O priority that the call asks for
  a1 02 01 91               add x1, x21, #64
  a0 fe df 88               ldar w0, [x21]
  22 fc df 88               ldar w2, [x1]
  1f 00 02 6b               cmp w0, w2
  40 09 00 54               b.eq lane_empty
  03 14 40 92               and x3, x0, #63
  a4 02 02 91               add x4, x21, #128
  96 78 63 f8               ldr x22, [x4, x3, lsl #3]
  03 04 00 11               add w3, w0, #1
claim:
  a4 fe 5f 88               ldaxr w4, [x21]
  9f 00 00 6b               cmp w4, w0
  a1 fe ff 54               b.ne next_call
  a3 fe 05 88               stlxr w5, w3, [x21]
  85 ff ff 35               cbnz w5, claim
  d7 72 40 b9               ldr w23, [x22, #112]
  77 01 00 34               cbz w23, make_call
  20 00 80 d2               mov x0, #1
  01 00 80 d2               mov x1, #0
  e8 03 80 d2               mov x8, #31
  01 00 00 d4               svc #0
  e2 03 17 2a               mov w2, w23
  f7 03 00 2a               mov w23, w0
  20 00 80 d2               mov x0, #1
  01 00 80 d2               mov x1, #0
  c8 03 80 d2               mov x8, #30
  01 00 00 d4               svc #0
make_call: // makes it, stores what the kernel returned, and goes back to its own I/O priority
  c8 02 40 f9               ldr x8, [x22]
  c0 86 40 a9               ldp x0, x1, [x22, #8]
  c2 8e 41 a9               ldp x2, x3, [x22, #24]
  c4 96 42 a9               ldp x4, x5, [x22, #40]
  01 00 00 d4               svc #0
  c0 1e 00 f9               str x0, [x22, #56]
  c1 72 40 b9               ldr w1, [x22, #112]
  c1 00 00 34               cbz w1, priority_kept
  20 00 80 d2               mov x0, #1
  01 00 80 d2               mov x1, #0
  e2 03 17 2a               mov w2, w23
  c8 03 80 d2               mov x8, #30
  01 00 00 d4               svc #0
priority_kept: // lets the file go
  d7 22 40 f9               ldr x23, [x22, #64]
let_file_go:
  e0 fe 5f 88               ldaxr w0, [x23]
  00 04 00 51               sub w0, w0, #1
  e0 fe 01 88               stlxr w1, w0, [x23]
  a1 ff ff 35               cbnz w1, let_file_go
  80 00 00 35               cbnz w0, file_kept
  e0 06 40 b9               ldr w0, [x23, #4]
  28 07 80 d2               mov x8, #57
  01 00 00 d4               svc #0
file_kept: // adds the call to the ended ones of its queue, and signals an eventfd if one is to be
  d7 26 40 f9               ldr x23, [x22, #72]
  f8 22 00 91               add x24, x23, #8
enter:
  00 ff 5f 88               ldaxr w0, [x24]
  00 04 00 11               add w0, w0, #1
  00 ff 01 88               stlxr w1, w0, [x24]
  a1 ff ff 35               cbnz w1, enter
  c3 52 40 b9               ldr w3, [x22, #80]
push_record:
  e0 fe df 88               ldar w0, [x23]
  c0 56 00 b9               str w0, [x22, #84]
push_again:
  e1 fe 5f 88               ldaxr w1, [x23]
  3f 00 00 6b               cmp w1, w0
  81 ff ff 54               b.ne push_record
  e3 fe 02 88               stlxr w2, w3, [x23]
  82 ff ff 35               cbnz w2, push_again
  bf 3b 03 d5               dmb ish
  e1 12 00 91               add x1, x23, #4
take_signal:
  20 fc 5f 88               ldaxr w0, [x1]
  3f fc 02 88               stlxr w2, wzr, [x1]
  c2 ff ff 35               cbnz w2, take_signal
  c0 00 00 34               cbz w0, signalled
  00 04 00 51               sub w0, w0, #1
  e1 42 00 91               add x1, x23, #16
  02 01 80 d2               mov x2, #8
  08 08 80 d2               mov x8, #64
  01 00 00 d4               svc #0
signalled:
  00 ff 5f 88               ldaxr w0, [x24]
  00 04 00 51               sub w0, w0, #1
  00 ff 01 88               stlxr w1, w0, [x24]
  a1 ff ff 35               cbnz w1, signalled
  b3 ff ff 17               b next_call
lane_empty: // is idle, unless a call came meanwhile
  60 fe 5f 88               ldaxr w0, [x19]
  7f fe 01 88               stlxr w1, wzr, [x19]
  c1 ff ff 35               cbnz w1, lane_empty
  bf 3b 03 d5               dmb ish
  a1 02 01 91               add x1, x21, #64
  a0 fe df 88               ldar w0, [x21]
  22 fc df 88               ldar w2, [x1]
  1f 00 02 6b               cmp w0, w2
  40 f2 ff 54               b.eq take_lane
back_to_lane:
  60 fe 5f 88               ldaxr w0, [x19]
  00 f2 ff 35               cbnz w0, take_lane
  74 fe 01 88               stlxr w1, w20, [x19]
  a1 ff ff 35               cbnz w1, back_to_lane
  8d ff ff 17               b take_lane
`;

/** The machine code of a listing. */
export function assembled(listing: string): Uint8Array {
  const bytes = listing.split("\n").flatMap((line) =>
    /^ {2}((?:[0-9a-f]{2} )+)/.exec(line)?.[1]?.trim().split(" ") ?? []
  );
  return Uint8Array.from(bytes, (byte) => parseInt(byte, 16));
}

let mapped: Deno.PointerObject | undefined;

/**
 * The code, mapped for good at first use: `void *thread_main(struct thread *)`.
 *
 * @throws {SystemError} When the system forbids executable memory, which V8 needs too.
 */
export function threadCode(): Deno.PointerObject {
  if (mapped !== undefined) return mapped;
  using undo = new DisposableStack();
  const bytes = assembled(Deno.build.arch === "aarch64" ? AARCH64 : X86_64);
  const memory = undo.use(new MappedMemory(bytes.length));
  new Uint8Array(memory.buffer).set(bytes);
  if (libc().mprotect(memory.pointer, BigInt(memory.bytes), PROT_READ | PROT_EXEC) !== 0) {
    throw new SystemError(
      "mprotect",
      errno(),
      "the code of a thread needs memory that is executable, as V8's own code does",
    );
  }
  undo.move();
  return mapped = memory.pointer;
}
