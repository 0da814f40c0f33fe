/* Running a launch: clusters of blocks (mostly of one) one after the other, their threads as fibers; barriers and
 * exchanges of lanes. */
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
        const uint32_t own = i % emu.block_threads;
        thread->linear = i;
        thread->block = &emu.blocks[i / emu.block_threads];
        thread->warp = i / EMU_LANES;
        thread->lane = i % EMU_LANES;
        thread->index = (emu_dim3){own % emu.block_size.x, own / emu.block_size.x % emu.block_size.y,
                                   own / (emu.block_size.x * emu.block_size.y)};
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
    thread->what = kind == BERT_BARRIER_CLUSTER   ? "cluster_barrier"
                   : kind == BERT_BARRIER_PARTING ? "cluster_part"
                                                  : "__syncthreads";
    thread->barrier_kind = kind;
    thread->predicate = predicate != 0;
    emu_wait(thread, EMU_AT_BARRIER);
    return thread->block->barrier_result;
}

static bool is_of_cluster(const emu_thread *thread) {
    return thread->barrier_kind == BERT_BARRIER_CLUSTER || thread->barrier_kind == BERT_BARRIER_PARTING;
}

/* Whether all of some threads are at a barrier. That it is one and the same is checked; otherwise the launch is over.
 */
static bool at_one_barrier(const emu_thread *threads, uint32_t count) {
    const emu_thread *first = &threads[0];
    for (uint32_t i = 0; i < count; i++) {
        const emu_thread *thread = &threads[i];
        if (thread->state != EMU_AT_BARRIER) return false;
        if (thread->line == first->line && thread->barrier_kind == first->barrier_kind &&
            strcmp(thread->file, first->file) == 0)
            continue;
        emu_report(BERT_EMULATOR_DIVERGENCE, thread, NULL, "waits at %s of %s:%d while thread 0 waits at %s of %s:%d",
                   thread->what, thread->file, thread->line, first->what, first->file, first->line);
        emu_abort(cudaErrorLaunchFailure);
        return false;
    }
    return true;
}

static void let_go(emu_thread *threads, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) threads[i].state = EMU_READY;
}

/* When all threads of a block are at a barrier of the block, they go on. */
static bool release_block(emu_block *block) {
    emu_thread *threads = &emu.threads[block->rank * emu.block_threads];
    if (!at_one_barrier(threads, emu.block_threads) || is_of_cluster(threads)) return false;
    int sum = 0;
    for (uint32_t i = 0; i < emu.block_threads; i++) sum += threads[i].predicate;
    block->barrier_result = threads->barrier_kind == BERT_BARRIER_OR    ? sum > 0
                            : threads->barrier_kind == BERT_BARRIER_AND ? sum == (int)emu.block_threads
                                                                        : sum;
    let_go(threads, emu.block_threads);
    block->since = ++emu.epoch;
    return true;
}

/* And those of a cluster at the cluster's. */
static bool release_cluster(void) {
    for (uint32_t i = 0; i < emu.cluster; i++) {
        const emu_thread *first = &emu.threads[i * emu.block_threads];
        if (first->state != EMU_AT_BARRIER || !is_of_cluster(first)) return false;
    }
    if (!at_one_barrier(emu.threads, emu.thread_count)) return false;
    let_go(emu.threads, emu.thread_count);
    if (emu.threads->barrier_kind == BERT_BARRIER_PARTING) return true;
    emu.cluster_since = ++emu.epoch;
    for (uint32_t i = 0; i < emu.cluster; i++) emu.blocks[i].since = emu.epoch;
    return true;
}

