/*
 * LayerNorm step by step: sum, mean, difference, deviation, scale. Each step is a pass over the tensor, where the
 * kernel has one for all; what comes here is rare (a model in double, float32 parameters of a 16-bit tensor, a skip
 * that all sequences share), and is computed as the reference implementation has it, in double or float32. Inputs that
 * are constants of float32 stay so in sessions of 16 bits; with bf16, y and the sum of what is computed in float32 are
 * given in halves.
 */
#include "cuda/plan/composed_norm.h"

#include "cuda/ops/reduce.h"

#include <string.h>

/* An input of the node, and its place among these. */
typedef struct operand {
    const bert_tensor *tensor; /* NULL: absent */
    int32_t place;
} operand;

/* What is normalized, from dimensions alone. */
typedef struct normalization {
    operand x, skip, bias, gamma, beta;
    int32_t sum, mean, deviation; /* places of outputs beside y, which is 0; -1: the operator has none */
    int32_t axis;
    bool simplified;
    float epsilon;
    bert_dtype type; /* in which it is computed */
} normalization;

/* On the device, in that type: 1 / the elements that are normalized together, and epsilon. */
typedef struct own_constants {
    double inverse, epsilon;
} own_constants;

static int64_t rows_of(const normalization *n) {
    return bert_cuda_count(n->x.tensor->dims, 0, n->axis);
}

/* ---- Operators --------------------------------------------------------------------------------------------------- */

bert_cuda_skip_form bert_cuda_skip_form_of(const bert_op_node *node, int32_t code) {
    if (code == 0) return (bert_cuda_skip_form){3, 4, 1, BERT_NODE_INT(node, "simplified", 0) != 0};
    return code == 1 ? (bert_cuda_skip_form){3, 4, 3, false} : (bert_cuda_skip_form){-1, 3, 3, true};
}

static operand input_at(const bert_cuda_operands *o, int32_t place) {
    return (operand){bert_cuda_operand_at(o->inputs, place), place};
}

static void choose_type(normalization *n) {
    const bert_tensor *inputs[] = {n->x.tensor, n->skip.tensor, n->bias.tensor, n->gamma.tensor, n->beta.tensor};
    n->type = BERT_FLOAT;
    for (int i = 0; i < 5; i++)
        if (inputs[i] && inputs[i]->dtype == BERT_DOUBLE) n->type = BERT_DOUBLE;
}

static normalization describe_layer_norm(const bert_op_node *node, int32_t code, const bert_cuda_operands *o) {
    const bool simplified = code != 0;
    normalization n = {.x = input_at(o, 0),
                       .gamma = input_at(o, 1),
                       .beta = input_at(o, 2),
                       .sum = -1,
                       .mean = simplified ? -1 : 1,
                       .deviation = simplified ? 1 : 2,
                       .axis = bert_cuda_axis(BERT_NODE_INT(node, "axis", -1), o->inputs[0].rank),
                       .simplified = simplified,
                       .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-5F)};
    choose_type(&n);
    return n;
}

static normalization describe_skip(const bert_op_node *node, int32_t code, const bert_cuda_operands *o) {
    const bert_cuda_skip_form form = bert_cuda_skip_form_of(node, code);
    normalization n = {.x = input_at(o, 0),
                       .skip = input_at(o, 1),
                       .bias = input_at(o, form.bias),
                       .gamma = input_at(o, 2),
                       .beta = input_at(o, form.beta),
                       .sum = form.sum,
                       .mean = -1,
                       .deviation = -1,
                       .axis = o->inputs[0].rank - 1,
                       .simplified = form.simplified,
                       .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-12F)};
    choose_type(&n);
    return n;
}

/* ---- Workspace --------------------------------------------------------------------------------------------------- */

/* An operand that is not of the type becomes it first. */
static int64_t converted(const normalization *n, const bert_tensor *tensor) {
    return tensor && tensor->dtype != n->type ? bert_cuda_elements(tensor) : 0;
}

