/* Elements from one place to another: Transpose, Slice, Split, Concat, Expand, Pad, Tile, and copies. */
#include "cuda/ops/move.h"
#include "cuda/plan/plan.h"

#include <string.h>

static bert_status move(const bert_cuda_call *call, const bert_cuda_move_args *args) {
    return bert_cuda_launched(call, bert_cuda_move(args, call->context->stream), "move");
}

/* Elements of `from` that stand at the same index of `to`, by their strides, in the box of a shape. */
static bert_cuda_move_args between(const bert_tensor *from, const bert_tensor *to, const bert_tensor *box) {
    bert_cuda_move_args args = {.element_bytes = (int32_t)bert_cuda_dtype_size(to->dtype),
                                .rank = box->rank,
                                .from = from->data,
                                .to = to->data};
    memcpy(args.dims, box->dims, sizeof args.dims);
    bert_cuda_dense_strides(from->rank, from->dims, args.from_strides);
    bert_cuda_dense_strides(to->rank, to->dims, args.to_strides);
    return args;
}

static const void *offset_by(const void *data, int64_t elements, int32_t element_bytes) {
    return (const char *)data + elements * element_bytes;
}

/* ---- Copies and Transpose ---------------------------------------------------------------------------------------- */

bert_status bert_cuda_run_copy(const bert_cuda_call *call) {
    const bert_cuda_move_args args = between(&call->inputs[0], &call->outputs[0], &call->outputs[0]);
    return move(call, &args);
}

bert_status bert_cuda_run_transpose(const bert_cuda_call *call) {
    const bert_tensor *from = &call->inputs[0], *to = &call->outputs[0];
    size_t count;
    const int64_t *permutation = BERT_NODE_INTS(&call->node->node, "perm", &count);
    bert_cuda_move_args args = between(from, to, to);
    int64_t strides[BERT_MAX_RANK];
    bert_cuda_dense_strides(from->rank, from->dims, strides);
    for (int32_t i = 0; i < to->rank; i++)
        args.from_strides[i] = strides[permutation ? bert_cuda_axis(permutation[i], from->rank) : from->rank - 1 - i];
    return move(call, &args);
}

bert_status bert_cuda_run_expand(const bert_cuda_call *call) {
    const bert_tensor *from = &call->inputs[0], *to = &call->outputs[0];
    bert_cuda_move_args args = between(from, to, to);
    int64_t strides[BERT_MAX_RANK];
    bert_cuda_dense_strides(from->rank, from->dims, strides);
    for (int32_t i = 0; i < to->rank; i++) {
        const int32_t axis = i - (to->rank - from->rank);
        args.from_strides[i] = axis < 0 || from->dims[axis] == 1 ? 0 : strides[axis];
    }
    return move(call, &args);
}

/* ---- Slice, Split, Concat ---------------------------------------------------------------------------------------- */

/* Element i of a list of Slice, from an input (opset 10 and later) or an attribute. */
static int64_t slice_argument(const bert_cuda_call *call, int32_t input, const char *attribute, int64_t i,
                              int64_t missing) {
    if (call->node->node.opset >= 10) {
        const bert_constant *list = call->node->known[input];
        return list ? bert_cuda_constant_int(list, i) : missing;
    }
    size_t count = 0;
    const int64_t *values = attribute ? BERT_NODE_INTS(&call->node->node, attribute, &count) : NULL;
    return values ? values[i] : missing;
}

/* Where numpy's start:end:step begins. */
static int64_t first_of(int64_t dim, int64_t start, int64_t step) {
    const int64_t least = 0, most = step > 0 ? dim : dim - 1;
    if (start < 0) start += dim;
    return start < least ? least : start > most ? most : start;
}

bert_status bert_cuda_run_slice(const bert_cuda_call *call) {
    const bert_tensor *from = &call->inputs[0], *to = &call->outputs[0];
    bert_cuda_move_args args = between(from, to, to);
    size_t listed = 0;
    BERT_NODE_INTS(&call->node->node, "starts", &listed);
    const int64_t count =
        call->node->node.opset >= 10 ? bert_cuda_constant_count(call->node->known[1]) : (int64_t)listed;
    int64_t start = 0;
    if (bert_cuda_elements(to) == 0) return BERT_OK;
    for (int64_t i = 0; i < count; i++) {
        const int32_t axis = bert_cuda_axis(slice_argument(call, 3, "axes", i, i), from->rank);
        const int64_t step = slice_argument(call, 4, NULL, i, 1);
        start += first_of(from->dims[axis], slice_argument(call, 1, "starts", i, 0), step) * args.from_strides[axis];
        args.from_strides[axis] = to->dims[axis] > 1 ? args.from_strides[axis] * step : 0;
    }
    args.from = offset_by(from->data, start, args.element_bytes);
    return move(call, &args);
}

/* Elements of a part along the axis: outputs that nobody reads have no shape, and take their part all the same. */
static int64_t part_size(const bert_cuda_call *call, int32_t part, int64_t length) {
    const bert_constant *list = call->node->known[1];
    if (list) return bert_cuda_constant_int(list, part);
    size_t count = 0;
    const int64_t *sizes = BERT_NODE_INTS(&call->node->node, "split", &count), parts = call->node->node.output_count;
    return sizes ? sizes[part] : (length + parts - 1) / parts;
}

bert_status bert_cuda_run_split(const bert_cuda_call *call) {
    const bert_tensor *from = &call->inputs[0];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), from->rank);
    int64_t first = 0;
    for (int32_t i = 0; i < call->node->node.output_count; i++) {
        const bert_tensor *to = &call->outputs[i];
        if (to->dtype != BERT_DTYPE_UNDEFINED) {
            bert_cuda_move_args args = between(from, to, to);
            args.from = offset_by(from->data, first * args.from_strides[axis], args.element_bytes);
            BERT_CUDA_TRY(move(call, &args));
        }
        first += part_size(call, i, from->dims[axis]);
    }
    return BERT_OK;
}

