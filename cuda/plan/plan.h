/*
 * How nodes become calls of cuda/ops and products. Each operator has a row in table.c: a function that plans it, and
 * one that puts its kernels on the stream. A plan keeps the node, its attributes and what is known of its inputs; a run
 * reads shapes from its tensors, so that one plan serves any number of rows.
 */
#ifndef BERT_CUDA_PLAN_PLAN_H
#define BERT_CUDA_PLAN_PLAN_H

#include "cuda/device.h"
#include "cuda/ops/elementwise.h"

/** Inputs whose content a plan keeps, and pieces of device memory that one may have. */
enum { BERT_CUDA_KNOWN_INPUTS = 24, BERT_CUDA_PACKED = 3 };

typedef struct bert_cuda_op bert_cuda_op;

/** What a run needs of a node. Zeroed, then filled by the row's `plan`. */
typedef struct bert_cuda_node {
    const bert_cuda_op *op;
    bert_prepared *prepared;
    bert_op_node node; /**< Without descriptions of tensors: those are good while it is planned alone. */
    const bert_constant *known[BERT_CUDA_KNOWN_INPUTS]; /**< By input; NULL: not known. */
    void *packed[BERT_CUDA_PACKED];       /**< Device memory of the prepared model; what each is, the operator says. */
    void *floats[BERT_CUDA_KNOWN_INPUTS]; /**< By input; what bert_cuda_keep_floats packed of it, or NULL. */
    void *own;                            /**< Device memory of this plan. */
    size_t own_bytes;
    int64_t n, k; /**< Of a product with packed weights. */
    int64_t padded_n, padded_k;
    int32_t reporter;                   /**< Number of the node where its kernels report; -1: they don't. */
    bool flag;                          /**< The operator says of what. */
    bool e4m3_scales;                   /**< Its products of E4M3 take scales of rows and columns. */
    uint64_t wide_inputs, wide_outputs; /**< Those whose lower halves are there: bert_cuda_lower_halves. */
} bert_cuda_node;

/** One call of a node's kernels. */
typedef struct bert_cuda_call {
    const bert_cuda_node *node;
    bert_context *context;
    const bert_tensor *inputs, *outputs; /**< With the types that the device holds. */
    void *workspace;
    const bert_cuda_range *x_ranges; /**< [rows of input 0, node.x_ranges], or NULL */
    bert_cuda_range *y_ranges;       /**< To be filled as the plan's y_ranges promised; or NULL */
    bert_cuda_e4m3_rows x_e4m3;      /**< Input 0 as E4M3, where the plan has x_bytes. */
    bool x_e4m3_made;                /**< It is there; else the run makes it. */
    bert_cuda_e4m3_rows y_e4m3;      /**< Output 0 as E4M3, to be filled as the plan's y_bytes promised; or NULL */
    bool y_unread;                   /**< Then nobody reads output 0 itself. */
    bert_error *error;
} bert_cuda_call;

/** What a planner is given. */
typedef struct bert_cuda_planner {
    bert_prepared *prepared;
    bert_context *context; /**< NULL unless mode is BERT_PLAN_BIND. */
    const bert_op_node *node;
    bert_plan_mode mode;
    bert_op_plan *out;
    bert_cuda_node *state; /**< To be filled; in other modes than BERT_PLAN_BIND nobody looks at it. */
    bert_error *error;
} bert_cuda_planner;

typedef bert_status (*bert_cuda_plan_fn)(const bert_cuda_planner *planner);
typedef bert_status (*bert_cuda_run_fn)(const bert_cuda_call *call);

struct bert_cuda_op {
    const char *domain, *name;
    bert_cuda_plan_fn plan; /**< NULL: nothing to check. */
    bert_cuda_run_fn run;
    const char *kernel;                   /**< For profiles. */
    uint32_t host_inputs;                 /**< Bit i: the content of input i must be known, and no kernel reads it. */
    int32_t code;                         /**< The operator says of what. */
    const bert_cuda_index_words *indices; /**< Of an operator whose kernels report them; NULL: they don't. */
};

/** BERT_UNSUPPORTED; `why` completes "the cuda provider's <op> ...". */
bert_status bert_cuda_leave(const bert_cuda_planner *planner, const char *why);
#ifdef __clang_analyzer__
#define bert_cuda_leave(planner, why) ((void)bert_cuda_leave((planner), (why)), BERT_UNSUPPORTED)
#endif

/* ---- Of nodes that are planned ----------------------------------------------------------------------------------- */

