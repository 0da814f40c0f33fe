/*
 * What inference functions are written with. A function checks types and shapes with the helpers that return a status,
 * then gives each output its type and shape. Every helper takes an absent input, an unknown type and an unknown rank
 * and is silent about them: only a contradiction is an error.
 *
 * When an inference function is called its op's first min_inputs inputs are present (bert_infer_outputs saw to it).
 */
#ifndef BERT_GRAPH_OPS_INFER_H
#define BERT_GRAPH_OPS_INFER_H

#include "core/base/error.h"
#include "core/graph/ops/ops.h"

/* ---- Types ---------------------------------------------------------------------------------------------------------
 */

/** A set of element types: BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_INT64). */
typedef uint32_t bert_type_set;
#define BERT_TYPE(dtype) ((bert_type_set)1 << (dtype))
#define BERT_TYPES_FLOAT                                                                                               \
    (BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_DOUBLE) | BERT_TYPE(BERT_FLOAT16) | BERT_TYPE(BERT_BFLOAT16))
#define BERT_TYPES_SIGNED (BERT_TYPE(BERT_INT8) | BERT_TYPE(BERT_INT16) | BERT_TYPE(BERT_INT32) | BERT_TYPE(BERT_INT64))
#define BERT_TYPES_UNSIGNED                                                                                            \
    (BERT_TYPE(BERT_UINT8) | BERT_TYPE(BERT_UINT16) | BERT_TYPE(BERT_UINT32) | BERT_TYPE(BERT_UINT64))
#define BERT_TYPES_INTEGER (BERT_TYPES_SIGNED | BERT_TYPES_UNSIGNED)
#define BERT_TYPES_INDEX (BERT_TYPE(BERT_INT32) | BERT_TYPE(BERT_INT64))
#define BERT_TYPES_NUMERIC (BERT_TYPES_FLOAT | BERT_TYPES_INTEGER)
#define BERT_TYPES_BYTE (BERT_TYPE(BERT_UINT8) | BERT_TYPE(BERT_INT8))
#define BERT_TYPES_BOOL BERT_TYPE(BERT_BOOL)
#define BERT_TYPES_ANY (BERT_TYPES_NUMERIC | BERT_TYPES_BOOL)

/** BERT_INVALID_MODEL unless the input's type is in `allowed`. */
bert_status bert_infer_type(const bert_inference *in, int32_t input, bert_type_set allowed);
/** BERT_INVALID_MODEL unless two inputs have one type. */
bert_status bert_infer_same_type(const bert_inference *in, int32_t first, int32_t second);

/* ---- Inputs --------------------------------------------------------------------------------------------------------
 */

/** NULL when the input is absent. */
const bert_value_info *bert_infer_input(const bert_inference *in, int32_t input);
/** Its type; BERT_DTYPE_UNDEFINED when absent or not known. */
bert_dtype bert_infer_dtype(const bert_inference *in, int32_t input);
/** Its shape; one of rank -1 when absent. */
const bert_shape *bert_infer_shape(const bert_inference *in, int32_t input);
/** BERT_INVALID_MODEL when the input's rank is known and outside [least, most]. */
bert_status bert_infer_rank(const bert_inference *in, int32_t input, int32_t least, int32_t most);
/**
 * The content of an integer or boolean input of at most BERT_MAX_TRACKED_ELEMENTS elements, if it is followed: values
 * may be symbolic. False when it is not known.
 */
bool bert_infer_content(const bert_inference *in, int32_t input, bert_dim values[BERT_MAX_TRACKED_ELEMENTS],
                        int32_t *count);
/** The same when every element is a known number. */
bool bert_infer_numbers(const bert_inference *in, int32_t input, int64_t values[BERT_MAX_TRACKED_ELEMENTS],
                        int32_t *count);

/* ---- Shapes --------------------------------------------------------------------------------------------------------
 */

/** A shape of rank -1. */
bert_shape bert_shape_unknown(void);
/** rank 0; append dimensions with bert_shape_append. */
bert_shape bert_shape_scalar(void);
/** Adds a dimension. BERT_UNSUPPORTED when the rank would pass BERT_MAX_RANK. */
bert_status bert_shape_append(const bert_inference *in, bert_shape *shape, bert_dim dim);
/** Number of elements; fresh where the rank isn't known. */
bert_dim bert_shape_elements(const bert_inference *in, const bert_shape *shape);
/** Product of dimensions [from, to). */
bert_dim bert_shape_product(const bert_inference *in, const bert_shape *shape, int32_t from, int32_t to);

