/*
 * The operators that the CPU backend has kernels for. Each has one function that answers whether it can run a node, and
 * how (see bert_backend.plan). BERT_UNSUPPORTED sends the node to the fallback backend, so a planner takes the cases
 * that it is fast at and leaves the rest.
 */
#ifndef BERT_CPU_OPS_OPS_H
#define BERT_CPU_OPS_OPS_H

#include "core/base/error.h"
#include "core/base/memory.h"
#include "cpu/device.h"

/** What a planner is given. */
typedef struct bert_cpu_planner {
    bert_prepared *prepared;
    bert_context *context; /**< NULL unless mode is BERT_PLAN_BIND. */
    const bert_op_node *node;
    bert_plan_mode mode;
    bert_op_plan *out;
    bert_error *error;
    /** The graph's type of floats that `node` has as float32: BERT_FLOAT16, BERT_BFLOAT16; undefined: float32 itself.
     */
    bert_dtype narrow;
    /** With `narrow`: the planner sets bit i where `run` reads input i as the graph has it, at any address. */
    uint64_t *narrow_inputs;
} bert_cpu_planner;

typedef bert_status (*bert_cpu_plan_fn)(const bert_cpu_planner *planner);

bert_status bert_cpu_plan_attention(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_binary(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_concat(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_conv(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_disentangled_bias(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_embedding(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_expand(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_gather(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_gather_elements(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_gemm(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_integer_matmul(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_is_nan(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_layer_norm(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_linear(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_lookup(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_matmul_nbits(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_matmul(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_dequantize(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_quantize(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_pack_tokens(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_pool(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_quantized_add(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_quantized_linear(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_skip_layer_norm(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_slice(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_softmax(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_split(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_tile(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_transpose(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_unary(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_where(const bert_cpu_planner *planner);
/** QuantizedLinear with weight_only. */
bert_status bert_cpu_plan_weight_only_linear(const bert_cpu_planner *planner);
bert_status bert_cpu_plan_unpack_tokens(const bert_cpu_planner *planner);

/**
 * A node of 16-bit floats by the planner of its operator, which sees them as float32: the kernel runs between
 * conversions. It reads the content of constants by bert_cpu_read_floats, since that is still of 16 bits.
 * BERT_UNSUPPORTED for a node without such floats.
 */
bert_status bert_cpu_plan_narrow(const bert_cpu_planner *planner, bert_cpu_plan_fn own);

/** The planner of an operator; NULL when there is none. */
bert_cpu_plan_fn bert_cpu_find_planner(uint32_t op_id);

/** What a planner packs weights with. */
static inline bert_thread_pool *bert_cpu_planner_threads(const bert_cpu_planner *planner) {
    return planner->mode == BERT_PLAN_PREPARE ? planner->prepared->threads
                                              : (planner->context ? planner->context->threads : NULL);
}

/** BERT_UNSUPPORTED: the case is the fallback's. `why` completes "the cpu backend's <op> ...". */
static inline bert_status bert_cpu_leave(const bert_cpu_planner *planner, const char *why) {
    return bert_fail(planner->error, BERT_UNSUPPORTED, "the cpu backend's %s %s", planner->node->op_type, why);
}
/**
 * Bytes of a row of `width` floats in the second form that Linear reads (bert_byte_rows): bfloat16, as the provider of
 * Linear lays its x out. 0: it reads float32.
 */
int64_t bert_cpu_row_bytes(const bert_cpu_planner *planner, int64_t width);
/** Offers ranges of rows of output 0, and its second form, which `run` writes by bert_cpu_write_rows. */
void bert_cpu_give_rows(const bert_cpu_planner *planner);
/** Writes columns [column, column + width) of rows [row, row + rows) of output 0 in its second form, where that is
 * wanted; what fills rows up comes with the last columns. x: their floats, rows ldx apart. */
void bert_cpu_write_halves(const bert_kernel_call *call, const float *x, int64_t ldx, int64_t row, int64_t rows,
                           int64_t column, int64_t width);
/** Writes what is wanted of both: rows [row, row + rows) of output 0, which are at `y`. */
void bert_cpu_write_rows(const bert_kernel_call *call, const float *y, int64_t row, int64_t rows);
/** State of `bytes` for planner->out, zeroed, freed with the plan. */
bert_status bert_cpu_new_state(const bert_cpu_planner *planner, size_t bytes, void **out);

/** Whether an input is there. */
static inline bool bert_cpu_has(const bert_op_node *node, int32_t input) {
    return input < node->input_count && node->inputs[input].dtype != BERT_DTYPE_UNDEFINED;
}
/** Whether an input or output is float32; an absent one isn't. */
static inline bool bert_cpu_is_float(const bert_op_node *node, int32_t input) {
    return input < node->input_count && node->inputs[input].dtype == BERT_FLOAT;
}
/** Whether it has one element; false where that isn't known yet. */
static inline bool bert_cpu_is_single(const bert_tensor_desc *desc) {
    int64_t count = 1;
    for (int32_t i = 0; i < desc->rank; i++) count *= desc->dims[i];
    return count == 1;
}
/** Whether it is absent or float32. */
static inline bool bert_cpu_float_or_absent(const bert_op_node *node, int32_t input) {
    return !bert_cpu_has(node, input) || bert_cpu_is_float(node, input);
}
/** The data of an input of a call, one that the node lists; NULL when it is absent. */
const void *bert_cpu_input(const bert_kernel_call *call, int32_t input);

static inline const bert_cpu_kernels *bert_cpu_kernels_for(const bert_kernel_call *call) {
    return &call->context->prepared->device->kernels;
}
static inline bert_thread_pool *bert_cpu_threads_for(const bert_kernel_call *call) {
    return call->context->threads;
}

/** Elements of dims[first, end). */
static inline int64_t bert_cpu_count(const int64_t *dims, int32_t first, int32_t end) {
    int64_t count = 1;
    for (int32_t i = first; i < end; i++) count *= dims[i];
    return count;
}

/** Whether an input has elements of 1, 2, 4 or 8 bytes, which can be moved whatever they are. */
static inline bool bert_cpu_is_moved(const bert_op_node *node, int32_t input) {
    const size_t size = bert_dtype_size(node->inputs[input].dtype);
    return size == 1 || size == 2 || size == 4 || size == 8;
}
/** `statement`, for elements of `size` bytes: a macro of one argument, the unsigned type that is as large. */
#define BERT_CPU_BY_SIZE(size, statement)                                                                              \
    switch (size) {                                                                                                    \
    case 1:                                                                                                            \
        statement(uint8_t);                                                                                            \
        break;                                                                                                         \
    case 2:                                                                                                            \
        statement(uint16_t);                                                                                           \
        break;                                                                                                         \
    case 4:                                                                                                            \
        statement(uint32_t);                                                                                           \
        break;                                                                                                         \
    default:                                                                                                           \
        statement(uint64_t);                                                                                           \
    }
/** Of one task that moves elements: handing over fewer costs more than copying them. */
enum { BERT_CPU_TASK_BYTES = 65536 };
/** Copies `n` elements of such a size, each `x_step` elements after the last one (0: one is repeated), to a place each
 * `y_step` elements after the last one. */
void bert_cpu_copy(void *y, int64_t y_step, const void *x, int64_t x_step, size_t size, int64_t n);
/** Element `i` of an int32 or int64 tensor. */
static inline int64_t bert_cpu_index(const bert_tensor *indices, int64_t i) {
    return indices->dtype == BERT_INT32 ? ((const int32_t *)indices->data)[i] : ((const int64_t *)indices->data)[i];
}
/** Element `i` of a uint8 or int8 tensor. */
static inline int32_t bert_cpu_byte(const bert_tensor *bytes, int64_t i) {
    return bytes->dtype == BERT_INT8 ? ((const int8_t *)bytes->data)[i] : ((const uint8_t *)bytes->data)[i];
}
/** How n floats are to bytes: uint8, or int8 where it is_signed. */
typedef struct bert_cpu_quantization {
    float scale;
    int32_t zero_point;
    bool is_signed;
} bert_cpu_quantization;
/** QuantizeLinear and DequantizeLinear with one scale; on the calling thread. */
void bert_cpu_quantize(const bert_cpu_kernels *kernels, const bert_cpu_quantization *by, void *y, const float *x,
                       int64_t n);
void bert_cpu_dequantize(const bert_cpu_kernels *kernels, const bert_cpu_quantization *by, float *y, const void *x,
                         int64_t n);
/** Whether two tensors have the same shape. */
static inline bool bert_cpu_same_dims(const bert_tensor_desc *a, const bert_tensor_desc *b) {
    bool same = a->rank == b->rank;
    for (int32_t i = 0; same && i < b->rank; i++) same = a->dims[i] == b->dims[i];
    return same;
}
/** An axis that may be counted from the end, counted from the front. */
static inline int64_t bert_cpu_axis(int64_t axis, int32_t rank) {
    return axis < 0 ? axis + rank : axis;
}
/** Elements from one to the next along each dimension of a tensor, seen with `rank` dimensions, its own or more: 0
 * where it has one element, and so repeats it where it broadcasts. */
void bert_cpu_steps(const bert_tensor *tensor, int32_t rank, int64_t *steps);

/** Elements before the matrix, the last two dimensions of the tensor, that broadcasting puts at batch `index` of y. */
int64_t bert_cpu_matrix_offset(const bert_tensor *tensor, const bert_tensor *y, int64_t index);

/** The activation of that name ("gelu"); false for an unknown one. */
bool bert_cpu_activation(const char *name, bert_unary *out);

#endif
