/* What the canonical Linear and LayerNormLinear share; inference is bert_infer_linear for both. */
#ifndef BERT_GRAPH_OPS_CANONICAL_LINEAR_H
#define BERT_GRAPH_OPS_CANONICAL_LINEAR_H

#include "core/graph/op.h"

/**
 * Output 0 of a call of either: activation(alpha x W + b) + residual. x and residual (or NULL) have the shapes of those
 * of the call, and any float type. `sums`: bert_workspace_linear's bytes.
 */
void bert_linear_product(const bert_reference_call *call, const bert_tensor *x, const bert_tensor *residual,
                         double *sums);

#endif
