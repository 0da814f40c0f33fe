/* Weights that stand side by side in one product: what Linear and QuantizedLinear share. */
#ifndef BERT_CUDA_PLAN_PARTS_H
#define BERT_CUDA_PLAN_PARTS_H

#include "cuda/plan/plan.h"

enum { BERT_CUDA_MOST_PARTS = 8 };

typedef struct bert_cuda_parts {
    const bert_prepared *prepared;
    int32_t count;
    bool transposed;                                      /**< Weights are [N, K]. */
    int64_t columns;                                      /**< Of all parts. */
    const bert_constant *constants[BERT_CUDA_MOST_PARTS]; /**< The weights. */
    const bert_constant *biases[BERT_CUDA_MOST_PARTS];    /**< NULL: none. */
    const bert_constant *scales[BERT_CUDA_MOST_PARTS];    /**< Of QuantizedLinear. */
    const bert_constant *zero_points[BERT_CUDA_MOST_PARTS];
} bert_cuda_parts;

/** The key of what is packed of parts. */
typedef struct bert_cuda_parts_id {
    char what[24];
    int32_t transposed, count;
    uint64_t ids[BERT_CUDA_MOST_PARTS], weights[BERT_CUDA_MOST_PARTS], zero_points[BERT_CUDA_MOST_PARTS];
} bert_cuda_parts_id;

/** What the node says of its parts, but for the parts themselves; BERT_UNSUPPORTED for what neither operator takes. */
bert_status bert_cuda_begin_parts(const bert_cuda_planner *planner, bert_cuda_parts *out);
/** The constant of the model that an input is; NULL: it is absent, or something else. */
const bert_constant *bert_cuda_model_constant(const bert_op_node *node, int32_t input);
/** An input is there, and no constant of the model. */
bool bert_cuda_varies(const bert_op_node *node, int32_t input);
/** Adds a part whose weight and bias are these inputs; BERT_UNSUPPORTED unless both are constants of the model (the
 * bias: or absent), and biases all of one type. */
bert_status bert_cuda_add_part(const bert_cuda_planner *planner, bert_cuda_parts *parts, int32_t part, int32_t weight,
                               int32_t bias);
static inline int64_t bert_cuda_part_columns(const bert_cuda_parts *parts, int32_t part) {
    return parts->constants[part]->dims[parts->transposed ? 0 : 1];
}
static inline int64_t bert_cuda_parts_depth(const bert_cuda_parts *parts) {
    return parts->constants[0]->dims[parts->transposed ? 1 : 0];
}
/** The first bias that a part has, which says the type of all; NULL: no part has one. */
const bert_constant *bert_cuda_parts_bias(const bert_cuda_parts *parts);
/** Fills the key of `constants`, which belong to the parts' weights; gives its size. */
size_t bert_cuda_parts_key(const bert_cuda_parts *parts, const char *what, const bert_constant *const *constants,
                           bert_cuda_parts_id *out);
/** Packs the biases of bert_cuda_parts side by side; zeros where there is none. */
bert_status bert_cuda_write_biases(const void *argument, void *out, bert_error *error);

/** What follows a product that lies in the call's output, rows of which are its last dimension. */
typedef struct bert_cuda_epilogue {
    const void *bias;                        /**< For each element of a row; or NULL */
    const float *row_scales, *column_scales; /**< See bert_cuda_bias_activation_args; NULL: none. */
    float scale;
    const bert_cuda_followed_norms *norms; /**< NULL: none. */
} bert_cuda_epilogue;

/** Rows of the output will have their ranges from what follows the product. */
void bert_cuda_give_stretches(const bert_cuda_planner *planner);
/** A product of floats whose C is the call's output, and the epilogue: scales, bias, activation and residual. */
bert_status bert_cuda_multiply_with_epilogue(const bert_cuda_call *call, bert_cuda_gemm_args *product,
                                             const bert_cuda_epilogue *epilogue);

/** Packs the weights of a Linear's parts side by side (of one in E4M3, as such), and their biases, where the node's
 * first pieces of packed memory are. */
bert_status bert_cuda_pack_weights(const bert_cuda_planner *planner, const bert_cuda_parts *parts);
/** A Linear's product, with what follows it: by what was packed, or, of one part, by input `weight` and the bias behind
 * it. `norms`: what is normalized on the way; NULL: nothing. */
bert_status bert_cuda_multiply_weights(const bert_cuda_call *call, int32_t weight,
                                       const bert_cuda_followed_norms *norms);

/** Whether a Linear runs in E4M3: --precision fp8, constant parts, and sizes that products of E4M3 take. */
bool bert_cuda_takes_e4m3(const bert_cuda_planner *planner, const bert_cuda_parts *parts);
/** Packs the weights of all parts. */
bert_status bert_cuda_pack_e4m3(const bert_cuda_planner *planner, const bert_cuda_parts *parts, void **out);
bert_status bert_cuda_run_e4m3_linear(const bert_cuda_call *call, const void *packed, const void *bias);

#endif