static bool release_barriers(void) {
    bool released = false;
    for (uint32_t i = 0; i < emu.cluster && emu.error == cudaSuccess; i++)
        released = release_block(&emu.blocks[i]) || released;
    return released || (emu.error == cudaSuccess && release_cluster());
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
                ? thread->state != EMU_AT_BARRIER && (is_of_cluster(waits) || thread->block == waits->block)
                : thread->warp == waits->warp && waits->mask >> thread->lane & 1 && !same_exchange(waits, thread))
            other = thread;
    }
    char where[128] = "has ended";
    if (other && other->state != EMU_DONE)
        snprintf(where, sizeof where, "waits at %s of %s:%d", other->what, other->file, other->line);
    emu_report(BERT_EMULATOR_DIVERGENCE, waits, NULL, "waits at %s of %s:%d for thread %u, which %s", waits->what,
               waits->file, waits->line, other ? other->linear % emu.block_threads : 0, where);
    emu_abort(cudaErrorLaunchFailure);
}

/* Block `at` of the grid, as one of those that run now. */
static void start_block(emu_block *block, uint64_t at) {
    const emu_dim3 grid = emu.grid;
    block->index = (emu_dim3){(unsigned)(at % grid.x), (unsigned)(at / grid.x % grid.y),
                              (unsigned)(at / ((uint64_t)grid.x * grid.y))};
    block->rank = (uint32_t)(block - emu.blocks);
    block->since = emu.epoch;
    block->array_count = 0;
    block->shared_used = 0;
    emu_shared_array(block, NULL, emu.dynamic_bytes, 16);
}

static void run_cluster(uint64_t first) {
    static uint16_t turns[EMU_MOST_THREADS];
    emu.cluster_epoch = emu.cluster_since = ++emu.epoch;
    memset(emu.warp_epoch, 0, sizeof emu.warp_epoch);
    memset(emu_shared_memory(), 0xff, (size_t)emu.cluster * EMU_SHARED_BYTES); /* NaN in every float format */
    for (uint32_t i = 0; i < emu.cluster; i++) start_block(&emu.blocks[i], first + i);
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
        if (!moved && !release_barriers()) report_divergence();
    }
}

cudaError_t emu_run(const emu_kernel *kernel) {
    if (!stacks) {
        void *memory = mmap(NULL, (size_t)EMU_MOST_THREADS * EMU_STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return cudaErrorMemoryAllocation;
        stacks = memory;
        emu.threads = calloc(EMU_MOST_THREADS, sizeof *emu.threads);
        if (!emu.threads) return cudaErrorMemoryAllocation;
    }
    const emu_dim3 grid = kernel->grid;
    emu.name = kernel->name;
    emu.grid = grid;
    emu.block_size = kernel->block;
    emu.cluster = kernel->cluster;
    emu.block_threads = kernel->block.x * kernel->block.y * kernel->block.z;
    emu.thread_count = emu.block_threads * emu.cluster;
    emu.run = kernel->run;
    emu.closure = kernel->closure;
    emu.closure_bytes = kernel->closure_bytes;
    emu.dynamic_bytes = kernel->shared;
    emu.error = cudaSuccess;
    emu.current = NULL;
    emu.launch_epoch = ++emu.epoch;
    for (uint64_t i = 0; i < (uint64_t)grid.x * grid.y * grid.z && emu.error == cudaSuccess; i += emu.cluster)
        run_cluster(i);
    emu.current = NULL;
    emu.epoch++;
    return emu.error;
}

unsigned bert_emulator_last_cluster(void) {
    return emu.cluster;
}

/* ---- Built-in variables --------------------------------------------------------------------------------------------
 */

uint3 bert_emulator_thread_index(void) {
    const emu_dim3 at = emu.current->index;
    return (uint3){at.x, at.y, at.z};
}
uint3 bert_emulator_block_index(void) {
    const emu_dim3 at = emu.current->block->index;
    return (uint3){at.x, at.y, at.z};
}
uint3 bert_emulator_block_size(void) {
    return (uint3){emu.block_size.x, emu.block_size.y, emu.block_size.z};
}
uint3 bert_emulator_grid_size(void) {
    return (uint3){emu.grid.x, emu.grid.y, emu.grid.z};
}
unsigned bert_emulator_cluster_rank(void) {
    return emu.current->block->rank;
}
