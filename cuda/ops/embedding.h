/* Canonical Embedding (core/graph/canonical.h): three gathers, their sum, LayerNorm. */
#ifndef BERT_CUDA_OPS_EMBEDDING_H
#define BERT_CUDA_OPS_EMBEDDING_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A table and the ids that choose rows of it. */
typedef struct bert_cuda_embedding_table {
    const void *ids;      /**< int32 or int64; NULL: no such table. */
    bert_dtype id_type;   /**< BERT_INT32 or BERT_INT64 */
    int64_t batch_stride; /**< Elements of ids from one sequence to the next; 0: the same for all. */
    int64_t token_stride; /**< Elements of ids from one token to the next; 0: the same for all. */
    const void *table;    /**< [rows, width] */
    int64_t rows;
} bert_cuda_embedding_table;

typedef struct bert_cuda_embedding_args {
    bert_dtype dtype;      /**< Of every float tensor here. */
    bool float_parameters; /**< BERT_BFLOAT16 alone: tables, gamma and beta are float32 instead. */
    int64_t batch, length, width;
    bert_cuda_embedding_table word, type, position; /**< Summed in this order. */
    const void *gamma, *beta;                       /**< [width]; both NULL: no LayerNorm. */
    float epsilon;
    /**
     * Padding-free: token i of the output is token sources[i] of the [batch, length] that ids describe, of `tokens`;
     * NULL: all of them, in order.
     */
    const int32_t *sources;
    int64_t tokens;
    void *y;                     /**< [batch * length, width], or [tokens, width] */
    uint16_t *y_lower;           /**< BERT_BFLOAT16 alone: the lower halves of y (halves.h), or NULL */
    bert_cuda_range *ranges;     /**< A range for each row of y; or NULL */
    bert_cuda_e4m3_rows e4m3;    /**< Of y as it is stored, without lower halves; `bytes` NULL: not wanted. */
    bool y_unread;               /**< With `e4m3`: y need not be written, though it may be. */
    bert_cuda_index_check check; /**< Input numbers are those of the canonical operator. */
} bert_cuda_embedding_args;

cudaError_t bert_cuda_embedding(const bert_cuda_embedding_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
