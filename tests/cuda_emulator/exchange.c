/*
 * What lanes of a warp do together: shuffles, votes, ldmatrix, mma; and copies in the background. The layouts of
 * fragments are those of the PTX ISA (mma.m16n8k16, m16n8k8, m16n8k32; ldmatrix .m8n8 .b16): lane l has the group
 * g = l / 4 and the place t = l % 4 in it.
 */
#include "tests/cuda_emulator/device_interface.h"
#include "tests/cuda_emulator/internal.h"

#include "core/base/float16.h"

#include <string.h>

static bool takes_part(const bert_emulator_exchange *exchange, int lane) {
    return lane >= 0 && lane < EMU_LANES && exchange->mask >> lane & 1 && exchange->in[lane];
}

static emu_thread *thread_of(int lane) {
    return &emu.threads[emu.current->warp * EMU_LANES + (uint32_t)lane];
}

void bert_emulator_shuffle(const bert_emulator_exchange *exchange) {
    for (int lane = 0; lane < EMU_LANES; lane++) {
        if (!takes_part(exchange, lane)) continue;
        const bert_emulator_lane_value *own = exchange->in[lane];
        const int source = own->source < 0 ? lane : own->source;
        if (!takes_part(exchange, source)) {
            const emu_thread *thread = thread_of(lane);
            emu_report(BERT_EMULATOR_BAD_LANE, thread, NULL,
                       "%s of %s:%d takes the value of lane %d, which is not in it", thread->what, thread->file,
                       thread->line, source);
            continue;
        }
        memcpy(exchange->out[lane], &((const bert_emulator_lane_value *)exchange->in[source])->bits, sizeof(uint64_t));
    }
}

void bert_emulator_vote(const bert_emulator_exchange *exchange) {
    unsigned votes = 0;
    for (int lane = 0; lane < EMU_LANES; lane++)
        if (takes_part(exchange, lane) && *(const int *)exchange->in[lane]) votes |= 1U << lane;
    for (int lane = 0; lane < EMU_LANES; lane++)
        if (takes_part(exchange, lane)) *(unsigned *)exchange->out[lane] = votes;
}

/* All 32 lanes; else the instruction is not defined. */
static bool whole_warp(const bert_emulator_exchange *exchange) {
    for (int lane = 0; lane < EMU_LANES; lane++) {
        if (takes_part(exchange, lane)) continue;
        emu_report(BERT_EMULATOR_BAD_LANE, emu.current, NULL, "%s of %s:%d lacks lane %d", emu.current->what,
                   emu.current->file, emu.current->line, lane);
        return false;
    }
    return true;
}

/* ---- ldmatrix ------------------------------------------------------------------------------------------------------
 */

/* Matrix m has its 8 rows of 8 elements of 16 bits at the addresses of lanes 8 m to 8 m + 7. Lane l gets elements
 * 2 t and 2 t + 1 of row g; transposed: rows 2 t and 2 t + 1 of column g. */
static void load_matrices(const bert_emulator_exchange *exchange, bool transposed) {
    if (!whole_warp(exchange)) return;
    const int matrices = ((const bert_emulator_row *)exchange->in[0])->matrices;
    for (int matrix = 0; matrix < matrices; matrix++) {
        uint16_t rows[8][8];
        for (int row = 0; row < 8; row++) {
            const bert_emulator_row *in = exchange->in[8 * matrix + row];
            const emu_thread *thread = thread_of(8 * matrix + row);
            if ((uintptr_t)in->address % 16) {
                emu_report(BERT_EMULATOR_MISALIGNED, thread, NULL,
                           "ldmatrix of %s:%d takes a row at %p, not a multiple of 16", thread->file, thread->line,
                           in->address);
                emu_abort(cudaErrorMisalignedAddress);
                return;
            }
            if (!emu_access(thread, in->address, 16, false, false, NULL)) return;
            memcpy(rows[row], in->address, 16);
        }
        for (int lane = 0; lane < EMU_LANES; lane++) {
            const int g = lane / 4, t = lane % 4;
            const uint32_t low = transposed ? rows[2 * t][g] : rows[g][2 * t];
            const uint32_t high = transposed ? rows[2 * t + 1][g] : rows[g][2 * t + 1];
            ((uint32_t *)exchange->out[lane])[matrix] = low | high << 16;
        }
    }
}

void bert_emulator_ldmatrix(const bert_emulator_exchange *exchange) {
    load_matrices(exchange, false);
}

void bert_emulator_ldmatrix_trans(const bert_emulator_exchange *exchange) {
    load_matrices(exchange, true);
}

/* ---- mma -----------------------------------------------------------------------------------------------------------
 */

static float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t as_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

typedef float (*element_fn)(uint16_t bits);

/* A[16][16]: register r of lane (g, t) holds row g + 8 (r & 1), columns 2 t + 8 (r >> 1) and the next. B[16][8]:
 * register r holds column g, rows 2 t + 8 r and the next. C and D [16][8]: register r holds row g + 8 (r >> 1), column
 * 2 t + (r & 1). Products are exact; the sum over k is kept in double and rounded once, which is at least as good as
 * what a tensor core does. */
static void multiply_16(const bert_emulator_exchange *exchange, element_fn element) {
    if (!whole_warp(exchange)) return;
    float a[16][16], b[16][8];
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        const int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++)
            for (int half = 0; half < 2; half++)
                a[g + 8 * (r & 1)][2 * t + 8 * (r >> 1) + half] = element((uint16_t)(in->a[r] >> 16 * half));
        for (int r = 0; r < 2; r++)
            for (int half = 0; half < 2; half++)
                b[2 * t + 8 * r + half][g] = element((uint16_t)(in->b[r] >> 16 * half));
    }
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        for (int r = 0; r < 4; r++) {
            const int row = lane / 4 + 8 * (r >> 1), column = 2 * (lane % 4) + (r & 1);
            double sum = as_float(in->c[r]);
            for (int k = 0; k < 16; k++) sum += (double)a[row][k] * (double)b[k][column];
            ((uint32_t *)exchange->out[lane])[r] = as_bits((float)sum);
        }
    }
}

