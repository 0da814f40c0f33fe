/*
 * Every load and store of a kernel: where it may go. The compiler calls the functions at the end for each memory access
 * of the files that it compiles with -fsanitize=thread; libtsan is not linked, these take its place.
 */
#include "tests/cuda_emulator/device_interface.h"
#include "tests/cuda_emulator/internal.h"

#include <stdio.h>
#include <string.h>

static size_t prefetched;

/* The program, or the plug-in that the emulator is part of, as the linker lays it out. */
extern const char __ehdr_start[] __attribute__((visibility("hidden"))), _end[] __attribute__((visibility("hidden")));

static bool within(const void *address, size_t bytes, const void *start, size_t size) {
    const uintptr_t at = (uintptr_t)address, from = (uintptr_t)start;
    return at >= from && bytes <= size && at - from <= size - bytes;
}

static bool out_of_bounds(const emu_thread *thread, const void *address, size_t bytes, bool write, void *code) {
    const char *does = write ? "writes" : "reads";
    const unsigned char *shared = emu_shared_memory();
    const emu_buffer *nearest = NULL;
    emu_find_buffer(address, &nearest);
    if (within(address, 1, shared, (size_t)EMU_MOST_CLUSTER * EMU_SHARED_BYTES)) {
        const emu_array *arrays = thread->block->arrays, *array = arrays;
        for (int i = 0; i < thread->block->array_count; i++)
            if (arrays[i].bytes && arrays[i].data <= (const unsigned char *)address) array = &arrays[i];
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, thread, code,
                   "%s %zu bytes at offset %td of a shared array of %zu bytes", does, bytes,
                   (const unsigned char *)address - array->data, array->bytes);
    } else if (nearest) {
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, thread, code,
                   "%s %zu bytes at offset %td of device memory of %zu bytes", does, bytes,
                   (const unsigned char *)address - nearest->data, nearest->bytes);
    } else {
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, thread, code, "%s %zu bytes at %p, which is no device memory", does,
                   bytes, address);
    }
    emu_abort(cudaErrorIllegalAddress);
    return false;
}

void bert_emulator_begin_kernel(void) {
    emu.current->begun = true;
}

void emu_check_begun(const emu_thread *thread, void *code) {
    if (thread->begun) return;
    emu_report(BERT_EMULATOR_TOO_EARLY, thread, code,
               "touches device memory before the kernel before this one has ended");
}

/* An access to an array of a block's shared memory: the thread's own, or one of its cluster. */
static bool access_shared(const emu_thread *thread, const emu_block *block, const void *address, size_t bytes,
                          bool write, bool atomic, void *code) {
    for (int i = 0; i < block->array_count; i++) {
        const emu_array *array = &block->arrays[i];
        if (!within(address, bytes, array->data, array->bytes)) continue;
        emu_shadow_access(&emu_shared_cells[(const unsigned char *)address - emu_shared_memory()], bytes, thread, write,
                          atomic, true, code, address);
        return true;
    }
    return false;
}

bool emu_access(const emu_thread *thread, const void *address, size_t bytes, bool write, bool atomic, void *code) {
    if (within(address, bytes, thread->stack, EMU_STACK_BYTES)) return true;
    if (access_shared(thread, thread->block, address, bytes, write, atomic, code)) return true;
    const emu_buffer *buffer = emu_find_buffer(address, NULL);
    if (buffer && within(address, bytes, buffer->data, buffer->bytes)) {
        emu_check_begun(thread, code);
        emu_cell *cells = emu_heap_cells(address);
        if (cells) emu_shadow_access(cells, bytes, thread, write, atomic, false, code, address);
        return true;
    }
    if (!write && within(address, bytes, emu.closure, emu.closure_bytes)) return true;
    if (!write && within(address, bytes, __ehdr_start, (size_t)(_end - __ehdr_start))) return true;
    return out_of_bounds(thread, address, bytes, write, code);
}

static void look(const void *address, size_t bytes, bool write, bool aligned, void *code) {
    emu_thread *thread = emu.current;
    if (!thread || emu.error != cudaSuccess) return;
    if (within(address, bytes, thread->stack, EMU_STACK_BYTES)) return; /* of the CPU, which aligns as it likes */
    if (aligned && (uintptr_t)address % bytes) {
        emu_report(BERT_EMULATOR_MISALIGNED, thread, code, "%s %zu bytes at an address that they do not divide: %p",
                   write ? "writes" : "reads", bytes, address);
        emu_abort(cudaErrorMisalignedAddress);
        return;
    }
    emu_access(thread, address, bytes, write, false, code);
}

void bert_emulator_touch(const void *address, size_t bytes, int write, int atomic, void *code) {
    emu_thread *thread = emu.current;
    if (thread && emu.error == cudaSuccess) emu_access(thread, address, bytes, write != 0, atomic != 0, code);
}

void bert_emulator_prefetch(const void *address, size_t bytes) {
    void *code = __builtin_return_address(0);
    const emu_buffer *buffer = emu_find_buffer(address, NULL);
    prefetched += bytes;
    if (!buffer || !within(address, 1, buffer->data, buffer->bytes))
        out_of_bounds(emu.current, address, 1, false, code);
}

size_t bert_emulator_prefetched(void) {
    const size_t bytes = prefetched;
    prefetched = 0;
    return bytes;
}