static inline bool bert_cuda_node_has(const bert_op_node *node, int32_t input) {
    return input >= 0 && input < node->input_count && node->inputs[input].dtype != BERT_DTYPE_UNDEFINED;
}
static inline bool bert_cuda_node_gives(const bert_op_node *node, int32_t output) {
    return output >= 0 && output < node->output_count && node->outputs[output].dtype != BERT_DTYPE_UNDEFINED;
}
/** The content of an input; NULL where it is absent or not known. */
const bert_constant *bert_cuda_known(const bert_op_node *node, int32_t input);
/** An input is float32, float16 or bfloat16, as kernels that compute in float32 want it. */
bool bert_cuda_is_float(const bert_op_node *node, int32_t input);
/** BERT_UNSUPPORTED unless it is. */
bert_status bert_cuda_want_float(const bert_cuda_planner *planner, int32_t input);
/** Where kernels of the node report, from here on. */
bert_status bert_cuda_want_reports(const bert_cuda_planner *planner);
/** The output will be held in float32 where the precision is bf16: bert_cuda_output_lower_halves. */
void bert_cuda_give_wide(const bert_cuda_planner *planner, int32_t output);
/** The same of output 0, where an input is: what is computed from float32, or moved, stays in it. */
void bert_cuda_keep_wide(const bert_cuda_planner *planner);
/** Of one shape, and elements of one size. BERT_PLAN_BIND alone. */
bool bert_cuda_is_alike(const bert_cuda_planner *planner, const bert_tensor_desc *x, const bert_tensor_desc *y);
/**
 * Output 0 may take the memory of the first of inputs 0 to `inputs` - 1 that has its shape, and elements of its size:
 * each thread reads of them what it writes, and the other inputs no later than that one. BERT_PLAN_BIND alone.
 */
void bert_cuda_offer_place(const bert_cuda_planner *planner, int32_t inputs);
/** Copies `bytes` to device memory that the plan owns. BERT_PLAN_BIND alone. */
bert_status bert_cuda_own(const bert_cuda_planner *planner, const void *source, size_t bytes);
/** A constant of float32 stays so in sessions of 16 bits: bert_cuda_kept_floats has a copy. `input`: among the first
 * BERT_CUDA_KNOWN_INPUTS, or -1. */
bert_status bert_cuda_keep_floats(const bert_cuda_planner *planner, int32_t input);
/**
 * Whether constants stay float32 with bf16: the vectors of a LayerNorm and the tables of an Embedding, which are read
 * once a row, beside all that is, and what rounding takes from them every later layer lacks. False where one of
 * `inputs` that are there is no constant of float32: then all of them are as the device has other tensors.
 */
bool bert_cuda_stay_floats(const bert_cuda_planner *planner, const int32_t *inputs, int count);
/** The named activation; false for an unknown one. */
bool bert_cuda_find_activation(const char *name, bert_cuda_activation *out);
bert_cuda_activation bert_cuda_activation_of(const bert_op_node *node);
/** a b; INT64_MAX, which no workspace has, where that is too large. Sizes. */
static inline int64_t bert_cuda_times(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}
/** Adds to the workspace of the plan, in pieces that are aligned; an overflow is BERT_UNSUPPORTED. */
bert_status bert_cuda_reserve(const bert_cuda_planner *planner, int64_t count, size_t element_bytes);
/** Elements of a constant as int64. */
int64_t bert_cuda_constant_int(const bert_constant *constant, int64_t at);
int64_t bert_cuda_constant_count(const bert_constant *constant);
int64_t bert_cuda_desc_count(const bert_tensor_desc *desc, int32_t first, int32_t end);
/** What the last dimension has; -1 where it is not yet known. */
static inline int64_t bert_cuda_row_width(const bert_tensor_desc *desc) {
    return desc->rank < 1 ? -1 : desc->dims[desc->rank - 1];
}

/** A number as an element of a float type, double among them, as the device has it; false for another type. */
bool bert_cuda_encode_float(bert_dtype stored, float value, void *to);

/* ---- Of calls ---------------------------------------------------------------------------------------------------- */

static inline const bert_tensor *bert_cuda_input(const bert_cuda_call *call, int32_t input) {
    return input >= 0 && input < call->node->node.input_count && call->inputs[input].dtype != BERT_DTYPE_UNDEFINED
               ? &call->inputs[input]
               : NULL;
}
static inline const void *bert_cuda_input_data(const bert_cuda_call *call, int32_t input) {
    const bert_tensor *tensor = bert_cuda_input(call, input);
    return tensor ? tensor->data : NULL;
}
/** The copy that bert_cuda_keep_floats made of an input, or, without one, that itself. The input must be present. */
bert_tensor bert_cuda_kept_floats(const bert_cuda_call *call, int32_t input);
static inline void *bert_cuda_output_data(const bert_cuda_call *call, int32_t output) {
    return output >= 0 && output < call->node->node.output_count && call->outputs[output].dtype != BERT_DTYPE_UNDEFINED
               ? call->outputs[output].data
               : NULL;
}
/**
 * A float32 tensor that is held in bfloat16 takes half of its memory. In the other half it may have the lower halves
 * of its elements (cuda/ops/halves.h), where its producer wrote them; NULL: it has none.
 */
