#include "tests/cuda_emulator/planted.h"

#include "cuda/tensor_core.h"

/* A sum as kernels of cuda/ make it, with the planted fault where one is asked for. */
static __global__ void sums_kernel(const float *x, float *y, int threads, planted_fault fault) {
    if (fault == PLANTED_LEFT_EARLY && blockIdx.x == 0) return;
    if (fault != PLANTED_TOO_EARLY) begin_kernel();
    BERT_SHARED(float, partial, 8);
    const int at = static_cast<int>(threadIdx.x), lane = at % 32, warp = at / 32;
    const int from = static_cast<int>(blockIdx.x) * threads + at;
    const bool last = from == static_cast<int>(gridDim.x) * threads - 1;
    float value = x[fault == PLANTED_OVERREAD && last ? from + 1 : from];
    if (fault == PLANTED_DIVERGED_LANES) {
        if (lane < 16) value += __shfl_xor_sync(BERT_ALL_LANES, value, 16);
    } else if (fault == PLANTED_ABSENT_LANE) {
        if (lane < 16) value += __shfl_xor_sync(0xffffU, value, 16);
    } else {
        value += __shfl_xor_sync(BERT_ALL_LANES, value, fault == PLANTED_SWAPPED_LANE ? 8 : 16);
    }
    for (int step = 8; step > 0; step /= 2) value += __shfl_xor_sync(BERT_ALL_LANES, value, step);
    if (lane == 0 && fault != PLANTED_NOT_WRITTEN) partial[fault == PLANTED_OFF_BY_ONE ? warp + 7 : warp] = value;
    if (fault == PLANTED_DIVERGED_BARRIER && at >= threads / 2) return;
    if (fault != PLANTED_MISSING_BARRIER) __syncthreads();
    if (at != 0) return;
    float sum = 0;
    for (int i = 0; i < threads / 32; i++) sum += partial[i];
    unsigned to = blockIdx.x;
    if (fault == PLANTED_OVERRUN) to += 1;
    if (fault == PLANTED_BLOCKS_COLLIDE) to = 0;
    if (fault == PLANTED_STRAY) y = reinterpret_cast<float *>(static_cast<uintptr_t>(0x10));
    y[to] = sum;
}

static __global__ void swap_kernel(const float *x, float *y, planted_fault fault) {
    begin_kernel();
    BERT_SHARED(float, kept, 32);
    const unsigned lane = threadIdx.x;
    kept[lane] = x[lane];
    if (fault != PLANTED_NO_SYNCWARP) __syncwarp();
    y[lane] = kept[lane ^ 1];
}

static __global__ void copy_kernel(const float *x, float *y, planted_fault fault) {
    if (fault != PLANTED_TOO_EARLY) begin_kernel();
    BERT_SHARED(float, kept, 64 + 4);
    const unsigned at = threadIdx.x;
    const unsigned shift = fault == PLANTED_MISALIGNED ? 1 : 0;
    if (fault == PLANTED_MISALIGNED) {
        const auto *vectors = reinterpret_cast<const bert_vector<float, 4> *>(x + shift);
        const bert_vector<float, 4> loaded = vectors[at % 8];
        y[at] = loaded.at[at % 4];
    }
    float *const to = fault == PLANTED_COPIED_ELSEWHERE ? y : kept;
    if (at < 16) copy_async_16(to + 4 * at, x + 4 * at, 16);
    if (fault == PLANTED_TOO_EARLY) begin_kernel();
    copy_async_commit();
    if (fault != PLANTED_NO_WAIT) copy_async_wait<0>();
    __syncthreads();
    y[at] = kept[at];
    if (fault != PLANTED_NO_WAIT_NEXT && fault != PLANTED_COPIED_OVER) return;
    if (fault == PLANTED_NO_WAIT_NEXT) __syncthreads();
    if (at < 16) copy_async_16(kept + 4 * at, x + 4 * at, 16);
    copy_async_commit();
    if (fault == PLANTED_COPIED_OVER) __syncthreads();
    if (fault == PLANTED_COPIED_OVER) copy_async_wait<0>();
    __syncthreads();
    y[at] = kept[at];
}