enum { VALUES, MEANS, DEVIATIONS, SKIP, BIAS, GAMMA, BETA, PIECES };

static void count_pieces(const normalization *n, int64_t counts[PIECES]) {
    const int64_t all[PIECES] = {[VALUES] = bert_cuda_elements(n->x.tensor),
                                 [MEANS] = rows_of(n),
                                 [DEVIATIONS] = rows_of(n),
                                 [SKIP] = converted(n, n->skip.tensor),
                                 [BIAS] = converted(n, n->bias.tensor),
                                 [GAMMA] = converted(n, n->gamma.tensor),
                                 [BETA] = converted(n, n->beta.tensor)};
    memcpy(counts, all, sizeof all);
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static bert_status take(const bert_cuda_call *call, operand from, const bert_tensor *to) {
    return bert_cuda_spread_halves(call, from.tensor, bert_cuda_lower_halves(call, from.place), to, NULL);
}

/* values = op(values, operand), which is made of their type in `piece` where it isn't. */
static bert_status apply(const bert_cuda_call *call, bert_cuda_elementwise_op op, const bert_tensor *values, operand of,
                         void *piece) {
    if (!of.tensor) return BERT_OK;
    bert_tensor own = *of.tensor;
    if (own.dtype != values->dtype) {
        own.dtype = values->dtype;
        own.data = piece;
        BERT_CUDA_TRY(take(call, of, &own));
    }
    return bert_cuda_combine(call, op, values, &own, values);
}

static bert_status reduce(const bert_cuda_call *call, bert_cuda_reduction reduction, const bert_tensor *x, int32_t axis,
                          void *y) {
    bert_cuda_reduce_args args = {.reduction = reduction, .dtype = x->dtype, .rank = x->rank, .x = x->data, .y = y};
    memcpy(args.dims, x->dims, sizeof args.dims);
    for (int32_t i = axis; i < x->rank; i++) args.axes |= UINT32_C(1) << i;
    return bert_cuda_launched(call, bert_cuda_reduce(&args, call->context->stream), "reduce");
}

/* 1 / sqrt(mean of squares + epsilon) of each row, in `rows`. */
static bert_status find_deviations(const bert_cuda_call *call, const bert_tensor *values, int32_t axis,
                                   const bert_tensor *rows) {
    const own_constants *own = call->node->own;
    const bert_tensor inverse = {.dtype = values->dtype, .data = (void *)&own->inverse};
    const bert_tensor epsilon = {.dtype = values->dtype, .data = (void *)&own->epsilon};
    BERT_CUDA_TRY(reduce(call, BERT_CUDA_REDUCE_SUM_SQUARE, values, axis, rows->data));
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_MUL, rows, &inverse, rows));
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_ADD, rows, &epsilon, rows));
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_SQRT, rows, NULL, rows));
    return bert_cuda_combine(call, BERT_CUDA_RECIPROCAL, rows, NULL, rows);
}

static bert_status run(const bert_cuda_call *call, const normalization *n) {
    int64_t counts[PIECES];
    void *workspace = call->workspace, *pieces[PIECES];
    count_pieces(n, counts);
    for (int i = 0; i < PIECES; i++) pieces[i] = bert_cuda_take(&workspace, counts[i], bert_cuda_dtype_size(n->type));
    if (counts[VALUES] == 0) return BERT_OK;
    bert_tensor values = *n->x.tensor, rows = *n->x.tensor;
    values.dtype = rows.dtype = n->type;
    values.data = pieces[VALUES];
    for (int32_t i = n->axis; i < rows.rank; i++) rows.dims[i] = 1;
    BERT_CUDA_TRY(take(call, n->x, &values));
    BERT_CUDA_TRY(apply(call, BERT_CUDA_ADD, &values, n->skip, pieces[SKIP]));
    BERT_CUDA_TRY(apply(call, BERT_CUDA_ADD, &values, n->bias, pieces[BIAS]));
    BERT_CUDA_TRY(bert_cuda_give(call, &values, n->sum));
    if (!n->simplified) {
        rows.data = pieces[MEANS];
        BERT_CUDA_TRY(reduce(call, BERT_CUDA_REDUCE_MEAN, &values, n->axis, rows.data));
        BERT_CUDA_TRY(bert_cuda_give(call, &rows, n->mean));
        BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_SUB, &values, &rows, &values));
    }
    rows.data = pieces[DEVIATIONS];
    BERT_CUDA_TRY(find_deviations(call, &values, n->axis, &rows));
    BERT_CUDA_TRY(bert_cuda_give(call, &rows, n->deviation));
    BERT_CUDA_TRY(bert_cuda_combine(call, BERT_CUDA_MUL, &values, &rows, &values));
    BERT_CUDA_TRY(apply(call, BERT_CUDA_MUL, &values, n->gamma, pieces[GAMMA]));
    BERT_CUDA_TRY(apply(call, BERT_CUDA_ADD, &values, n->beta, pieces[BETA]));
    return bert_cuda_give(call, &values, 0);
}