bert_status bert_cuda_run_concat(const bert_cuda_call *call) {
    const bert_tensor *to = &call->outputs[0];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), to->rank);
    int64_t first = 0;
    for (int32_t i = 0; i < call->node->node.input_count; i++) {
        const bert_tensor *from = &call->inputs[i];
        bert_cuda_move_args args = between(from, to, from);
        args.to = (char *)to->data + first * args.to_strides[axis] * args.element_bytes;
        BERT_CUDA_TRY(move(call, &args));
        first += from->dims[axis];
    }
    return BERT_OK;
}

/* ---- Pad, Tile, ConstantOfShape ---------------------------------------------------------------------------------- */

static bert_status pad(const bert_cuda_call *call, const bert_cuda_pad_args *args) {
    return bert_cuda_launched(call, bert_cuda_pad(args, call->context->stream), "pad");
}

static bert_cuda_pad_args pad_to(const bert_cuda_call *call) {
    const bert_tensor *to = &call->outputs[0];
    bert_cuda_pad_args args = {
        .element_bytes = (int32_t)bert_cuda_dtype_size(to->dtype), .rank = to->rank, .to = to->data};
    memcpy(args.dims, to->dims, sizeof args.dims);
    return args;
}

static void pad_from(bert_cuda_pad_args *args, const bert_tensor *from) {
    args->from = from->data;
    memcpy(args->size, from->dims, sizeof args->size);
    bert_cuda_dense_strides(from->rank, from->dims, args->strides);
}

static bert_cuda_pad_mode mode_of(const bert_op_node *node) {
    static const char *const names[] = {[BERT_CUDA_PAD_CONSTANT] = "constant",
                                        [BERT_CUDA_PAD_EDGE] = "edge",
                                        [BERT_CUDA_PAD_REFLECT] = "reflect",
                                        [BERT_CUDA_PAD_WRAP] = "wrap"};
    const char *name = BERT_NODE_STRING(node, "mode", "constant");
    for (int i = 0; i < 4; i++)
        if (strcmp(names[i], name) == 0) return (bert_cuda_pad_mode)i;
    return BERT_CUDA_PAD_CONSTANT;
}

/* Amounts less than 0 take elements away. */
static void set_amounts(const bert_cuda_call *call, bert_cuda_pad_args *args) {
    size_t listed = 0;
    const int64_t *attribute = BERT_NODE_INTS(&call->node->node, "pads", &listed);
    const bert_constant *input = call->node->node.opset >= 11 ? call->node->known[1] : NULL;
    const bert_constant *axes = call->node->known[3];
    const int64_t count = (input ? bert_cuda_constant_count(input) : (int64_t)listed) / 2;
    for (int64_t i = 0; i < count; i++) {
        const int64_t before = input ? bert_cuda_constant_int(input, i) : attribute[i];
        const int64_t after = input ? bert_cuda_constant_int(input, i + count) : attribute[i + count];
        const int32_t axis = bert_cuda_axis(axes ? bert_cuda_constant_int(axes, i) : i, args->rank);
        args->before[axis] = before > 0 ? before : 0;
        args->first[axis] = before < 0 ? -before : 0;
        args->size[axis] -= args->first[axis] + (after < 0 ? -after : 0);
        if (args->size[axis] < 0) args->size[axis] = 0;
    }
}

bert_status bert_cuda_run_pad(const bert_cuda_call *call) {
    bert_cuda_pad_args args = pad_to(call);
    pad_from(&args, &call->inputs[0]);
    set_amounts(call, &args);
    args.mode = mode_of(&call->node->node);
    args.fill = bert_cuda_input_data(call, 2);
    const float value = call->node->node.opset < 11 ? BERT_NODE_FLOAT(&call->node->node, "value", 0) : 0;
    if (!args.fill && value != 0) bert_cuda_encode_float(call->outputs[0].dtype, value, &args.fill_bits);
    return pad(call, &args);
}

bert_status bert_cuda_plan_pad(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bool value = node->opset < 11 && BERT_NODE_FLOAT(node, "value", 0) != 0;
    if (value && node->inputs[0].dtype != BERT_DOUBLE && !bert_cuda_is_float(node, 0))
        return bert_cuda_leave(planner, "fills with 0 or with floats");
    return BERT_OK;
}

/* Nothing is dropped: a copy, and a mask of ones. */
bert_status bert_cuda_run_dropout(const bert_cuda_call *call) {
    bert_cuda_pad_args args = {.element_bytes = 1, .rank = 1, .to = bert_cuda_output_data(call, 1), .fill_bits = 1};
    args.dims[0] = bert_cuda_elements(&call->inputs[0]);
    BERT_CUDA_TRY(bert_cuda_run_copy(call));
    return args.to ? pad(call, &args) : BERT_OK;
}

bert_status bert_cuda_run_tile(const bert_cuda_call *call) {
    bert_cuda_pad_args args = pad_to(call);
    pad_from(&args, &call->inputs[0]);
    args.mode = BERT_CUDA_PAD_WRAP;
    return pad(call, &args);
}

bert_status bert_cuda_run_constant_of_shape(const bert_cuda_call *call) {
    const bert_constant *value = BERT_NODE_TENSOR(&call->node->node, "value");
    bert_cuda_pad_args args = pad_to(call);
    if (args.rank == 0) { /* one element: a row of one */
        args.rank = 1;
        args.dims[0] = 1;
    }
    if (value) bert_cuda_encode(call->outputs[0].dtype, value->dtype, &args.fill_bits, value->data, 1);
    return pad(call, &args);
}
