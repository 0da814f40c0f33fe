/*
 * A row of up to 1,024 elements in the registers of one warp: lane l has the vectors l, l + 32, l + 64 ... of 16 bytes
 * each, so that a warp reads 512 neighbouring bytes at a time. What LayerNorm kernels share; for .cu files.
 */
#ifndef BERT_CUDA_OPS_ROW_REGISTERS_H
#define BERT_CUDA_OPS_ROW_REGISTERS_H

#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/row_range.h"

enum { BERT_ROW_MOST = 1024 };

/** Elements in 16 bytes, and vectors that a lane has at most. */
template <typename T> struct bert_row {
    static constexpr int N = 16 / static_cast<int>(sizeof(T));
    static constexpr int vectors = BERT_ROW_MOST / (N * BERT_WARP);
    float at[vectors][N];

    /** First column of vector i of this lane. */
    static __device__ int column(int i) {
        return (static_cast<int>(threadIdx.x) % BERT_WARP + i * BERT_WARP) * N;
    }

    __device__ void clear() {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            BERT_UNROLL
            for (int j = 0; j < N; j++) at[i][j] = 0;
        }
    }

    /** Adds the `width` elements of x from `from` on: a multiple of N, aligned to N of them. In halves (halves.h) where
     * `lower` is not NULL. */
    template <typename P> __device__ void add(const P *x, const uint16_t *lower, int64_t from, int width) {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            bert_elements<P, N> loaded;
            loaded.load(x, lower, from + column(i));
            BERT_UNROLL
            for (int j = 0; j < N; j++) at[i][j] += loaded.get(j);
        }
    }
    template <typename P> __device__ void add(const P *row, int width) {
        add(row, nullptr, 0, width);
    }

    /** Rounded, or in halves, into such elements of y. */
    __device__ void store(T *y, uint16_t *lower, int64_t from, int width) const {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            bert_elements<T, N> stored;
            BERT_UNROLL
            for (int j = 0; j < N; j++) stored.set(j, at[i][j], lower != nullptr);
            stored.store(y, lower, from + column(i));
        }
    }

    /** Mean and 1 / deviation, the same in all lanes. Columns from `width` on must be 0, and stay out. */
    __device__ void statistics(int width, float epsilon, bool simplified, float *mean, float *deviation) const {
        float sum = 0, squares = 0;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            BERT_UNROLL
            for (int j = 0; j < N; j++) sum += at[i][j];
        }
        const float center = simplified ? 0.0F : warp_sum(sum) / static_cast<float>(width);
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) squares += (at[i][j] - center) * (at[i][j] - center);
        }
        *mean = center;
        *deviation = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(width) + epsilon);
    }

    /** (x - mean) deviation gamma + beta, in place; beta may be NULL. */
    template <typename P>
    __device__ void normalize(int width, float mean, float deviation, const P *gamma, const P *beta) {
        using parameters = bert_vector<P, N>;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            const parameters scale = *reinterpret_cast<const parameters *>(gamma + column(i));
            parameters shift = {};
            if (beta) shift = *reinterpret_cast<const parameters *>(beta + column(i));
            BERT_UNROLL
            for (int j = 0; j < N; j++)
                at[i][j] =
                    (at[i][j] - mean) * deviation * to_float(scale.at[j]) + (beta ? to_float(shift.at[j]) : 0.0F);
        }
    }

    /** The row as `store` has it without lower halves, as row `row` of `to`. */
    __device__ void store_e4m3(int width, const bert_cuda_e4m3_rows &to, int64_t row) const {
        float most = 0;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) most = fmaxf(most, fabsf(to_float(from_float<T>(at[i][j]))));
        }
        const e4m3_scale scale(warp_max(most));
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            bert_vector<T, N> stored;
            BERT_UNROLL
            for (int j = 0; j < N; j++) stored.at[j] = from_float<T>(at[i][j]);
            scale.store(stored, to.bytes + row * width + column(i));
        }
        if (threadIdx.x % BERT_WARP == 0) to.scales[row] = scale.scale;
    }

    /** Range of the row as `store` has it, with lower halves or without; lane 0 writes it. */
    __device__ void range(int width, bool in_halves, bert_cuda_range *out) const {
        row_range range;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (column(i) >= width) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) range.add(to_float(stored_element<T>(at[i][j], in_halves)));
        }
        range.join_lanes(BERT_WARP);
        if (threadIdx.x % BERT_WARP == 0) range.store(out);
    }
};

/** Rows, one a warp: as many warps a block as keep all multiprocessors busy with few rows, and blocks few with many. */
static inline int bert_row_warps(int64_t rows) {
    return rows < 1024 ? 1 : 4;
}

#endif
