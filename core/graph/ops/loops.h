/*
 * What reference implementations are written with: elements of any type, and loops over broadcast tensors.
 *
 * Float elements are read as double and rounded once when written (16-bit floats by way of float, as a kernel that
 * computes in float would). Integer elements are read as bert_integer, which holds every int64 and uint64, and wrap
 * around when written, as the types themselves do.
 */
#ifndef BERT_GRAPH_OPS_LOOPS_H
#define BERT_GRAPH_OPS_LOOPS_H

#include "core/base/dtypes.h"
#include "core/base/error.h"
#include "core/base/float16.h"
#include "core/graph/ops/ops.h"

/** Wide enough for the elements of every integer type, their sums and their products. */
typedef __int128 bert_integer;

/** Element `index` of an integer or boolean tensor. */
static inline bert_integer bert_load_integer(const bert_tensor *tensor, int64_t index) {
    switch (tensor->dtype) {
    case BERT_BOOL:
        return ((const uint8_t *)tensor->data)[index] != 0;
    case BERT_UINT8:
        return ((const uint8_t *)tensor->data)[index];
    case BERT_INT8:
        return ((const int8_t *)tensor->data)[index];
    case BERT_UINT16:
        return ((const uint16_t *)tensor->data)[index];
    case BERT_INT16:
        return ((const int16_t *)tensor->data)[index];
    case BERT_UINT32:
        return ((const uint32_t *)tensor->data)[index];
    case BERT_INT32:
        return ((const int32_t *)tensor->data)[index];
    case BERT_UINT64:
        return ((const uint64_t *)tensor->data)[index];
    default:
        return ((const int64_t *)tensor->data)[index];
    }
}

/** Writes an element of an integer or boolean tensor: the low bits, or whether it is not 0. */
static inline void bert_store_integer(const bert_tensor *tensor, int64_t index, bert_integer value) {
    switch (tensor->dtype) {
    case BERT_BOOL:
        ((uint8_t *)tensor->data)[index] = value != 0;
        break;
    case BERT_UINT8:
    case BERT_INT8:
        ((uint8_t *)tensor->data)[index] = (uint8_t)value;
        break;
    case BERT_UINT16:
    case BERT_INT16:
        ((uint16_t *)tensor->data)[index] = (uint16_t)value;
        break;
    case BERT_UINT32:
    case BERT_INT32:
        ((uint32_t *)tensor->data)[index] = (uint32_t)value;
        break;
    default:
        ((uint64_t *)tensor->data)[index] = (uint64_t)value;
        break;
    }
}

/** Element `index` of a tensor of any type. */
static inline double bert_load(const bert_tensor *tensor, int64_t index) {
    switch (tensor->dtype) {
    case BERT_FLOAT:
        return ((const float *)tensor->data)[index];
    case BERT_DOUBLE:
        return ((const double *)tensor->data)[index];
    case BERT_FLOAT16:
        return bert_half_to_float(((const uint16_t *)tensor->data)[index]);
    case BERT_BFLOAT16:
        return bert_bfloat16_to_float(((const uint16_t *)tensor->data)[index]);
    default:
        return (double)bert_load_integer(tensor, index);
    }
}

/** Writes an element of a float tensor. */
static inline void bert_store(const bert_tensor *tensor, int64_t index, double value) {
    switch (tensor->dtype) {
    case BERT_FLOAT:
        ((float *)tensor->data)[index] = (float)value;
        break;
    case BERT_FLOAT16:
        ((uint16_t *)tensor->data)[index] = bert_float_to_half((float)value);
        break;
    case BERT_BFLOAT16:
        ((uint16_t *)tensor->data)[index] = bert_float_to_bfloat16((float)value);
        break;
    default:
        ((double *)tensor->data)[index] = value;
        break;
    }
}

/** A number as a float type holds it. */
static inline double bert_rounded(bert_dtype dtype, double value) {
    switch (dtype) {
    case BERT_FLOAT:
        return (double)(float)value;
    case BERT_FLOAT16:
        return bert_half_to_float(bert_float_to_half((float)value));
    case BERT_BFLOAT16:
        return bert_bfloat16_to_float(bert_float_to_bfloat16((float)value));
    default:
        return value;
    }
}

