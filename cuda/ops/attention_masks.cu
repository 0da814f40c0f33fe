/*
 * A thread an element, a block a few rows of keys. The masks come in too many shapes for the attention kernels to look
 * at each in their inner loops; as one bias of float32, no larger than what the masks say (1 where all sequences, heads
 * or queries share it), they cost it one load. float32 whatever the type of the model: com.microsoft's filter may be
 * the lowest float, and rows that are masked as a whole want their scores to vanish beside it.
 */
#include "cuda/ops/attention_masks.h"

#include "cuda/ops/element.h"

enum { THREADS = 256 };

static __device__ bool is_masked(const bert_cuda_attention_masks_args &a, int64_t b, int64_t query, int64_t key) {
    if (a.ends && key >= a.ends[b]) return true;
    if (a.starts && key < a.starts[b]) return true;
    return a.kept && a.kept[b * a.kept_at[0] + query * a.kept_at[1] + key * a.kept_at[2]] <= 0;
}

static __device__ float bias_of(const bert_cuda_attention_masks_args &a, int64_t b, int64_t h, int64_t query,
                                int64_t key) {
    if (key >= a.bias_keys) return -INFINITY;
    const int64_t at = b * a.bias_at[0] + h * a.bias_at[1] + query * a.bias_at[2] + key * a.bias_at[3];
    if (a.bias_type == BERT_BOOL) return static_cast<const uint8_t *>(a.bias)[at] ? 0.0F : -INFINITY;
    return load_as<float>(a.bias, a.bias_type, at);
}

static __global__ void __launch_bounds__(THREADS) attention_masks_kernel(bert_cuda_attention_masks_args a) {
    begin_kernel();
    const int64_t count = a.batch * a.heads * a.queries * a.keys, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const int64_t row = i / a.keys, key = i - row * a.keys, head = row / a.queries, query = row - head * a.queries;
        const int64_t b = head / a.heads, h = head - b * a.heads;
        float value = is_masked(a, b, query, key) ? a.filter : 0.0F;
        if (a.causal && key > a.past + query) value = a.after;
        if (a.bias) value += bias_of(a, b, h, query, key);
        a.y[i] = value;
    }
}

cudaError_t bert_cuda_attention_masks(const bert_cuda_attention_masks_args *args, cudaStream_t stream) {
    const bert_cuda_attention_masks_args a = *args;
    const bool known = a.bias_type == BERT_FLOAT || a.bias_type == BERT_FLOAT16 || a.bias_type == BERT_BFLOAT16 ||
                       a.bias_type == BERT_BOOL;
    if ((a.bias && !known) || a.batch < 0 || a.heads < 0 || a.queries < 0 || a.keys < 0) return cudaErrorInvalidValue;
    const int64_t count = a.batch * a.heads * a.queries * a.keys;
    if (count == 0) return cudaSuccess;
    return BERT_LAUNCH(attention_masks_kernel, dim3(bert_blocks(count, THREADS)), dim3(THREADS), 0, stream, a);
}
