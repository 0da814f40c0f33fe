/* Scaled dot-product attention by plain loops, for every operator that has it. */
#ifndef BERT_GRAPH_OPS_ATTENTION_CORE_H
#define BERT_GRAPH_OPS_ATTENTION_CORE_H

#include "core/graph/ops/loops.h"

/** Where the elements of Q, K, V or Y are: (batch, head, row, element) by strides in elements. */
typedef struct bert_heads {
    const bert_tensor *tensor;
    int64_t offset, batch_stride, head_stride, row_stride;
    int64_t element_stride;
} bert_heads;

/** A tensor [B, S, heads x depth], where heads lie side by side, from column `column` on. */
bert_heads bert_heads_interleaved(const bert_tensor *tensor, int64_t column, int64_t depth);
/** A tensor [B, heads, S, depth]. */
bert_heads bert_heads_separate(const bert_tensor *tensor);

static inline int64_t bert_heads_row(const bert_heads *heads, int64_t batch, int64_t head, int64_t row) {
    return heads->offset + batch * heads->batch_stride + head * heads->head_stride + row * heads->row_stride;
}

typedef struct bert_attention {
    bert_heads q, k, v, y;
    int64_t batch, heads;
    int64_t group;         /**< Query heads that share a head of K and V; 1 where each has its own. */
    int64_t rows, columns; /**< Queries and keys of a sequence. */
    int64_t depth, value_depth;
    double scale;
    /** Called with a row of a head of Q or K before it is multiplied, which it may rotate. NULL: nothing to do. */
    void (*turn)(const void *user, int64_t batch, int64_t row, double *head);
    /** Called with the scaled scores of one row before the softmax: adds biases and masks. NULL: nothing to do. */
    void (*adjust)(const void *user, int64_t batch, int64_t head, int64_t row, double *scores);
    /** Called with the probabilities of one row, which it may change. NULL: nothing to do. */
    void (*inspect)(const void *user, int64_t batch, int64_t head, int64_t row, double *probabilities);
    const void *user;
    double *scratch; /**< bert_attention_scratch() doubles. */
} bert_attention;

/** Bytes of scratch; SIZE_MAX when it overflows. */
size_t bert_attention_workspace(int64_t columns, int64_t depth, int64_t value_depth);
/** softmax(adjust(scale Q K^T)) V */
void bert_attention_run(const bert_attention *attention);

/** Softmax of one row in place, the greatest score subtracted first. */
void bert_softmax_row(double *row, int64_t count);

#endif
