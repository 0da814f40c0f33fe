/* Running a launch: blocks one after the other, the threads of a block as fibers; barriers and exchanges of lanes. */
#include "tests/cuda_emulator/device_interface.h"
#include "tests/cuda_emulator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

emu_launch emu = {.epoch = 1};

static unsigned char *stacks;
static uint32_t turn_order;

void bert_emulator_order(uint32_t order) {
    turn_order = order;
}

static unsigned char *stack_of(uint32_t thread) {
    return stacks + (size_t)thread * EMU_STACK_BYTES;
}

/* ---- Threads -------------------------------------------------------------------------------------------------------
 */

void emu_wait(emu_thread *thread, emu_state state) {
    thread->state = state;
    emu.current = NULL;
    emu_fiber_switch(&thread->fiber, &emu.host);
    emu.current = thread;
}

void emu_abort(cudaError_t error) {
    if (emu.error == cudaSuccess) emu.error = error;
    emu_thread *thread = emu.current;
    if (!thread) return;
    emu_wait(thread, EMU_DONE); /* never comes back */
}

static void thread_entry(void) {
    emu.run(emu.closure);
    emu_thread *thread = emu.current;
    if (!thread->begun) {
        emu_report(BERT_EMULATOR_TOO_EARLY, thread, NULL,
                   "ends before the kernel before this one has: the next one may not wait for that");
    }
    bert_emulator_copy_wait(0); /* a GPU finishes them too */
    emu_wait(thread, EMU_DONE);
    abort();
}

static void start_threads(void) {
    for (uint32_t i = 0; i < emu.thread_count; i++) {
        emu_thread *thread = &emu.threads[i];
        thread->linear = i;
        thread->warp = i / EMU_LANES;
        thread->lane = i % EMU_LANES;
        thread->index = (emu_dim3){i % emu.block_size.x, i / emu.block_size.x % emu.block_size.y,
                                   i / (emu.block_size.x * emu.block_size.y)};
        thread->stack = stack_of(i);
        thread->state = EMU_READY;
        thread->begun = false;
        thread->copy_count = thread->copy_group = 0;
        emu_fiber_make(&thread->fiber, stack_of(i), EMU_STACK_BYTES, thread_entry);
    }
}

/* ---- Barriers ------------------------------------------------------------------------------------------------------
 */

int bert_emulator_barrier(int kind, int predicate, const char *file, int line) {
    emu_thread *thread = emu.current;
    thread->file = file;
    thread->line = line;
    thread->what = "__syncthreads";
    thread->barrier_kind = kind;
    thread->predicate = predicate != 0;
    emu_wait(thread, EMU_AT_BARRIER);
    return emu.barrier_result;
}

/* When all threads are at a barrier they go on; that it is one and the same is checked. */
static bool release_barrier(void) {
    const emu_thread *first = &emu.threads[0];
    int sum = 0;
    for (uint32_t i = 0; i < emu.thread_count; i++) {
        const emu_thread *thread = &emu.threads[i];
        if (thread->state != EMU_AT_BARRIER) return false;
        if (thread->line != first->line || thread->barrier_kind != first->barrier_kind ||
            strcmp(thread->file, first->file) != 0) {
            emu_report(BERT_EMULATOR_DIVERGENCE, thread, NULL,
                       "waits at __syncthreads of %s:%d while thread 0 waits at that of %s:%d", thread->file,
                       thread->line, first->file, first->line);
            emu_abort(cudaErrorLaunchFailure);
            return false;
        }
        sum += thread->predicate;
    }
    emu.barrier_result = first->barrier_kind == BERT_BARRIER_OR    ? sum > 0
                         : first->barrier_kind == BERT_BARRIER_AND ? sum == (int)emu.thread_count
                                                                   : sum;
    for (uint32_t i = 0; i < emu.thread_count; i++) emu.threads[i].state = EMU_READY;
    emu.epoch++;
    return true;
}

/* ---- Exchanges between lanes ---------------------------------------------------------------------------------------
 */

static bool same_exchange(const emu_thread *a, const emu_thread *b) {
    return b->state == EMU_AT_EXCHANGE && a->line == b->line && a->mask == b->mask && a->resolve == b->resolve &&
           strcmp(a->file, b->file) == 0 && strcmp(a->what, b->what) == 0;
}

/* If every lane of the mask has come, computes what each gets and lets them go on. */
static bool complete_exchange(emu_thread *thread) {
    emu_thread *warp = &emu.threads[thread->warp * EMU_LANES];
    bert_emulator_exchange exchange = {.mask = thread->mask};
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        if (!(thread->mask >> lane & 1)) continue;
        if (thread->warp * EMU_LANES + lane >= emu.thread_count) continue; /* a short last warp */
        if (!same_exchange(thread, &warp[lane])) return false;
        exchange.in[lane] = warp[lane].in;
        exchange.out[lane] = warp[lane].out;
    }
    const bert_emulator_resolve resolve = (bert_emulator_resolve)thread->resolve;
    if (resolve)
        resolve(&exchange);
    else
        emu.warp_epoch[thread->warp]++;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        if (exchange.mask >> lane & 1 && thread->warp * EMU_LANES + lane < emu.thread_count)
            warp[lane].state = EMU_READY;
    }
    return true;
}

