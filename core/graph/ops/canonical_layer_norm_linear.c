/* The canonical LayerNormLinear (core/graph/canonical.h): Linear over rows that it normalizes itself, by moments. */
#include "core/graph/canonical.h"
#include "core/graph/ops/canonical_linear.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <math.h>

/* How an operand is normalized: inputs that it takes for that, and what they are called. */
typedef struct norm_inputs {
    int32_t operand, moments, gamma, beta;
    const char *name, *epsilon;
} norm_inputs;

static const norm_inputs norm_of_x = {
    BERT_LINEAR_X, BERT_LAYER_NORM_LINEAR_X_MOMENTS, BERT_LAYER_NORM_LINEAR_X_GAMMA, BERT_LAYER_NORM_LINEAR_X_BETA, "x",
    "x_epsilon"};
static const norm_inputs norm_of_residual = {BERT_LINEAR_RESIDUAL,
                                             BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS,
                                             BERT_LAYER_NORM_LINEAR_RESIDUAL_GAMMA,
                                             BERT_LAYER_NORM_LINEAR_RESIDUAL_BETA,
                                             "residual",
                                             "residual_epsilon"};

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Moments of rows of this shape. */
static bert_status infer_moments(const bert_inference *in, const bert_shape *rows, bert_shape *out) {
    *out = *rows;
    if (rows->rank < 1) return BERT_OK;
    bert_dim *last = &out->dims[rows->rank - 1];
    const bool known = bert_dim_known(*last);
    *last = known ? bert_dim_of(BERT_MOMENTS_OF_ROW(*last)) : bert_dim_fresh(in->symbols);
    return bert_shape_append(in, out, bert_dim_of(2));
}

/* gamma or beta. */
static bert_status infer_factor(const bert_inference *in, int32_t input, const bert_shape *operand) {
    BERT_TRY(bert_infer_same_type(in, BERT_LINEAR_X, input));
    BERT_TRY(bert_infer_rank(in, input, 1, 1));
    const bert_shape *factor = bert_infer_shape(in, input);
    if (factor->rank < 0 || operand->rank < 1) return BERT_OK;
    return bert_infer_equal(in, factor->dims[0], operand->dims[operand->rank - 1],
                            "the elements of gamma or beta and the last dimension of what they scale", NULL);
}

static bert_status infer_norm(const bert_inference *in, const norm_inputs *norm) {
    const bool moments = bert_infer_input(in, norm->moments) != NULL, gamma = bert_infer_input(in, norm->gamma) != NULL;
    const bert_shape *operand = bert_infer_shape(in, norm->operand);
    const bool epsilon =
        bert_attribute_of_kind(in->attributes, in->attribute_count, norm->epsilon, BERT_ATTRIBUTE_FLOAT) != NULL;
    if (moments != gamma || moments != epsilon || (bert_infer_input(in, norm->beta) && !gamma)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "%s has moments, gamma and %s together or not at all, and beta beside them alone", norm->name,
                         norm->epsilon);
    }
    if (!moments) return BERT_OK;
    if (!bert_infer_input(in, norm->operand)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "there are moments of %s, and no %s", norm->name, norm->name);
    }
    BERT_TRY(bert_infer_type(in, norm->moments, BERT_TYPE(BERT_FLOAT)));
    BERT_TRY(infer_factor(in, norm->gamma, operand));
    BERT_TRY(infer_factor(in, norm->beta, operand));
    bert_shape expected;
    BERT_TRY(infer_moments(in, operand, &expected));
    return bert_infer_equal_shapes(in, bert_infer_shape(in, norm->moments), &expected,
                                   "moments and those of the rows that they belong to", NULL);
}

bert_status bert_infer_layer_norm_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_linear(in));
    BERT_TRY(infer_norm(in, &norm_of_x));
    BERT_TRY(infer_norm(in, &norm_of_residual));
    if (in->output_count < 2 || !in->outputs[1]) return BERT_OK;
    bert_shape moments = bert_shape_unknown();
    if (in->outputs[0]) BERT_TRY(infer_moments(in, &in->outputs[0]->shape, &moments));
    bert_infer_give(in, 1, BERT_FLOAT, &moments);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

static int64_t columns_of_moment(int64_t moment, int64_t width) {
    const int64_t left = width - moment * BERT_MOMENT_COLUMNS;
    return left < BERT_MOMENT_COLUMNS ? left : BERT_MOMENT_COLUMNS;
}

