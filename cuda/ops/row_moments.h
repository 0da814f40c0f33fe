/*
 * Rows that are normalized by moments which came with them: LayerNormLinear in core/graph/canonical.h has the words.
 * Whoever writes a row knows the mean of a stretch of it, and the sum of squared distances from that; what it takes to
 * normalize the row follows from these, so that nobody has to read the whole row first. For .cu files.
 */
#ifndef BERT_CUDA_OPS_ROW_MOMENTS_H
#define BERT_CUDA_OPS_ROW_MOMENTS_H

#include "core/graph/canonical.h"
#include "cuda/ops/tensor_product.h"
#include "cuda/platform.h"

/** bert_cuda_row_norm, typed. */
template <typename T> struct bert_row_norm {
    const float *moments;
    const T *gamma, *beta;
    float epsilon;

    static bert_row_norm of(const bert_cuda_row_norm &norm) {
        return {norm.moments, static_cast<const T *>(norm.gamma), static_cast<const T *>(norm.beta), norm.epsilon};
    }
};

/** What normalizes a row: (x - mean) deviation, `deviation` being 1 / sqrt(variance + epsilon). */
struct row_statistics {
    float mean, deviation;

    /** As layer_norm has it (row_registers.h). */
    __device__ float normalize(float x, float gamma, float beta) const {
        return (x - mean) * deviation * gamma + beta;
    }
};

enum { BERT_STATISTICS_LANES = 4 }; /* neighbouring lanes that find the statistics of a row together */

/**
 * The statistics of a row of `width` elements, the same in its four lanes; the whole warp calls it. {0, 0} of a row
 * that is not `there`.
 */
static __device__ inline row_statistics statistics_of(const float *moments, int64_t row, int width, float epsilon,
                                                      bool there) {
    const int groups = there ? BERT_MOMENTS_OF_ROW(width) : 0;
    const int first = static_cast<int>(threadIdx.x) % BERT_STATISTICS_LANES;
    const float *own = moments + row * groups * 2;
    bert_vector<float, 2> moment; /* the mean, and the sum of squared distances from it */
    row_statistics s = {};
    for (int group = first; group < groups; group += BERT_STATISTICS_LANES) {
        const int left = width - group * BERT_MOMENT_COLUMNS;
        load_vector(&moment, own, group * 2);
        s.mean += moment.at[0] * static_cast<float>(left < BERT_MOMENT_COLUMNS ? left : BERT_MOMENT_COLUMNS);
    }
    for (int step = BERT_STATISTICS_LANES / 2; step > 0; step /= 2)
        s.mean += __shfl_xor_sync(BERT_ALL_LANES, s.mean, step);
    s.mean /= static_cast<float>(width);
    float squares = 0;
    for (int group = first; group < groups; group += BERT_STATISTICS_LANES) {
        const int left = width - group * BERT_MOMENT_COLUMNS;
        load_vector(&moment, own, group * 2);
        const float distance = moment.at[0] - s.mean;
        squares += moment.at[1] +
                   distance * distance * static_cast<float>(left < BERT_MOMENT_COLUMNS ? left : BERT_MOMENT_COLUMNS);
    }
    for (int step = BERT_STATISTICS_LANES / 2; step > 0; step /= 2)
        squares += __shfl_xor_sync(BERT_ALL_LANES, squares, step);
    if (there) s.deviation = 1.0F / sqrtf(squares / static_cast<float>(width) + epsilon);
    return s;
}

/**
 * Writes the moments of `count` neighbouring elements, of which a thread `has` N, or none, and LANES neighbours all;
 * nothing where the first of them has none. The whole warp calls it.
 */
template <int LANES, int N>
static __device__ inline void store_moments(const float (&x)[N], bool has, int count, float *to) {
    float sum = 0, squares = 0;
    BERT_UNROLL
    for (int i = 0; i < N; i++) sum += has ? x[i] : 0.0F;
    for (int step = LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(BERT_ALL_LANES, sum, step);
    const float mean = sum / static_cast<float>(count);
    BERT_UNROLL
    for (int i = 0; i < N; i++) squares += has ? (x[i] - mean) * (x[i] - mean) : 0.0F;
    for (int step = LANES / 2; step > 0; step /= 2) squares += __shfl_xor_sync(BERT_ALL_LANES, squares, step);
    if (has && threadIdx.x % LANES == 0) store_vector(to, bert_vector<float, 2>{{mean, squares}});
}

#endif