void bert_emulator_exchange_lanes(const char *what, uint32_t mask, void *in, void *out, bert_emulator_resolve resolve,
                                  const char *file, int line) {
    emu_thread *thread = emu.current;
    if (!(mask >> thread->lane & 1)) {
        emu_report(BERT_EMULATOR_BAD_LANE, thread, NULL, "lane %u calls %s at %s:%d with the mask %08x, which lacks it",
                   thread->lane, what, file, line, mask);
        emu_abort(cudaErrorLaunchFailure);
    }
    thread->what = what;
    thread->mask = mask;
    thread->in = in;
    thread->out = out;
    thread->resolve = (void *)(uintptr_t)resolve;
    thread->file = file;
    thread->line = line;
    thread->state = EMU_AT_EXCHANGE;
    if (complete_exchange(thread)) return;
    emu_wait(thread, EMU_AT_EXCHANGE);
}

void bert_emulator_sync_warp(uint32_t mask, const char *file, int line) {
    bert_emulator_exchange_lanes("__syncwarp", mask, NULL, NULL, NULL, file, line);
}

/* ---- Turns ---------------------------------------------------------------------------------------------------------
 */

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static void order_turns(uint16_t *turns) {
    const uint32_t count = emu.thread_count;
    for (uint32_t i = 0; i < count; i++) turns[i] = (uint16_t)(turn_order == 1 ? count - 1 - i : i);
    uint32_t state = turn_order * 2654435761U + emu.epoch;
    for (uint32_t i = count; turn_order > 1 && i > 1; i--) {
        const uint32_t j = next_random(&state) % i;
        const uint16_t kept = turns[i - 1];
        turns[i - 1] = turns[j];
        turns[j] = kept;
    }
}

/* Nothing can go on: says who waits where, and for whom. */
static void report_divergence(void) {
    const emu_thread *waits = NULL, *other = NULL;
    for (uint32_t i = 0; i < emu.thread_count; i++) {
        const emu_thread *thread = &emu.threads[i];
        if (!waits && thread->state != EMU_DONE) waits = thread;
    }
    if (!waits) return;
    for (uint32_t i = 0; i < emu.thread_count && !other; i++) {
        const emu_thread *thread = &emu.threads[i];
        if (waits->state == EMU_AT_BARRIER
                ? thread->state != EMU_AT_BARRIER
                : thread->warp == waits->warp && waits->mask >> thread->lane & 1 && !same_exchange(waits, thread))
            other = thread;
    }
    char where[128] = "has ended";
    if (other && other->state != EMU_DONE)
        snprintf(where, sizeof where, "waits at %s of %s:%d", other->what, other->file, other->line);
    emu_report(BERT_EMULATOR_DIVERGENCE, waits, NULL, "waits at %s of %s:%d for thread %u, which %s", waits->what,
               waits->file, waits->line, other ? other->linear : 0, where);
    emu_abort(cudaErrorLaunchFailure);
}

static void run_block(void) {
    static uint16_t turns[EMU_MOST_THREADS];
    emu.block_epoch = ++emu.epoch;
    memset(emu.warp_epoch, 0, sizeof emu.warp_epoch);
    emu.array_count = 0;
    emu.shared_used = 0;
    memset(emu_shared_memory(), 0xff, EMU_SHARED_BYTES); /* NaN in every float format */
    bert_emulator_shared(NULL, emu.dynamic_bytes, 16);
    start_threads();
    order_turns(turns);
    while (emu.error == cudaSuccess) {
        bool moved = false, all_done = true;
        for (uint32_t i = 0; i < emu.thread_count && emu.error == cudaSuccess; i++) {
            emu_thread *thread = &emu.threads[turns[i]];
            all_done = all_done && thread->state == EMU_DONE;
            if (thread->state != EMU_READY) continue;
            moved = true;
            emu.current = thread;
            emu_fiber_switch(&emu.host, &thread->fiber);
        }
        if (all_done || emu.error != cudaSuccess) return;
        if (!moved && !release_barrier()) report_divergence();
    }
}

cudaError_t emu_run(const char *name, emu_dim3 grid, emu_dim3 block, size_t shared, void (*run)(void *), void *closure,
                    size_t closure_bytes) {
    if (!stacks) {
        void *memory = mmap(NULL, (size_t)EMU_MOST_THREADS * EMU_STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
        stacks = memory;
        emu.threads = calloc(EMU_MOST_THREADS, sizeof *emu.threads);
        if (!emu.threads) return cudaErrorMemoryAllocation;
    }
    emu.name = name;
    emu.grid = grid;
    emu.block_size = block;
    emu.thread_count = block.x * block.y * block.z;
    emu.run = run;
    emu.closure = closure;
    emu.closure_bytes = closure_bytes;
    emu.dynamic_bytes = shared;
    emu.error = cudaSuccess;
    emu.launch_epoch = ++emu.epoch;
    for (uint64_t i = 0; i < (uint64_t)grid.x * grid.y * grid.z && emu.error == cudaSuccess; i++) {
        emu.block = (emu_dim3){(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                               (unsigned)(i / ((uint64_t)grid.x * grid.y))};
        run_block();
    }
    emu.current = NULL;
    emu.epoch++;
    return emu.error;
}

/* ---- Built-in variables --------------------------------------------------------------------------------------------
 */

uint3 bert_emulator_thread_index(void) {
    const emu_dim3 at = emu.current->index;
    return (uint3){at.x, at.y, at.z};
}
uint3 bert_emulator_block_index(void) {
    return (uint3){emu.block.x, emu.block.y, emu.block.z};
}
uint3 bert_emulator_block_size(void) {
    return (uint3){emu.block_size.x, emu.block_size.y, emu.block_size.z};
}
uint3 bert_emulator_grid_size(void) {
    return (uint3){emu.grid.x, emu.grid.y, emu.grid.z};
}