const uint16_t *bert_cuda_lower_halves(const bert_cuda_call *call, int32_t input);
uint16_t *bert_cuda_output_lower_halves(const bert_cuda_call *call, int32_t output);
static inline int64_t bert_cuda_elements(const bert_tensor *tensor) {
    return bert_cuda_count(tensor->dims, 0, tensor->rank);
}
static inline int32_t bert_cuda_axis(int64_t axis, int32_t rank) {
    return (int32_t)(axis < 0 ? axis + rank : axis);
}
/** The next piece of the workspace, as bert_cuda_reserve counted them. */
void *bert_cuda_take(void **workspace, int64_t count, size_t element_bytes);
/** Row-major strides. */
void bert_cuda_dense_strides(int32_t rank, const int64_t *dims, int64_t strides[BERT_MAX_RANK]);
/** BERT_OK, or which kernel failed on what. */
bert_status bert_cuda_launched(const bert_cuda_call *call, cudaError_t result, const char *kernel);
/** Whether input `weight`, if it is a constant, comes from memory in a product of so many rows: `cold_b` of
 * bert_cuda_gemm_args. */
bool bert_cuda_is_cold(const bert_cuda_call *call, int32_t weight, int64_t rows);
/** A product on the stream of the call; its workspace is the session's. */
bert_status bert_cuda_multiply(const bert_cuda_call *call, bert_cuda_gemm_args *args);
/** The same, with what follows it: `bytes` of S8, else `floats`; and what is normalized on the way, or NULL. */
bert_status bert_cuda_multiply_followed(const bert_cuda_call *call, bert_cuda_gemm_args *args,
                                        const bert_cuda_bias_activation_args *floats,
                                        const bert_cuda_dequantize_args *bytes, const bert_cuda_followed_norms *norms);
/** One product of floats in the type that the device holds, and a bias [n], or NULL, for each row of it. */
bert_status bert_cuda_multiply_biased(const bert_cuda_call *call, bert_cuda_gemm_args *args, bert_dtype dtype,
                                      const void *bias);
bert_cuda_product_maker bert_cuda_maker_of(const bert_context *context);
/** In what products of a type are computed. */
bert_cuda_gemm_kind bert_cuda_product_kind(const bert_prepared *prepared, bert_dtype stored);
/** y = x W, [rows, n], of the rows of x [..., k]: W is [k, n], or [n, k] where it is transposed. */
bert_cuda_gemm_args bert_cuda_product_of_rows(const bert_cuda_call *call, const bert_tensor *x, const void *weight,
                                              bool transposed, int64_t n, void *y);
/** y = op(...), whose inputs are still to be filled in. */
bert_cuda_elementwise_args bert_cuda_elementwise_to(bert_cuda_elementwise_op op, const bert_tensor *y);
bert_status bert_cuda_launch_elementwise(const bert_cuda_call *call, const bert_cuda_elementwise_args *args);
/** y = op(a, b), or op(a) where b is NULL; each is broadcast to y's shape. An operand of that shape may be y. */
bert_status bert_cuda_combine(const bert_cuda_call *call, bert_cuda_elementwise_op op, const bert_tensor *a,
                              const bert_tensor *b, const bert_tensor *y);
/** y = x as y's type and broadcast to its shape. */
bert_status bert_cuda_spread(const bert_cuda_call *call, const bert_tensor *x, const bert_tensor *y);
/** The same of tensors that may have lower halves; NULL: one has none. */
bert_status bert_cuda_spread_halves(const bert_cuda_call *call, const bert_tensor *x, const uint16_t *x_lower,
                                    const bert_tensor *y, uint16_t *y_lower);
/** An output = `from`, as bert_cuda_spread has it, in halves where it was promised so; nothing where it is absent. */
bert_status bert_cuda_give(const bert_cuda_call *call, const bert_tensor *from, int32_t output);
/** Of an operator that has `indices`. */
bert_cuda_index_check bert_cuda_check_of(const bert_cuda_call *call);
/** Refuses indices into nothing: `bound` rows, of which there are none to take for an index that is bad. */
bert_status bert_cuda_check_bound(const bert_cuda_call *call, int64_t bound, const bert_tensor *indices);
/** The scale and zero point of a whole tensor, on the device. */
typedef struct bert_cuda_tensor_scale {
    float *scale;
    uint8_t *zero_point;
} bert_cuda_tensor_scale;

/** Workspace of bert_cuda_quantize_by_range for x of these dimensions. */
bert_status bert_cuda_reserve_quantize_by_range(const bert_cuda_planner *planner, int32_t rank, const int64_t *dims);
/** x in bytes by its range: DynamicQuantizeLinear. Fills `out`. The zero point is written to `zero_point`, or, where
 * that is NULL, in the workspace. */