static bert_status run_layer_norm(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const normalization n = describe_layer_norm(&call->node->node, call->node->op->code, &operands);
    return run(call, &n);
}

static bert_status run_skip(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const normalization n = describe_skip(&call->node->node, call->node->op->code, &operands);
    return run(call, &n);
}

/* ---- Planning ---------------------------------------------------------------------------------------------------- */

/* By the codes of the rows that come here. */
static const bert_cuda_op layer_norms[] = {{.run = run_layer_norm, .kernel = "composed_norm/cuda", .code = 0},
                                           {.run = run_layer_norm, .kernel = "composed_norm/cuda", .code = 1}};
static const bert_cuda_op skips_of[] = {{.run = run_skip, .kernel = "composed_norm/cuda", .code = 0},
                                        {.run = run_skip, .kernel = "composed_norm/cuda", .code = 1},
                                        {.run = run_skip, .kernel = "composed_norm/cuda", .code = 2}};

static bert_status reserve(const bert_cuda_planner *planner, const normalization *n) {
    int64_t counts[PIECES];
    own_constants own = {0};
    const int64_t width = bert_cuda_count(n->x.tensor->dims, n->axis, n->x.tensor->rank);
    count_pieces(n, counts);
    for (int i = 0; i < PIECES; i++)
        BERT_CUDA_TRY(bert_cuda_reserve(planner, counts[i], bert_cuda_dtype_size(n->type)));
    own.inverse = width ? 1 / (double)width : 0;
    own.epsilon = (double)n->epsilon;
    if (n->type == BERT_FLOAT) {
        const float inverse = (float)own.inverse;
        memcpy(&own.inverse, &inverse, sizeof inverse);
        memcpy(&own.epsilon, &n->epsilon, sizeof n->epsilon);
    }
    return bert_cuda_own(planner, &own, sizeof own);
}

bert_status bert_cuda_plan_composed_norm(const bert_cuda_planner *planner, bool skips) {
    const bert_op_node *node = planner->node;
    const int32_t code = planner->state->op->code;
    bool in_float = true;
    for (int32_t i = 0; i < node->input_count; i++) {
        const bool is_double = bert_cuda_node_has(node, i) && node->inputs[i].dtype == BERT_DOUBLE;
        if (bert_cuda_node_has(node, i) && !bert_cuda_is_float(node, i) && !is_double)
            return bert_cuda_leave(planner, "has no kernel for this type");
        in_float = in_float && !is_double;
        BERT_CUDA_TRY(bert_cuda_keep_floats(planner, i));
    }
    /* No kernel makes halves of doubles. */
    if (in_float) bert_cuda_give_wide(planner, 0);
    if (in_float && skips) bert_cuda_give_wide(planner, bert_cuda_skip_form_of(node, code).sum);
    planner->state->op = skips ? &skips_of[code] : &layer_norms[code];
    planner->out->kernel = planner->state->op->kernel;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const normalization n = skips ? describe_skip(node, code, &operands) : describe_layer_norm(node, code, &operands);
    return reserve(planner, &n);
}
