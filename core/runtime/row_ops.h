/* Which operators work row by row: on each token of a batch by itself. */
#ifndef BERT_RUNTIME_ROW_OPS_H
#define BERT_RUNTIME_ROW_OPS_H

#include "core/runtime/bind.h"

typedef enum bert_row_kind {
    BERT_ROWS_MIXED,     /**< Other tokens may matter, or it isn't known. */
    BERT_ROWS_BROADCAST, /**< Element by element; inputs broadcast to the output. */
    BERT_ROWS_OPERANDS   /**< Each row of the outputs is of the same row of the inputs in `inputs`. */
} bert_row_kind;

/** How a node treats tensors whose first `axes` dimensions count tokens. */
typedef struct bert_row_op {
    bert_row_kind kind;
    uint32_t
        inputs;  /**< Of BERT_ROWS_OPERANDS: bit i: input i has a row a token (or the same rows for all sequences). */
    bool starts; /**< Costs so much that its inputs are packed for it. */
} bert_row_op;

/** `infos` is what binding knows, by value id; output 0 has `axes` (1 or 2) leading dimensions that count tokens. */
bert_row_op bert_row_op_of(const bert_node *node, const bert_value_info *infos, int32_t axes);

#endif
