/* The range of a row, found by the threads that write it or read it. For .cu files. */
#ifndef BERT_CUDA_OPS_ROW_RANGE_H
#define BERT_CUDA_OPS_ROW_RANGE_H

#include "cuda/ops/op.h"
#include "cuda/platform.h"

/** Least and greatest of the elements that a thread has of a row, as they are stored; 0 is always between. NaN has no
 * part in it. */
struct row_range {
    float least = 0, most = 0;

    __device__ void add(float x) {
        least = fminf(least, x);
        most = fmaxf(most, x);
    }
    template <typename T, int N> __device__ void add(const bert_vector<T, N> &x) {
        BERT_UNROLL
        for (int i = 0; i < N; i++) add(to_float(x.at[i]));
    }
    /** Part of a row whose range is there. */
    __device__ void add(const bert_cuda_range &part) {
        least = fminf(least, part.least);
        most = fmaxf(most, part.most);
    }
    /** Over `lanes` neighbouring lanes, a power of 2, for all of these. The whole warp calls it. */
    __device__ void join_lanes(int lanes) {
        for (int step = lanes / 2; step > 0; step /= 2) {
            least = fminf(least, __shfl_xor_sync(BERT_ALL_LANES, least, step));
            most = fmaxf(most, __shfl_xor_sync(BERT_ALL_LANES, most, step));
        }
    }
    /** Over the block, for all of it; `scratch` as block_max has it. */
    __device__ void join_block(float *scratch) {
        least = -block_max(-least, scratch);
        most = block_max(most, scratch);
    }
    /** The greatest magnitude. */
    __device__ float magnitude() const {
        return fmaxf(-least, most);
    }
    /** Called by one thread of those that were joined. */
    __device__ void store(bert_cuda_range *to) const {
        to->least = least;
        to->most = most;
    }
};

#endif