static __global__ void neighbours_kernel(const float *x, float *y, int cluster, planted_fault fault) {
    const unsigned at = threadIdx.x, rank = cluster_rank(), first = blockIdx.x * BERT_WARP;
    prefetch(x + (fault == PLANTED_FAR_PREFETCH ? gridDim.x * BERT_WARP : first));
    begin_kernel();
    BERT_SHARED(float, kept, BERT_WARP);
    kept[at] = x[first + at];
    if (fault == PLANTED_BLOCKS_BARRIER)
        __syncthreads();
    else if (fault == PLANTED_PARTING)
        cluster_part();
    else if (fault != PLANTED_SKIPPED || rank != 0)
        cluster_barrier();
    const unsigned other = fault == PLANTED_FAR_BLOCK ? 7 : (rank + 1) % static_cast<unsigned>(cluster);
    uint32_t words[4];
    if (fault == PLANTED_WRITTEN_AGAIN && rank != 0) __syncthreads();
    if (at < BERT_WARP / 4) cluster_load(words, kept + 4 * at, other);
    if (fault == PLANTED_WRITTEN_AGAIN && rank == 0) __syncthreads();
    if (fault == PLANTED_WRITTEN_AGAIN) kept[at] = 0;
    if (at < BERT_WARP / 4) memcpy(y + first + 4 * at, words, sizeof words);
    if (fault != PLANTED_ENDED_BLOCK && fault != PLANTED_BLOCKS_BARRIER) cluster_part();
}

template <typename T>
static __global__ void product_kernel(const uint16_t *a, const uint16_t *b, float *d, int swapped) {
    begin_kernel();
    BERT_SHARED(uint16_t, left, 16 * 16);
    BERT_SHARED(uint16_t, right, 16 * 8);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 16 * 16; i += 32) left[i] = a[i];
    for (int i = lane; i < 16 * 8; i += 32) right[i] = b[i];
    __syncwarp();
    uint32_t fragment[4], columns[4];
    /* Matrices 0 to 3 of A: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15. */
    ldmatrix_x4(fragment, left + (lane % 16) * 16 + (lane / 16) * 8);
    ldmatrix_x4_trans(columns, right + (lane % 16) * 8);
    if (swapped) {
        const uint32_t kept = fragment[1];
        fragment[1] = fragment[2];
        fragment[2] = kept;
    }
    float sums[4] = {};
    const uint32_t both[2] = {columns[0], columns[1]};
    mma_m16n8k16<T>(sums, fragment, both);
    for (int r = 0; r < 4; r++) d[(lane / 4 + 8 * (r >> 1)) * 8 + 2 * (lane % 4) + (r & 1)] = sums[r];
}

static __global__ void product_tf32_kernel(const float *a, const float *b, float *d) {
    begin_kernel();
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    uint32_t left[4], right[2];
    for (int r = 0; r < 4; r++) left[r] = __float_as_uint(a[(g + 8 * (r & 1)) * 8 + t + 4 * (r >> 1)]);
    for (int r = 0; r < 2; r++) right[r] = __float_as_uint(b[(t + 4 * r) * 8 + g]);
    float sums[4] = {};
    mma_m16n8k8_tf32(sums, left, right);
    for (int r = 0; r < 4; r++) d[(g + 8 * (r >> 1)) * 8 + 2 * t + (r & 1)] = sums[r];
}

