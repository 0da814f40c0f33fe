/* What the masks of ai.onnx's and com.microsoft's attention add to scores, as one bias that bert_cuda_attention takes.
 */
#ifndef BERT_CUDA_OPS_ATTENTION_MASKS_H
#define BERT_CUDA_OPS_ATTENTION_MASKS_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_attention_masks_args {
    int64_t batch, heads, queries, keys; /**< y is [batch, heads, queries, keys]; 1 for what all share */
    /** com.microsoft's mask. A key that it masks gets `filter`: a key from ends[sequence] on or before
     * starts[sequence], or one whose element of `kept` is not positive. NULL: masks nothing. A length that is negative
     * masks all keys. */
    const int32_t *ends, *starts;
    const int32_t *kept;
    int64_t kept_at[3]; /**< Its strides for (sequence, query, key), 0 where it is broadcast. */
    float filter;
    bool causal; /**< Query s is at position past + s: keys after that get `after` instead. */
    int64_t past;
    float after;
    /** Added to that. Of bias_type float32, float16 or bfloat16; bool: -infinity where it is false. Keys from bias_keys
     * on, for which it has nothing, get -infinity. NULL: nothing. */
    const void *bias;
    bert_dtype bias_type;
    int64_t bias_at[4]; /**< Its strides for (sequence, head, query, key), 0 where it is broadcast. */
    int64_t bias_keys;
    float *y;
} bert_cuda_attention_masks_args;

cudaError_t bert_cuda_attention_masks(const bert_cuda_attention_masks_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