void bert_emulator_mma_f16(const bert_emulator_exchange *exchange) {
    multiply_16(exchange, bert_half_to_float);
}

void bert_emulator_mma_bf16(const bert_emulator_exchange *exchange) {
    multiply_16(exchange, bert_bfloat16_to_float);
}

/* A[16][8]: register r holds row g + 8 (r & 1), column t + 4 (r >> 1). B[8][8]: row t + 4 r, column g. The low 13 bits
 * of an element are not looked at. */
void bert_emulator_mma_tf32(const bert_emulator_exchange *exchange) {
    if (!whole_warp(exchange)) return;
    float a[16][8], b[8][8];
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        const int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++) a[g + 8 * (r & 1)][t + 4 * (r >> 1)] = as_float(in->a[r] & ~0x1fffU);
        for (int r = 0; r < 2; r++) b[t + 4 * r][g] = as_float(in->b[r] & ~0x1fffU);
    }
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        for (int r = 0; r < 4; r++) {
            const int row = lane / 4 + 8 * (r >> 1), column = 2 * (lane % 4) + (r & 1);
            double sum = as_float(in->c[r]);
            for (int k = 0; k < 8; k++) sum += (double)a[row][k] * (double)b[k][column];
            ((uint32_t *)exchange->out[lane])[r] = as_bits((float)sum);
        }
    }
}

/* A[16][32]: register r holds row g + 8 (r & 1), columns 4 t + 16 (r >> 1) and three more. B[32][8]: register r holds
 * column g, rows 4 t + 16 r and three more. */
void bert_emulator_mma_s8(const bert_emulator_exchange *exchange) {
    if (!whole_warp(exchange)) return;
    int8_t a[16][32], b[32][8];
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        const int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++)
            for (int i = 0; i < 4; i++) a[g + 8 * (r & 1)][4 * t + 16 * (r >> 1) + i] = (int8_t)(in->a[r] >> 8 * i);
        for (int r = 0; r < 2; r++)
            for (int i = 0; i < 4; i++) b[4 * t + 16 * r + i][g] = (int8_t)(in->b[r] >> 8 * i);
    }
    for (int lane = 0; lane < EMU_LANES; lane++) {
        const bert_emulator_fragments *in = exchange->in[lane];
        for (int r = 0; r < 4; r++) {
            const int row = lane / 4 + 8 * (r >> 1), column = 2 * (lane % 4) + (r & 1);
            uint32_t sum = in->c[r];
            for (int k = 0; k < 32; k++) sum += (uint32_t)(a[row][k] * b[k][column]);
            ((uint32_t *)exchange->out[lane])[r] = sum;
        }
    }
}

/* ---- cp.async ------------------------------------------------------------------------------------------------------
 */

void bert_emulator_copy_async(void *shared, const void *global, size_t bytes, size_t valid) {
    emu_thread *thread = emu.current;
    if (thread->copy_count == EMU_MOST_COPIES) {
        emu_report(BERT_EMULATOR_DIVERGENCE, thread, NULL, "begins more than %d copies without waiting for one",
                   (int)EMU_MOST_COPIES);
        emu_abort(cudaErrorLaunchFailure);
    }
    if ((uintptr_t)shared % bytes || (valid && (uintptr_t)global % bytes)) {
        emu_report(BERT_EMULATOR_MISALIGNED, thread, __builtin_return_address(0),
                   "copies %zu bytes between addresses that they do not divide", bytes);
        emu_abort(cudaErrorMisalignedAddress);
    }
    const unsigned char *own = emu_shared_memory() + (size_t)thread->block->rank * EMU_SHARED_BYTES;
    if ((const unsigned char *)shared < own || (const unsigned char *)shared >= own + EMU_SHARED_BYTES) {
        emu_report(BERT_EMULATOR_OUT_OF_BOUNDS, thread, __builtin_return_address(0),
                   "copies in the background to what is no shared memory of its block");
        emu_abort(cudaErrorIllegalAddress);
        return;
    }
    /* A GPU may copy at once, or when it is waited for: others neither read nor write meanwhile. */
    if (valid) emu_check_begun(thread, __builtin_return_address(0));
    if (!emu_access(thread, shared, bytes, true, false, __builtin_return_address(0))) return;
    emu_shadow_begin_copy(shared, bytes);
    thread->copies[thread->copy_count++] =
        (emu_copy){shared, global, bytes, valid, thread->copy_group, __builtin_return_address(0)};
}

void bert_emulator_copy_commit(void) {
    emu.current->copy_group++;
}

void bert_emulator_copy_wait(int groups_left) {
    emu_thread *thread = emu.current;
    int kept = 0;
    for (int i = 0; i < thread->copy_count; i++) {
        const emu_copy copy = thread->copies[i];
        if (copy.group >= thread->copy_group - groups_left) {
            thread->copies[kept++] = copy;
            continue;
        }
        if (copy.valid && !emu_access(thread, copy.from, copy.valid, false, false, copy.code)) return;
        if (!emu_access(thread, copy.to, copy.bytes, true, false, copy.code)) return;
        if (copy.valid) memcpy(copy.to, copy.from, copy.valid); /* else it may come from nowhere */
        memset((char *)copy.to + copy.valid, 0, copy.bytes - copy.valid);
    }
    thread->copy_count = kept;
}
