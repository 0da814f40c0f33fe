/*
 * LayerNorms that are no kernels of their own, for backends that take LayerNormLinears (bert/backend.h).
 *
 * The Linear before such a norm adds the residual and gives moments of its rows; the Linears behind it normalize as
 * they read. Rows that were not normalized then stand for the norm's output, which nobody else may read.
 */
#ifndef BERT_RUNTIME_LATE_NORMS_H
#define BERT_RUNTIME_LATE_NORMS_H

#include "core/runtime/bind.h"
#include "core/runtime/weights.h"

/**
 * Rewrites as many norms of a binding as the backend has kernels for the nodes that it takes: a norm goes with all of
 * its readers or stays. Wanted outputs hold what they did. What it makes lives in `memory`, arrays of the binding in
 * `scratch`. BERT_OUT_OF_MEMORY, or a failure of the backend to answer, which names the node.
 */
bert_status bert_bind_late_norms(const bert_weights *weights, const bert_request *request, bert_arena *memory,
                                 bert_arena *scratch, bert_binding *binding, bert_error *error);

#endif