static __global__ void product_s8_kernel(const int8_t *a, const int8_t *b, int32_t *d) {
    begin_kernel();
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    uint32_t left[4] = {}, right[2] = {};
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < 4; i++)
            left[r] |=
                static_cast<uint32_t>(static_cast<uint8_t>(a[(g + 8 * (r & 1)) * 32 + 4 * t + 16 * (r >> 1) + i]))
                << 8 * i;
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 4; i++)
            right[r] |= static_cast<uint32_t>(static_cast<uint8_t>(b[(4 * t + 16 * r + i) * 8 + g])) << 8 * i;
    int32_t sums[4] = {};
    mma_m16n8k32_s8(sums, left, right);
    for (int r = 0; r < 4; r++) d[(g + 8 * (r >> 1)) * 8 + 2 * t + (r & 1)] = sums[r];
}

static __global__ void histogram_kernel(const int32_t *x, int32_t *counts, int n, int atomic) {
    begin_kernel();
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    if (atomic)
        atomicAdd(&counts[x[i]], 1);
    else
        counts[x[i]]++;
}

static __global__ void votes_kernel(const int32_t *x, uint32_t *y) {
    begin_kernel();
    const unsigned lane = threadIdx.x;
    const int32_t value = x[lane];
    y[4 * lane] = static_cast<uint32_t>(__any_sync(BERT_ALL_LANES, value));
    y[4 * lane + 1] = static_cast<uint32_t>(__all_sync(BERT_ALL_LANES, value));
    y[4 * lane + 2] = __ballot_sync(BERT_ALL_LANES, value);
    y[4 * lane + 3] = static_cast<uint32_t>(__shfl_up_sync(BERT_ALL_LANES, value, 1));
}

cudaError_t planted_sums(const float *x, float *y, int blocks, int threads, planted_fault fault, cudaStream_t stream) {
    return BERT_LAUNCH(sums_kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), 0,
                       stream, x, y, threads, fault);
}
cudaError_t planted_swap(const float *x, float *y, planted_fault fault, cudaStream_t stream) {
    return BERT_LAUNCH(swap_kernel, dim3(1), dim3(32), 0, stream, x, y, fault);
}
cudaError_t planted_copy(const float *x, float *y, planted_fault fault, cudaStream_t stream) {
    return BERT_LAUNCH(copy_kernel, dim3(1), dim3(64), 0, stream, x, y, fault);
}
cudaError_t planted_neighbours(const float *x, float *y, int cluster, int blocks, planted_fault fault,
                               cudaStream_t stream) {
    return BERT_LAUNCH_CLUSTERS(neighbours_kernel, static_cast<unsigned>(cluster), dim3(static_cast<unsigned>(blocks)),
                                dim3(BERT_WARP), 0, stream, x, y, cluster, fault);
}
cudaError_t planted_product(const uint16_t *a, const uint16_t *b, float *d, int bf16, int swapped,
                            cudaStream_t stream) {
    if (bf16) return BERT_LAUNCH((product_kernel<__nv_bfloat16>), dim3(1), dim3(32), 0, stream, a, b, d, swapped);
    return BERT_LAUNCH((product_kernel<__half>), dim3(1), dim3(32), 0, stream, a, b, d, swapped);
}
cudaError_t planted_product_tf32(const float *a, const float *b, float *d, cudaStream_t stream) {
    return BERT_LAUNCH(product_tf32_kernel, dim3(1), dim3(32), 0, stream, a, b, d);
}
cudaError_t planted_product_s8(const int8_t *a, const int8_t *b, int32_t *d, cudaStream_t stream) {
    return BERT_LAUNCH(product_s8_kernel, dim3(1), dim3(32), 0, stream, a, b, d);
}
cudaError_t planted_histogram(const int32_t *x, int32_t *counts, int n, int atomic, cudaStream_t stream) {
    return BERT_LAUNCH(histogram_kernel, dim3(bert_blocks(n, 32)), dim3(32), 0, stream, x, counts, n, atomic);
}
cudaError_t planted_votes(const int32_t *x, uint32_t *y, cudaStream_t stream) {
    return BERT_LAUNCH(votes_kernel, dim3(1), dim3(32), 0, stream, x, y);
}