/** Two dimensions that must be one: *out is the better known. `what` names them: "columns of A and rows of B". */
bert_status bert_infer_equal(const bert_inference *in, bert_dim a, bert_dim b, const char *what, bert_dim *out);
/** Two shapes that must be one, dimension by dimension. *out (which may be a or b) is the better known. */
bert_status bert_infer_equal_shapes(const bert_inference *in, const bert_shape *a, const bert_shape *b,
                                    const char *what, bert_shape *out);
/** The shape that a and b broadcast to, as numpy has it. *out may be a or b. */
bert_status bert_infer_broadcast(const bert_inference *in, const bert_shape *a, const bert_shape *b, bert_shape *out);
/** The same over inputs first .. first + count - 1. */
bert_status bert_infer_broadcast_inputs(const bert_inference *in, int32_t first, int32_t count, bert_shape *out);
/** BERT_INVALID_MODEL unless the input broadcasts to `target` without changing it. */
bert_status bert_infer_broadcasts_to(const bert_inference *in, int32_t input, const bert_shape *target);

/**
 * The output of a Linear of any kind: the shape of the rows that are multiplied with the columns of all parts last,
 * which the residual has to have. infer_part checks a part, whose weight has `depth` rows, and gives its columns.
 */
bert_status bert_infer_linear_output(const bert_inference *in, const bert_shape *rows, int64_t parts,
                                     bert_status (*infer_part)(const bert_inference *in, int32_t part, bert_dim depth,
                                                               bert_dim *columns));
/** The shape of MatMul's result, with numpy's rules for vectors and for broadcast batches. */
bert_status bert_infer_product(const bert_inference *in, const bert_shape *a, const bert_shape *b, bert_shape *out);

/** An axis in [-rank, rank) as one in [0, rank). */
bert_status bert_infer_axis(const bert_inference *in, int64_t axis, int32_t rank, int32_t *out);

/** A list of axes, from the attribute "axes" or from an input, whichever the opset has. */
typedef struct bert_axes {
    enum { BERT_AXES_UNKNOWN, BERT_AXES_ABSENT, BERT_AXES_GIVEN } state; /**< Unknown: of an input that isn't known. */
    int32_t count;
    int32_t list[BERT_MAX_RANK]; /**< In [0, rank), in the order given. */
    uint32_t mask;               /**< Bit a: axis a is in the list. */
} bert_axes;
/** `input` -1: the attribute alone. An axis twice is BERT_INVALID_MODEL. */
bert_status bert_infer_axes(const bert_inference *in, int32_t input, int32_t rank, bert_axes *out);

/* ---- Outputs -------------------------------------------------------------------------------------------------------
 */

/** Gives an output (that may be absent) its type and shape; `shape` NULL: not known. */
void bert_infer_give(const bert_inference *in, int32_t output, bert_dtype dtype, const bert_shape *shape);
/** Room for an output's followed content; NULL where it isn't followed (absent, too many, rank over 1, no memory). */
bert_dim *bert_infer_new_elements(const bert_inference *in, int32_t output, int32_t count);
/** Output's content is the input's, element by element in order. */
void bert_infer_copy_elements(const bert_inference *in, int32_t output, int32_t input);

/** One element of a followed result, from one element of each operand. */
typedef bert_dim (*bert_follow_fn)(const bert_inference *in, bert_dim a, bert_dim b);
/**
 * Output 0's content by `follow` over all inputs from left to right, broadcast from one element where need be. For
 * integer and boolean inputs of rank 0 or 1; does nothing where an input isn't followed. Output 0 has its shape.
 */
void bert_infer_follow_binary(const bert_inference *in, bert_follow_fn follow);

/** Output 0 has the type and shape of input 0, whose type is in `allowed`. */
bert_status bert_infer_like_input(const bert_inference *in, bert_type_set allowed);

#define BERT_INFER_INT(in, name, missing) bert_attribute_int((in)->attributes, (in)->attribute_count, (name), (missing))
#define BERT_INFER_STRING(in, name, missing)                                                                           \
    bert_attribute_string((in)->attributes, (in)->attribute_count, (name), (missing))
#define BERT_INFER_INTS(in, name, count_out)                                                                           \
    bert_attribute_ints((in)->attributes, (in)->attribute_count, (name), (count_out))

#endif