/* Mean and sum of squared distances of a row, from those of its moments, one after the other. */
static void combine(const bert_tensor *moments, int64_t row, int64_t width, double *mean, double *squares) {
    const int64_t count = BERT_MOMENTS_OF_ROW(width);
    double columns = 0;
    *mean = *squares = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = 2 * (row * count + i);
        const double more = (double)columns_of_moment(i, width), distance = bert_load(moments, at) - *mean;
        *squares += bert_load(moments, at + 1) + distance * distance * columns * more / (columns + more);
        *mean += distance * more / (columns + more);
        columns += more;
    }
}

/* The operand as the product takes it: itself (NULL where there is none), or its normalized rows, for which *memory has
 * room. */
static const bert_tensor *normalized(const bert_reference_call *call, const norm_inputs *norm, double **memory,
                                     bert_tensor *out) {
    const bert_tensor *operand = bert_call_input(call, norm->operand), *moments = bert_call_input(call, norm->moments);
    const bert_tensor *gamma = bert_call_input(call, norm->gamma), *beta = bert_call_input(call, norm->beta);
    if (!moments) return operand;
    const int64_t width = operand->dims[operand->rank - 1], elements = bert_tensor_elements(operand);
    const double epsilon = BERT_CALL_FLOAT(call, norm->epsilon, 0);
    double mean = 0, inverse_deviation = 0;
    for (int64_t i = 0; i < elements; i++) {
        const int64_t column = i % width;
        if (column == 0) {
            double squares;
            combine(moments, i / width, width, &mean, &squares);
            inverse_deviation = 1 / sqrt(squares / (double)width + epsilon);
        }
        const double value = (bert_load(operand, i) - mean) * inverse_deviation * bert_load(gamma, column);
        (*memory)[i] = value + (beta ? bert_load(beta, column) : 0);
    }
    *out = *operand;
    out->dtype = BERT_DOUBLE;
    out->data = *memory;
    *memory += elements;
    return out;
}

/* Of y as it was stored. */
static void give_moments(const bert_tensor *y, const bert_tensor *moments) {
    const int64_t width = y->dims[y->rank - 1], rows = bert_dims_product(y, 0, y->rank - 1),
                  count = BERT_MOMENTS_OF_ROW(width);
    for (int64_t i = 0; i < rows * count; i++) {
        const int64_t first = i / count * width + i % count * BERT_MOMENT_COLUMNS;
        const int64_t columns = columns_of_moment(i % count, width);
        double mean = 0, squares = 0;
        for (int64_t column = 0; column < columns; column++) mean += bert_load(y, first + column);
        mean /= (double)columns;
        for (int64_t column = 0; column < columns; column++) {
            const double distance = bert_load(y, first + column) - mean;
            squares += distance * distance;
        }
        bert_store(moments, 2 * i, mean);
        bert_store(moments, 2 * i + 1, squares);
    }
}

bert_status bert_reference_layer_norm_linear(const bert_reference_call *call) {
    bert_tensor memory_of_x, memory_of_residual;
    double *memory = call->workspace;
    const bert_tensor *x = normalized(call, &norm_of_x, &memory, &memory_of_x);
    const bert_tensor *residual = normalized(call, &norm_of_residual, &memory, &memory_of_residual);
    bert_linear_product(call, x, residual, memory);
    const bert_tensor *moments = bert_call_output(call, 1);
    if (moments) give_moments(&call->outputs[0], moments);
    return BERT_OK;
}

/* Normalized rows, and Linear's own. */
size_t bert_workspace_layer_norm_linear(const bert_op_node *node) {
    const norm_inputs *const norms[] = {&norm_of_x, &norm_of_residual};
    size_t bytes = bert_workspace_linear(node);
    for (int i = 0; i < 2; i++) {
        size_t more = 0;
        if (norms[i]->moments >= node->input_count || !node->inputs[norms[i]->moments].dtype) continue;
        const bert_tensor_desc *operand = &node->inputs[norms[i]->operand];
        if (!bert_size_product(sizeof(double), operand->dims, operand->rank, &more) ||
            !bert_size_add(bytes, more, &bytes))
            return SIZE_MAX;
    }
    return bytes;
}
