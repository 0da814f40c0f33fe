/* Moving elements about: what reference implementations share that compute nothing. */
#ifndef BERT_GRAPH_OPS_MOVEMENT_H
#define BERT_GRAPH_OPS_MOVEMENT_H

#include "core/graph/ops/loops.h"

/** A box of elements that is read with one set of strides, of any sign, and written with another. Units: elements. */
typedef struct bert_move {
    int32_t rank;
    int64_t dims[BERT_MAX_RANK];
    int64_t from[BERT_MAX_RANK];
    int64_t to[BERT_MAX_RANK];
} bert_move;

/** Starts a move of the whole of one tensor into another of the same rank: dense strides, the dimensions of `box`. */
bert_move bert_move_between(const bert_tensor *from, const bert_tensor *to, const bert_tensor *box);
/** The box begins at element from_start of `from` and to_start of `to`. Any of the dimensions may be 0. */
void bert_move_run(const bert_move *move, const bert_tensor *from, int64_t from_start, const bert_tensor *to,
                   int64_t to_start);

/**
 * Element `position` of the index tensor `input`, in [0, bound): a negative one counts from the end. BERT_INVALID_INPUT
 * names it, its place and the bound. `of` says what is counted: "rows of the table".
 */
bert_status bert_read_index(const bert_reference_call *call, int32_t input, int64_t position, int64_t bound,
                            const char *of, int64_t *out);

#endif