bert_status bert_cuda_quantize_by_range(const bert_cuda_call *call, const bert_tensor *x, void **workspace,
                                        uint8_t *bytes, uint8_t *zero_point, bert_cuda_tensor_scale *out);

/* ---- Of both: tensors of which dimensions alone are looked at ------------------------------------------------------
 */

enum { BERT_CUDA_MOST_OPERANDS = BERT_CUDA_KNOWN_INPUTS };

/** The tensors of a node, by their places; absent ones have dtype BERT_DTYPE_UNDEFINED. */
typedef struct bert_cuda_operands {
    bert_tensor inputs[BERT_CUDA_MOST_OPERANDS], outputs[BERT_CUDA_MOST_OPERANDS];
} bert_cuda_operands;

/** While a node is bound: without content, and as the device holds them; of an input that bert_cuda_keep_floats made a
 * copy of, that. */
bert_cuda_operands bert_cuda_planned_operands(const bert_cuda_planner *planner);
/** The same with content. */
bert_cuda_operands bert_cuda_called_operands(const bert_cuda_call *call);
/** NULL where it is absent. */
static inline const bert_tensor *bert_cuda_operand_at(const bert_tensor *tensors, int32_t place) {
    return place >= 0 && tensors[place].dtype != BERT_DTYPE_UNDEFINED ? &tensors[place] : NULL;
}

/* ---- Operators --------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define BERT_CUDA_RUNS(RUN)                                                                                            \
    RUN(arg_extreme) RUN(attention) RUN(bias_softmax) RUN(cast) RUN(clip) RUN(compress) RUN(concat)                    \
    RUN(constant_of_shape) RUN(conv) RUN(copy) RUN(cumulative_sum) RUN(dequantize) RUN(disentangled_bias)              \
    RUN(dropout) RUN(dynamic_quantize) RUN(einsum) RUN(elementwise) RUN(embed_layer_norm) RUN(embedding) RUN(expand)   \
    RUN(eye_like) RUN(gather) RUN(gather_elements) RUN(gather_nd) RUN(gemm) RUN(layer_norm) RUN(layer_norm_linear) RUN(linear) RUN(lookup)    \
    RUN(matmul) RUN(matmul_integer) RUN(matmul_nbits) RUN(ms_attention) RUN(multi_head_attention) RUN(one_hot)         \
    RUN(onnx_attention) RUN(pack_tokens) RUN(packed_attention) RUN(pad) RUN(pool) RUN(quantize) RUN(quantized_add)     \
    RUN(quantized_linear) RUN(range) RUN(reduce) RUN(remove_padding) RUN(restore_padding) RUN(rotary_embedding)        \
    RUN(scatter_elements) RUN(scatter_nd) RUN(skip_layer_norm) RUN(slice) RUN(softmax) RUN(split) RUN(tile)            \
    RUN(top_k) RUN(transpose) RUN(trilu) RUN(unpack_tokens) RUN(variadic)
#define BERT_CUDA_PLANS(PLAN)                                                                                          \
    PLAN(attention) PLAN(cast) PLAN(clip) PLAN(compress) PLAN(cumulative_sum) PLAN(disentangled_bias) PLAN(divide)     \
    PLAN(dynamic_quantize) PLAN(einsum) PLAN(elementwise) PLAN(embed_layer_norm) PLAN(embedding) PLAN(gather)          \
    PLAN(gemm) PLAN(in_place) PLAN(indexed) PLAN(keep_wide) PLAN(layer_norm) PLAN(layer_norm_linear) PLAN(linear) PLAN(matmul)                 \
    PLAN(matmul_integer) PLAN(matmul_nbits) PLAN(ms_attention) PLAN(multi_head_attention) PLAN(onnx_attention)         \
    PLAN(packed_attention) PLAN(pad) PLAN(pool) PLAN(quantize) PLAN(quantized_add) PLAN(quantized_linear)              \
    PLAN(remove_padding) PLAN(restore_padding) PLAN(rotary_embedding) PLAN(skip_layer_norm) PLAN(variadic)
/* clang-format on */
#define BERT_CUDA_DECLARE_RUN(name) bert_status bert_cuda_run_##name(const bert_cuda_call *call);
#define BERT_CUDA_DECLARE_PLAN(name) bert_status bert_cuda_plan_##name(const bert_cuda_planner *planner);
BERT_CUDA_RUNS(BERT_CUDA_DECLARE_RUN)
BERT_CUDA_PLANS(BERT_CUDA_DECLARE_PLAN)
#undef BERT_CUDA_DECLARE_RUN
#undef BERT_CUDA_DECLARE_PLAN

/** The row of an operator; NULL when there is none. */
const bert_cuda_op *bert_cuda_find_op(const bert_op_node *node);

#endif
