/* LayerNormalization in its spellings, composed of other operators: for all that cuda/ops/layer_norm.h has no kernel
 * for. */
#ifndef BERT_CUDA_PLAN_COMPOSED_NORM_H
#define BERT_CUDA_PLAN_COMPOSED_NORM_H

#include "cuda/plan/plan.h"

/** Plans a node of the layer_norm family, or of skip_layer_norm's, by kernels of other operators: double, types that
 * are mixed, gamma, beta and skip of any shape that broadcasts. Gives the node a run of its own. */
bert_status bert_cuda_plan_composed_norm(const bert_cuda_planner *planner, bool skips);

/** Where the spellings of SkipLayerNormalization have what; -1: nowhere. */
typedef struct bert_cuda_skip_form {
    int32_t beta, bias, sum;
    bool simplified;
} bert_cuda_skip_form;

/** By the code of the row. */
bert_cuda_skip_form bert_cuda_skip_form_of(const bert_op_node *node, int32_t code);

#endif
