/* Padding off and on again: rows of real tokens, packed one after the other, and back to [batch, sequence]. */
#ifndef BERT_CUDA_OPS_TOKENS_H
#define BERT_CUDA_OPS_TOKENS_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bert_cuda_tokens_args {
    int32_t element_bytes; /**< 1, 2, 4 or 8 */
    int64_t width;         /**< Elements of a token. */
    int64_t count;         /**< Real tokens. */
    const int32_t *tokens; /**< [count], ascending: where token r lies among the padded ones. */
    int64_t padded;        /**< Padded tokens; to pack also those of one sequence, which then hold for all. */
    const void *x;         /**< To pack [padded, width], to unpack [count, width] */
    void *y;               /**< To pack [count, width], to unpack [padded, width] */
} bert_cuda_tokens_args;

/** y[r] = x[tokens[r] mod padded] */
cudaError_t bert_cuda_pack_tokens(const bert_cuda_tokens_args *args, cudaStream_t stream);
/** y[tokens[r]] = x[r], zeros elsewhere. */
cudaError_t bert_cuda_unpack_tokens(const bert_cuda_tokens_args *args, cudaStream_t stream);

/** Where sequences begin among packed tokens, as a user gives it. */
typedef struct bert_cuda_offsets_args {
    int64_t sequences, tokens, longest;
    const int32_t *offsets; /**< [sequences + 1]: from 0 to `tokens`, never falling, no step over `longest` */
    int32_t *checked;       /**< The same, or where they are not so what kernels can walk along. */
    bert_cuda_index_check check;
    int32_t input; /**< Which the offsets are. */
} bert_cuda_offsets_args;

cudaError_t bert_cuda_check_offsets(const bert_cuda_offsets_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
