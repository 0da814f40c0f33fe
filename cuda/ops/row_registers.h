/*
 * A row of up to 1,024 elements in the registers of one warp: lane l has the vectors l, l + 32, l + 64 ... of 16 bytes
 * each, so that a warp reads 512 neighbouring bytes at a time. What LayerNorm kernels share; for .cu files.
 *
 * Such a kernel waits for memory and does little else. Everything that it reads of a row is therefore asked for before
 * the first of it is used, gamma and beta too: load() leaves elements as memory has them, add() and normalize() convert
 * them, and a kernel calls load() for all of them first. One wait is left, and a warp has all its bytes on the way.
 * Only where registers don't suffice, at 1,024 columns, the compiler loads gamma and beta (with float32 parameters of
 * bfloat16 rows some of the bias, too) after the first sums, ahead of the reductions.
 *
 * How many vectors a lane has is known to the compiler (bert_row_width), so that a lane has registers for no others. At
 * 768 and 1,024, the widths of BERT, no vector has to be looked at for whether it is in the row.
 */
#ifndef BERT_CUDA_OPS_ROW_REGISTERS_H
#define BERT_CUDA_OPS_ROW_REGISTERS_H

#include "cuda/ops/e4m3_rows.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/row_range.h"

enum { BERT_ROW_MOST = 1024 };

/** Threads that a block of such a kernel has at most. */
enum { BERT_ROW_THREADS = 128 };

/** Elements in the 16 bytes of a vector. */
template <typename T> struct bert_row_vector { static constexpr int N = 16 / static_cast<int>(sizeof(T)); };

/**
 * Rows of exactly `COLUMNS` elements, or of at most so many. `blocks` is for a kernel's launch bounds: as many a
 * multiprocessor, which is 168 registers a thread or 255. Left alone, the compiler would rather have more warps than
 * more loads under way, and put loads behind sums; memory is kept busy by these few warps with all their loads.
 */
template <int COLUMNS, bool EXACT> struct bert_row_width {
    static constexpr int columns = COLUMNS, blocks = EXACT ? 3 : 2;
    static constexpr bool exact = EXACT;
};

/** Elements T, of a bert_row_width W. */
template <typename T, typename W> struct bert_row {
    static constexpr int N = bert_row_vector<T>::N;
    static constexpr int vectors = W::columns / (N * BERT_WARP);
    static_assert(W::columns % (N * BERT_WARP) == 0, "all lanes have as many vectors");
    float at[vectors][N] = {};
    int width;

    __device__ explicit bert_row(int columns) : width(W::exact ? W::columns : columns) {}

    /** First column of vector i of this lane. */
    static __device__ int column(int i) {
        return (static_cast<int>(threadIdx.x) % BERT_WARP + i * BERT_WARP) * N;
    }
    __device__ bool has(int i) const {
        return W::exact || column(i) < width;
    }

    /** A row as memory has it, of a type that may be another. */
    template <typename P> struct loaded { bert_elements<P, N> at[vectors]; };

    /** The elements of x from `from` on, a multiple of N, aligned to N of them. Zeros where x is NULL. */
    template <typename P> __device__ loaded<P> load(const P *x, int64_t from = 0) const {
        loaded<P> row = {};
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) load_vector_if(&row.at[i].upper, x, from + column(i), x && has(i));
        return row;
    }
    /** The same in halves (halves.h) where `lower` is not NULL. */
    template <typename P> __device__ loaded<P> load(const P *x, const uint16_t *lower, int64_t from) const {
        loaded<P> row = load(x, from);
        if constexpr (bert_halves<P>::exist) {
            BERT_UNROLL
            for (int i = 0; i < vectors; i++)
                load_vector_if(&row.at[i].lower, lower, from + column(i), lower && has(i));
        }
        return row;
    }

    template <typename P> __device__ void add(const loaded<P> &row) {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            BERT_UNROLL
            for (int j = 0; j < N; j++) at[i][j] += row.at[i].get(j);
        }
    }

    /** Rounded, or in halves, into such elements of y. */
    __device__ void store(T *y, uint16_t *lower, int64_t from) const {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (!has(i)) continue;
            bert_elements<T, N> stored;
            BERT_UNROLL
            for (int j = 0; j < N; j++) stored.set(j, at[i][j], lower != nullptr);
            stored.store(y, lower, from + column(i));
        }
    }

    /** Mean and 1 / deviation, the same in all lanes. Columns from `width` on must be 0, and stay out. */
    __device__ void statistics(float epsilon, bool simplified, float *mean, float *deviation) const {
        float sum = 0, squares = 0;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            BERT_UNROLL
            for (int j = 0; j < N; j++) sum += at[i][j];
        }
        const float center = simplified ? 0.0F : warp_sum(sum) / static_cast<float>(width);
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (!has(i)) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) squares += (at[i][j] - center) * (at[i][j] - center);
        }
        *mean = center;
        *deviation = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(width) + epsilon);
    }

    /** (x - mean) deviation gamma + beta, in place. */
    template <typename P>
    __device__ void normalize(float mean, float deviation, const loaded<P> &gamma, const loaded<P> &beta) {
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            BERT_UNROLL
            for (int j = 0; j < N; j++)
                at[i][j] = (at[i][j] - mean) * deviation * gamma.at[i].get(j) + beta.at[i].get(j);
        }
    }

    /** The row as `store` has it without lower halves, as row `row` of `to`. */
    __device__ void store_e4m3(const bert_cuda_e4m3_rows &to, int64_t row) const {
        float most = 0;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (!has(i)) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) most = fmaxf(most, fabsf(to_float(from_float<T>(at[i][j]))));
        }
        const e4m3_scale scale(warp_max(most));
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (!has(i)) continue;
            bert_vector<T, N> stored;
            BERT_UNROLL
            for (int j = 0; j < N; j++) stored.at[j] = from_float<T>(at[i][j]);
            scale.store(stored, to.bytes + row * width + column(i));
        }
        if (threadIdx.x % BERT_WARP == 0) to.scales[row] = scale.scale;
    }

    /** Range of the row as `store` has it, with lower halves or without; lane 0 writes it. */
    __device__ void range(bool in_halves, bert_cuda_range *out) const {
        row_range range;
        BERT_UNROLL
        for (int i = 0; i < vectors; i++) {
            if (!has(i)) continue;
            BERT_UNROLL
            for (int j = 0; j < N; j++) range.add(to_float(stored_element<T>(at[i][j], in_halves)));
        }
        range.join_lanes(BERT_WARP);
        if (threadIdx.x % BERT_WARP == 0) range.store(out);
    }
};

/** Rows, one a warp: as many warps a block as keep all multiprocessors busy with few rows, and blocks few with many. */
static inline int bert_row_warps(int64_t rows) {
    return rows < 1024 ? 1 : BERT_ROW_THREADS / BERT_WARP;
}

/** Calls `launch` with the bert_row_width for `width`, at most BERT_ROW_MOST. Each is a kernel more of every type: 384
 * is no whole number of vectors a lane in 16 bits, and has no more of them than 512. */
template <typename F> static inline cudaError_t bert_launch_row_kernel(int width, F launch) {
    if (width == 768) return launch(bert_row_width<768, true>());
    if (width == 1024) return launch(bert_row_width<1024, true>());
    if (width <= 512) return launch(bert_row_width<512, false>());
    return launch(bert_row_width<BERT_ROW_MOST, false>());
}

#endif
