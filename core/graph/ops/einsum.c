/*
 * Einsum, in plain loops over all labels. Labels may have a dimension of 1 in some operands and another size in others,
 * as numpy, PyTorch and ONNX Runtime have it. Ellipses may stand for different numbers of dimensions, as numpy has it:
 * they are broadcast.
 */
#include "core/graph/einsum.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>

/* ---- Inference -----------------------------------------------------------------------------------------------------
 */

/* What is known of an axis: its size where an operand of known rank has it. */
typedef struct axis_sizes {
    bert_dim sizes[BERT_EINSUM_AXES];
    uint64_t known;
    int32_t dots;      /* dimensions of the longest ellipsis */
    bool unknown_dots; /* of an operand of unknown rank */
} axis_sizes;

static bert_status differ(const bert_inference *in, const bert_einsum *e, int32_t axis, bert_dim a, bert_dim b) {
    const char name[2] = {bert_einsum_letter(axis), '\0'};
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "%s of equation \"%s\" is %" PRId64 " in one place and %" PRId64 " in another",
                     axis < BERT_EINSUM_LETTERS ? name : "a dimension of the ellipsis", e->equation, a, b);
}

/* An axis has this size in an operand, too; a size of 1 is repeated. */
static bert_status join_size(const bert_inference *in, const bert_einsum *e, int32_t axis, bert_dim size,
                             axis_sizes *out) {
    const uint64_t bit = UINT64_C(1) << axis;
    const bert_dim known = out->known & bit ? out->sizes[axis] : 1;
    if (bert_dim_known(size) && bert_dim_known(known) && size != known && size != 1 && known != 1)
        return differ(in, e, axis, known, size);
    out->sizes[axis] = bert_dim_broadcast(in->symbols, known, size);
    out->known |= bit;
    return BERT_OK;
}

/* Dimensions of one operand that have one label are of one size: there is no diagonal of others. */
static bert_status check_diagonals(const bert_inference *in, const bert_einsum *e, const bert_shape *shape,
                                   const uint8_t *axes) {
    for (int32_t i = 1; i < shape->rank; i++) {
        for (int32_t j = 0; j < i; j++) {
            const bert_dim a = shape->dims[j], b = shape->dims[i];
            if (axes[i] == axes[j] && bert_dim_known(a) && bert_dim_known(b) && a != b)
                return differ(in, e, axes[i], a, b);
        }
    }
    return BERT_OK;
}

static bert_status join_operand(const bert_inference *in, const bert_einsum *e, int32_t operand, axis_sizes *out) {
    const bert_shape *shape = bert_infer_shape(in, operand);
    const bert_einsum_term term = bert_einsum_operand(e, operand);
    uint8_t axes[BERT_MAX_RANK];
    if (shape->rank < 0) {
        out->unknown_dots = out->unknown_dots || term.ellipsis >= 0;
        return BERT_OK;
    }
    if (!bert_einsum_dimensions(&term, shape->rank, axes)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "equation \"%s\" has %" PRId32 " labels for input %" PRId32 " of %" PRId32 " dimensions",
                         e->equation, term.count, operand, shape->rank);
    }
    if (shape->rank - term.count > out->dots) out->dots = shape->rank - term.count;
    BERT_TRY(check_diagonals(in, e, shape, axes));
    for (int32_t i = 0; i < shape->rank; i++) BERT_TRY(join_size(in, e, axes[i], shape->dims[i], out));
    return BERT_OK;
}