/** Copies elements [from, from + count) of a tensor of any type into `out`. */
void bert_load_row(const bert_tensor *tensor, int64_t from, int64_t count, double *out);
/** Writes `count` elements of a float tensor from `from` on. */
void bert_store_row(const bert_tensor *tensor, int64_t from, int64_t count, const double *values);

/** Copies elements between tensors of one type. */
void bert_copy_elements(const bert_tensor *to, int64_t to_index, const bert_tensor *from, int64_t from_index,
                        int64_t count);

/** Product of dimensions [from, to). */
int64_t bert_dims_product(const bert_tensor *tensor, int32_t from, int32_t to);

/* ---- Calls ---------------------------------------------------------------------------------------------------------
 */

static inline bool bert_call_has_input(const bert_reference_call *call, int32_t input) {
    return input >= 0 && input < call->input_count && call->inputs[input].dtype != BERT_DTYPE_UNDEFINED;
}
static inline bool bert_call_has_output(const bert_reference_call *call, int32_t output) {
    return output >= 0 && output < call->output_count && call->outputs[output].dtype != BERT_DTYPE_UNDEFINED;
}
/** The tensor, or NULL when it is absent. */
static inline const bert_tensor *bert_call_input(const bert_reference_call *call, int32_t input) {
    return bert_call_has_input(call, input) ? &call->inputs[input] : NULL;
}
static inline const bert_tensor *bert_call_output(const bert_reference_call *call, int32_t output) {
    return bert_call_has_output(call, output) ? &call->outputs[output] : NULL;
}

#define BERT_CALL_INT(call, name, missing)                                                                             \
    bert_attribute_int((call)->attributes, (call)->attribute_count, (name), (missing))
#define BERT_CALL_FLOAT(call, name, missing)                                                                           \
    bert_attribute_float((call)->attributes, (call)->attribute_count, (name), (missing))
#define BERT_CALL_STRING(call, name, missing)                                                                          \
    bert_attribute_string((call)->attributes, (call)->attribute_count, (name), (missing))
#define BERT_CALL_INTS(call, name, count_out)                                                                          \
    bert_attribute_ints((call)->attributes, (call)->attribute_count, (name), (count_out))

/**
 * The axes of a call, as a mask over [0, rank): from the attribute "axes", or from input `input` where it is present
 * (-1: the attribute alone). *given is false when there are none. BERT_INVALID_INPUT when one is out of range.
 */
bert_status bert_call_axes(const bert_reference_call *call, int32_t input, int32_t rank, uint32_t *mask, bool *given);
/** An axis in [-rank, rank) that inference accepted, as one in [0, rank). */
static inline int32_t bert_call_axis(int64_t axis, int32_t rank) {
    return (int32_t)(axis < 0 ? axis + rank : axis);
}

/* ---- Loops ---------------------------------------------------------------------------------------------------------
 */

enum { BERT_LOOP_OPERANDS = 4 };

/**
 * Steps through every index of a shape in row-major order, and keeps the element offsets of operands that are
 * broadcast to it:
 *
 *   bert_loop loop = bert_loop_over(y->rank, y->dims);
 *   bert_loop_add(&loop, a);
 *   bert_loop_add(&loop, b);
 *   for (; loop.left; bert_loop_next(&loop))
 *       bert_store(y, loop.position, bert_load(a, loop.offset[0]) + bert_load(b, loop.offset[1]));
 */
typedef struct bert_loop {
    int32_t rank, operands;
    int64_t left;     /**< Indexes still to come, this one included. */
    int64_t position; /**< Of this index in the shape's own row-major order. */
    int64_t dims[BERT_MAX_RANK];
    int64_t index[BERT_MAX_RANK];
    int64_t strides[BERT_LOOP_OPERANDS][BERT_MAX_RANK]; /**< Elements; 0 along a broadcast dimension. */
    int64_t offset[BERT_LOOP_OPERANDS];
} bert_loop;

bert_loop bert_loop_over(int32_t rank, const int64_t *dims);
/** The next operand: a tensor that broadcasts to the shape. */
void bert_loop_add(bert_loop *loop, const bert_tensor *operand);
/** The next operand, by its stride along each dimension of the shape. */
void bert_loop_add_strides(bert_loop *loop, const int64_t *strides);
void bert_loop_next(bert_loop *loop);

/** Row-major strides of a tensor in elements. */
void bert_dense_strides(int32_t rank, const int64_t *dims, int64_t strides[BERT_MAX_RANK]);

#endif