/* ---- Shared arrays -------------------------------------------------------------------------------------------------
 */

static unsigned char *own_shared(const emu_block *block) {
    return emu_shared_memory() + (size_t)block->rank * EMU_SHARED_BYTES;
}

/* Of all blocks of the cluster, so that it lies in the same place in each. */
void *bert_emulator_shared(const void *tag, size_t bytes, size_t alignment) {
    for (uint32_t i = 0; i < emu.cluster; i++) emu_shared_array(&emu.blocks[i], tag, bytes, alignment);
    return emu_shared_array(emu.current->block, tag, bytes, alignment);
}

void *emu_shared_array(emu_block *block, const void *tag, size_t bytes, size_t alignment) {
    for (int i = 0; i < block->array_count; i++)
        if (block->arrays[i].tag == tag) return block->arrays[i].data;
    /* A gap after each array, so that what runs over is not taken for the next. */
    if (alignment < 16) alignment = 16;
    const size_t start = (block->shared_used + alignment - 1) / alignment * alignment;
    size_t used = 0;
    for (int i = 0; i < block->array_count; i++) used += block->arrays[i].bytes;
    const size_t most = emu.dynamic_bytes > EMU_SHARED_PER_BLOCK ? EMU_SHARED_OPTIN : EMU_SHARED_PER_BLOCK;
    if (used + bytes > most || block->array_count == EMU_MOST_SHARED) {
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, emu.current, NULL,
                   "shared arrays of %zu bytes are more than the %zu of a block", used + bytes, most);
        emu_abort(cudaErrorLaunchOutOfResources);
        return NULL;
    }
    emu_array *array = &block->arrays[block->array_count++];
    *array = (emu_array){.tag = tag, .data = own_shared(block) + start, .bytes = bytes};
    block->shared_used = start + bytes + 256;
    return array->data;
}

static bool has_ended(const emu_block *block) {
    const emu_thread *threads = &emu.threads[block->rank * emu.block_threads];
    for (uint32_t i = 0; i < emu.block_threads; i++)
        if (threads[i].state != EMU_DONE) return false;
    return true;
}

void bert_emulator_cluster_load(void *out, const void *shared, unsigned rank, size_t bytes) {
    emu_thread *thread = emu.current;
    void *code = __builtin_return_address(0);
    if (rank >= emu.cluster) {
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, thread, code, "reads shared memory of block %u of a cluster of %u",
                   rank, emu.cluster);
        emu_abort(cudaErrorIllegalAddress);
        return;
    }
    const emu_block *block = &emu.blocks[rank];
    const unsigned char *there = own_shared(block) + ((const unsigned char *)shared - own_shared(thread->block));
    if (has_ended(block))
        emu_report(BERT_EMULATOR_RACE, thread, code, "reads shared memory of block %u of its cluster, which has ended",
                   rank);
    if ((uintptr_t)there % bytes) {
        emu_report(BERT_EMULATOR_MISALIGNED, thread, code, "reads %zu bytes at an address that they do not divide",
                   bytes);
        emu_abort(cudaErrorMisalignedAddress);
        return;
    }
    if (!access_shared(thread, block, there, bytes, false, false, code)) {
        out_of_bounds(thread, there, bytes, false, code);
        return;
    }
    memcpy(out, there, bytes);
}

/* ---- What the compiler calls ---------------------------------------------------------------------------------------
 */

#define PLACE __builtin_return_address(0)
#define SIZED(bytes)                                                                                                   \
    void __tsan_read##bytes(void *address);                                                                            \
    void __tsan_write##bytes(void *address);                                                                           \
    void __tsan_unaligned_read##bytes(void *address);                                                                  \
    void __tsan_unaligned_write##bytes(void *address);                                                                 \
    void __tsan_volatile_read##bytes(void *address);                                                                   \
    void __tsan_volatile_write##bytes(void *address);                                                                  \
    void __tsan_read##bytes(void *address) {                                                                           \
        look(address, bytes, false, true, PLACE);                                                                      \
    }                                                                                                                  \
    void __tsan_write##bytes(void *address) {                                                                          \
        look(address, bytes, true, true, PLACE);                                                                       \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(void *address) {                                                                 \
        look(address, bytes, false, false, PLACE);                                                                     \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(void *address) {                                                                \
        look(address, bytes, true, false, PLACE);                                                                      \
    }                                                                                                                  \
    void __tsan_volatile_read##bytes(void *address) {                                                                  \
        look(address, bytes, false, true, PLACE);                                                                      \
    }                                                                                                                  \
    void __tsan_volatile_write##bytes(void *address) {                                                                 \
        look(address, bytes, true, true, PLACE);                                                                       \
    }
SIZED(1)
SIZED(2)
SIZED(4)
SIZED(8)
SIZED(16)

void __tsan_read_range(void *address, size_t bytes);
void __tsan_write_range(void *address, size_t bytes);
void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);
void __tsan_read_range(void *address, size_t bytes) {
    if (bytes) look(address, bytes, false, false, PLACE);
}
void __tsan_write_range(void *address, size_t bytes) {
    if (bytes) look(address, bytes, true, false, PLACE);
}
void __tsan_init(void) {}
void __tsan_func_entry(void *caller) {}
void __tsan_func_exit(void) {}
