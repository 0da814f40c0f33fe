#include "tests/cuda_emulator/fiber.h"

#include <stdint.h>

#if defined(__x86_64__)

/* swapcontext also swaps the signal mask, two system calls a switch; a switch in ten instructions keeps tests short.
 * What the System V ABI lets a call destroy needs no saving. */
void emu_switch_stacks(void **from, void *to);
__asm__(".text\n"
        ".type emu_switch_stacks, @function\n"
        "emu_switch_stacks:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size emu_switch_stacks, .-emu_switch_stacks\n"
        ".section .note.GNU-stack,\"\",@progbits\n"
        ".text\n");

void emu_fiber_make(emu_fiber *fiber, void *stack, size_t bytes, void (*entry)(void)) {
    void **top = (void **)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
    *--top = NULL; /* where entry would return to: ends a debugger's backtrace */
    *--top = (void *)(uintptr_t)entry;
    for (int i = 0; i < 6; i++) *--top = NULL;
    fiber->stack_pointer = top;
}

void emu_fiber_switch(emu_fiber *from, emu_fiber *to) {
    emu_switch_stacks(&from->stack_pointer, to->stack_pointer);
}

#else

void emu_fiber_make(emu_fiber *fiber, void *stack, size_t bytes, void (*entry)(void)) {
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = bytes;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, entry, 0);
}

void emu_fiber_switch(emu_fiber *from, emu_fiber *to) {
    swapcontext(&from->context, &to->context);
}

#endif
