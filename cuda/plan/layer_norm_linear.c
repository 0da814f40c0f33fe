/*
 * Canonical LayerNormLinear: with few rows a model takes as long as it has kernels, and a LayerNorm of its own is one
 * of seven in a layer. Binding makes these nodes where they are taken here: of rows in float16, few enough that each
 * block of a product may normalize those that it reads.
 */
#include "core/graph/canonical.h"
#include "cuda/plan/parts.h"

/* With more rows a LayerNorm's own kernel takes a smaller share, and products want tiles of more rows than those that
 * normalize have. With fewer it is measured, from which later plans learn. */
enum { MOST_ROWS = 512 };

/* Rows of a tensor; -1 where they aren't known. */
static int64_t rows_of(const bert_tensor_desc *desc) {
    int64_t rows = 1;
    for (int32_t i = 0; i + 1 < desc->rank; i++) {
        if (desc->dims[i] < 0) return -1;
        rows = bert_cuda_times(rows, desc->dims[i]);
    }
    return desc->rank < 1 ? -1 : rows;
}

static bert_status check_sizes(const bert_cuda_planner *planner, int64_t rows, int64_t k, int64_t n) {
    if (rows < 0 || k < 0 || n < 0) return bert_cuda_leave(planner, "wants to know its dimensions");
    if (rows > MOST_ROWS) return bert_cuda_leave(planner, "takes up to 512 rows");
    if (k % 8 || n % 8 || k == 0 || k > BERT_CUDA_MOST_NORM_WIDTH)
        return bert_cuda_leave(planner, "wants rows of multiples of 8 elements, 4096 at most");
    return BERT_OK;
}

/* Whether a run measured that it is faster as kernels apart, and that is asked. */
static bool was_slower(const bert_cuda_planner *planner, int64_t rows, int64_t k, int64_t n) {
    const bert_op_node *node = planner->node;
    if (planner->prepared->device->policy != BERT_CUDA_PRODUCT_CHOSEN) return false;
    const bool transposed = BERT_NODE_INT(node, "transpose", 0) != 0;
    static const float there[2]; /* for pointers that a run has */
    const bert_cuda_gemm_args product = {.kind = BERT_CUDA_GEMM_F16,
                                         .transpose_b = transposed,
                                         .m = rows,
                                         .n = n,
                                         .k = k,
                                         .batch = 1,
                                         .lda = k,
                                         .ldb = transposed ? k : n,
                                         .ldc = n};
    const bert_cuda_bias_activation_args floats = {.dtype = BERT_FLOAT16,
                                                   .activation = bert_cuda_activation_of(node),
                                                   .residual =
                                                       bert_cuda_node_has(node, BERT_LINEAR_RESIDUAL) ? there : NULL};
    bert_cuda_followed_norms norms = {.a = NULL};
    if (bert_cuda_node_has(node, BERT_LAYER_NORM_LINEAR_X_MOMENTS)) norms.of.a.moments = there;
    if (bert_cuda_node_has(node, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS)) norms.of.residual.moments = there;
    if (bert_cuda_node_gives(node, 1)) norms.of.moments = (float *)(uintptr_t)there;
    const bert_cuda_followed_product followed = {.product = &product, .floats = &floats, .norms = &norms};
    return bert_cuda_norms_are_faster_apart(planner->prepared->device->choices, &followed);
}

bert_status bert_cuda_plan_layer_norm_linear(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bert_tensor_desc *x = &node->inputs[BERT_LINEAR_X], *y = &node->outputs[0];
    const int64_t rows = rows_of(x), k = bert_cuda_row_width(x), n = bert_cuda_row_width(y);
    bert_cuda_parts parts;
    if (!planner->prepared->device->late_norms || planner->prepared->deterministic)
        return bert_cuda_leave(planner, "is not wanted");
    BERT_CUDA_TRY(bert_cuda_begin_parts(planner, &parts));
    BERT_CUDA_TRY(bert_cuda_want_float(planner, BERT_LINEAR_X));
    if (bert_cuda_stored(planner->prepared, x->dtype) != BERT_FLOAT16)
        return bert_cuda_leave(planner, "takes rows that are held in float16");
    BERT_CUDA_TRY(check_sizes(planner, rows, k, n));
    /* Of a node that binding asked for nothing is left to decide: other sessions may have measured it meanwhile. */
    if (planner->mode == BERT_PLAN_QUERY && was_slower(planner, rows, k, n))
        return bert_cuda_leave(planner, "was measured to be faster apart");
    for (int32_t part = 0; parts.count > 1 && part < parts.count; part++)
        BERT_CUDA_TRY(bert_cuda_add_part(planner, &parts, part, BERT_LAYER_NORM_LINEAR_WEIGHT(part),
                                         BERT_LAYER_NORM_LINEAR_BIAS(part)));
    if (parts.count > 1)
        planner->out->unread_inputs |= ((UINT64_C(1) << 2 * parts.count) - 1) << BERT_LAYER_NORM_LINEAR_WEIGHT(0);
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK; /* a Linear's weights, which are packed with it */
    if (bert_cuda_node_has(node, BERT_LAYER_NORM_LINEAR_X_MOMENTS))
        BERT_CUDA_TRY(bert_cuda_reserve(planner, rows * k, sizeof(uint16_t)));
    if (bert_cuda_node_has(node, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS))
        BERT_CUDA_TRY(bert_cuda_reserve(planner, rows * n, sizeof(uint16_t)));
    return parts.count > 1 ? bert_cuda_pack_weights(planner, &parts) : BERT_OK;
}

/* Moments are float32 on the device too, whatever holds its floats: nobody else reads them. */
static bert_cuda_row_norm norm_of(const bert_cuda_call *call, int32_t moments, const char *epsilon) {
    if (!bert_cuda_input(call, moments)) return (bert_cuda_row_norm){0};
    return (bert_cuda_row_norm){.moments = bert_cuda_input_data(call, moments),
                                .gamma = bert_cuda_input_data(call, moments + 1),
                                .beta = bert_cuda_input_data(call, moments + 2),
                                .epsilon = BERT_NODE_FLOAT(&call->node->node, epsilon, 1e-5F)};
}

bert_status bert_cuda_run_layer_norm_linear(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[BERT_LINEAR_X];
    const bert_cuda_product_norms norms = {
        .a = norm_of(call, BERT_LAYER_NORM_LINEAR_X_MOMENTS, "x_epsilon"),
        .residual = norm_of(call, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS, "residual_epsilon"),
        .moments = bert_cuda_output_data(call, 1)};
    const int64_t rows = bert_cuda_count(x->dims, 0, x->rank - 1);
    bert_cuda_followed_norms followed = {.of = norms};
    void *workspace = call->workspace;
    if (norms.a.moments) followed.a = bert_cuda_take(&workspace, rows * x->dims[x->rank - 1], sizeof(uint16_t));
    if (norms.residual.moments)
        followed.residual =
            bert_cuda_take(&workspace, rows * call->outputs[0].dims[call->outputs[0].rank - 1], sizeof(uint16_t));
    return bert_cuda_multiply_weights(call, BERT_LAYER_NORM_LINEAR_WEIGHT(0), &followed);
}
