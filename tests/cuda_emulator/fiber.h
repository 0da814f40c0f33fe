/* Flows of control with stacks of their own, switched by hand. */
#ifndef BERT_TESTS_CUDA_EMULATOR_FIBER_H
#define BERT_TESTS_CUDA_EMULATOR_FIBER_H

#include <stddef.h>

#if defined(__x86_64__)
typedef struct emu_fiber {
    void *stack_pointer;
} emu_fiber;
#else
#include <ucontext.h>
typedef struct emu_fiber {
    ucontext_t context;
} emu_fiber;
#endif

/** Makes a fiber that calls `entry` on the stack when it is switched to. `entry` never returns. */
void emu_fiber_make(emu_fiber *fiber, void *stack, size_t bytes, void (*entry)(void));
/** Leaves `from`, to come back when someone switches to it, and goes on with `to`. */
void emu_fiber_switch(emu_fiber *from, emu_fiber *to);

#endif