bert_status bert_infer_einsum(const bert_inference *in) {
    const char *equation = BERT_INFER_STRING(in, "equation", "");
    bert_einsum e;
    const char *wrong = bert_einsum_parse(equation, &e);
    if (wrong) return bert_fail(in->error, BERT_INVALID_MODEL, "equation \"%s\" %s", equation, wrong);
    if (e.operands != in->input_count) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "equation \"%s\" is of %" PRId32 " operands, and there are %" PRId32, equation, e.operands,
                         in->input_count);
    }
    axis_sizes sizes = {.dots = 0};
    for (int32_t i = 0; i < in->input_count; i++) {
        BERT_TRY(bert_infer_type(in, i, BERT_TYPES_NUMERIC));
        BERT_TRY(bert_infer_same_type(in, 0, i));
        BERT_TRY(join_operand(in, &e, i, &sizes));
    }
    const int32_t rank = e.output.count + sizes.dots;
    uint8_t axes[BERT_MAX_RANK];
    bert_shape shape = bert_shape_scalar();
    if (sizes.unknown_dots) {
        bert_infer_give(in, 0, bert_infer_dtype(in, 0), NULL);
        return BERT_OK;
    }
    if (!bert_einsum_dimensions(&e.output, rank, axes)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "equation \"%s\" gives a tensor of more than %d dimensions",
                         equation, BERT_MAX_RANK);
    }
    for (int32_t i = 0; i < rank; i++) {
        const bool known = sizes.known >> axes[i] & 1;
        BERT_TRY(bert_shape_append(in, &shape, known ? sizes.sizes[axes[i]] : bert_dim_fresh(in->symbols)));
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

/* ---- Reference -----------------------------------------------------------------------------------------------------
 */

/* Steps through all axes, the last one fastest. An operand has a row of `places`: where it is, then its strides. */
typedef struct walk {
    bert_einsum_loops loops;
    int64_t index[BERT_EINSUM_AXES];
    int64_t (*places)[1 + BERT_EINSUM_AXES];
    int32_t operands;
} walk;

static void step(walk *w) {
    for (int32_t axis = w->loops.outer + w->loops.inner - 1; axis >= 0; axis--) {
        const bool carry = ++w->index[axis] == w->loops.sizes[axis];
        for (int32_t i = 0; i < w->operands; i++) {
            const int64_t stride = w->places[i][1 + axis];
            w->places[i][0] += carry ? -(w->loops.sizes[axis] - 1) * stride : stride;
        }
        if (!carry) return;
        w->index[axis] = 0;
    }
}

static double sum_of_floats(walk *w, const bert_tensor *inputs, int64_t count) {
    double sum = 0;
    for (int64_t n = 0; n < count; n++) {
        double product = 1;
        for (int32_t i = 0; i < w->operands; i++) product *= bert_load(&inputs[i], w->places[i][0]);
        sum += product;
        step(w);
    }
    return sum;
}

static uint64_t sum_of_integers(walk *w, const bert_tensor *inputs, int64_t count) {
    uint64_t sum = 0;
    for (int64_t n = 0; n < count; n++) {
        uint64_t product = 1;
        for (int32_t i = 0; i < w->operands; i++) {
            product *= (uint64_t)bert_load_integer(&inputs[i], w->places[i][0]);
        }
        sum += product;
        step(w);
    }
    return sum;
}

bert_status bert_reference_einsum(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    bert_einsum e;
    bert_einsum_parse(BERT_CALL_STRING(call, "equation", ""), &e);
    walk w = {.loops = bert_einsum_loops_over(&e, call->inputs, y->rank),
              .places = call->workspace,
              .operands = call->input_count};
    for (int32_t i = 0; i < w.operands; i++) {
        w.places[i][0] = 0;
        bert_einsum_strides(&e, &w.loops, i, &call->inputs[i], &w.places[i][1]);
    }
    int64_t count = 1;
    for (int32_t i = 0; i < w.loops.inner; i++) {
        if (__builtin_mul_overflow(count, w.loops.sizes[w.loops.outer + i], &count))
            return bert_fail(call->error, BERT_UNSUPPORTED, "equation \"%s\" sums more than can be counted",
                             e.equation);
    }
    const int64_t elements = bert_tensor_elements(y);
    for (int64_t at = 0; at < elements; at++) {
        if (bert_dtype_is_float(y->dtype)) {
            bert_store(y, at, sum_of_floats(&w, call->inputs, count));
        } else {
            bert_store_integer(y, at, (bert_integer)sum_of_integers(&w, call->inputs, count));
        }
    }
    return BERT_OK;
}

size_t bert_workspace_einsum(const bert_op_node *node) {
    return (size_t)node->input_count * sizeof(int64_t[1 + BERT_EINSUM_AXES]);
}
