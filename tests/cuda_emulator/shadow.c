/*
 * Who touched which byte last. Time is counted in epochs: a barrier and the start of a cluster each begin one, over the
 * whole process, so one number says in which cluster, and between which of its barriers, something happened. What a
 * block's threads did since its last barrier is at the same time; what blocks of a cluster did, since the cluster's.
 * Threads of one warp are ordered by the warp's own epochs, which __syncwarp begins.
 */
#include "tests/cuda_emulator/internal.h"

#include <stdio.h>

static emu_cell shared_cells[EMU_MOST_CLUSTER * EMU_SHARED_BYTES];
emu_cell *const emu_shared_cells = shared_cells;
static _Alignas(128) unsigned char shared_memory[EMU_MOST_CLUSTER * EMU_SHARED_BYTES];

unsigned char *emu_shared_memory(void) {
    return shared_memory;
}

static bool ordered(const emu_thread *thread, uint32_t other_warp, uint32_t other_warp_epoch) {
    return other_warp == thread->warp && other_warp_epoch != emu.warp_epoch[thread->warp];
}

/* Whether the last write to the byte may be at the same time as this access; whose it was into *who, -1 for an earlier
 * block. */
static bool meets_write(const emu_cell *cell, const emu_thread *thread, bool atomic, bool shared, int *who) {
    if (cell->write_epoch < emu.launch_epoch || (atomic && cell->write_atomic)) return false;
    *who = -1;
    if (cell->write_epoch < emu.cluster_epoch) return !shared; /* each block has shared memory of its own */
    *who = cell->write_thread;
    const bool own = emu.threads[cell->write_thread].block == thread->block;
    return cell->write_epoch >= (own ? thread->block->since : emu.cluster_since) &&
           cell->write_thread != thread->linear &&
           !ordered(thread, cell->write_thread / EMU_LANES, cell->write_warp_epoch);
}

/* The block that read the byte last, of those of this cluster. */
static uint32_t rank_of_reader(const emu_cell *cell) {
    return cell->read_warp * EMU_LANES / emu.block_threads;
}

static bool meets_read(const emu_cell *cell, const emu_thread *thread, bool shared, int *who) {
    *who = -1;
    if (!shared && cell->read_earlier >= emu.launch_epoch) return true;
    if (!shared && cell->read_epoch >= emu.launch_epoch && cell->read_epoch < emu.cluster_epoch) return true;
    if (cell->read_beside >= emu.cluster_since) return true; /* that of one of two blocks is no own one */
    if (cell->read_epoch < emu.cluster_epoch) return false;
    if (rank_of_reader(cell) != thread->block->rank) return cell->read_epoch >= emu.cluster_since;
    if (cell->read_epoch < thread->block->since) return false;
    const uint32_t others = cell->read_warps & ~(1U << thread->warp);
    if (others) {
        *who = __builtin_ctz(others) * EMU_LANES;
        return true;
    }
    if (cell->read_warp_epoch != emu.warp_epoch[thread->warp]) return false;
    const uint32_t lanes = cell->read_lanes & ~(1U << thread->lane);
    if (lanes) *who = (int)(thread->warp * EMU_LANES) + __builtin_ctz(lanes);
    return lanes != 0;
}

static void note_read(emu_cell *cell, const emu_thread *thread) {
    const bool now = cell->read_epoch >= emu.cluster_epoch, other = rank_of_reader(cell) != thread->block->rank;
    if (!now) cell->read_earlier = cell->read_epoch;
    if (now && other) cell->read_beside = cell->read_epoch;
    if (other || cell->read_epoch < thread->block->since) cell->read_warps = 0;
    cell->read_epoch = emu.epoch;
    if (!(cell->read_warps >> thread->warp & 1) || cell->read_warp != thread->warp ||
        cell->read_warp_epoch != emu.warp_epoch[thread->warp]) {
        cell->read_warp = (uint8_t)thread->warp;
        cell->read_warp_epoch = emu.warp_epoch[thread->warp];
        cell->read_lanes = 0;
    }
    cell->read_warps |= 1U << thread->warp;
    cell->read_lanes |= 1U << thread->lane;
}

static void note_write(emu_cell *cell, const emu_thread *thread, bool atomic) {
    cell->write_epoch = emu.epoch;
    cell->write_warp_epoch = emu.warp_epoch[thread->warp];
    cell->write_thread = (uint16_t)thread->linear;
    cell->write_atomic = atomic;
    cell->copying = false;
}

static void report_race(const emu_thread *thread, bool write, bool after_write, int who, bool shared, void *code) {
    char other[32] = "another block";
    if (who >= 0 && emu.threads[who].block == thread->block)
        snprintf(other, sizeof other, "thread %u", (uint32_t)who % emu.block_threads);
    emu_report(BERT_EMULATOR_RACE, thread, code, "%s %s memory that %s %s, with no barrier between",
               write ? "writes" : "reads", shared ? "shared" : "device", other, after_write ? "wrote" : "read");
}

void emu_shadow_access(emu_cell *cells, size_t bytes, const emu_thread *thread, bool write, bool atomic, bool shared,
                       void *code, const void *address) {
    bool reported = false; /* once for an access */
    for (size_t i = 0; i < bytes; i++) {
        emu_cell *cell = &cells[i];
        int who;
        if (!reported && meets_write(cell, thread, atomic, shared, &who)) {
            report_race(thread, write, true, who, shared, code);
            reported = true;
        }
        if (!reported && write && meets_read(cell, thread, shared, &who)) {
            report_race(thread, write, false, who, shared, code);
            reported = true;
        }
        if (!reported && shared && !write && cell->write_epoch < emu.cluster_epoch) {
            emu_report(BERT_EMULATOR_UNINITIALIZED, thread, code,
                       "reads %zu bytes of shared memory that no thread of the "
                       "block wrote",
                       bytes);
            reported = true;
        }
        if (!reported && shared && !write && cell->copying) {
            emu_report(BERT_EMULATOR_UNINITIALIZED, thread, code,
                       "reads %zu bytes of shared memory that a copy in the background may still be on its way to",
                       bytes);
            reported = true;
        }
        if (write)
            note_write(cell, thread, atomic);
        else
            note_read(cell, thread);
    }
}

void emu_shadow_begin_copy(const void *shared, size_t bytes) {
    emu_cell *cells = &emu_shared_cells[(const unsigned char *)shared - emu_shared_memory()];
    for (size_t i = 0; i < bytes; i++) cells[i].copying = true;
}
