/* Canonical Attention. Where it rotates heads, Q and K are rotated into the workspace first: the attention kernel reads
 * K once for every few queries, and would rotate it as often. */
#include "core/graph/canonical.h"
#include "cuda/ops/rotary.h"
#include "cuda/plan/attend.h"

#include <math.h>
#include <string.h>

/* Of y, or of Q or K as they are rotated. */
static int64_t row_elements(const int64_t y_dims[3]) {
    return bert_cuda_times(bert_cuda_times(y_dims[0], y_dims[1]), y_dims[2]);
}

bert_status bert_cuda_plan_attention(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, BERT_ATTENTION_Q));
    const int64_t heads = BERT_NODE_INT(node, "heads", 1);
    if (planner->mode != BERT_PLAN_BIND || heads <= 0) return BERT_OK;
    const bert_tensor_desc *y = &node->outputs[0];
    planner->out->y_ranges = (int32_t)bert_cuda_attention_ranges(heads, y->dims[2] / heads);
    if (!bert_cuda_node_has(node, BERT_ATTENTION_COSINES)) return BERT_OK;
    const size_t size = bert_cuda_dtype_size(bert_cuda_stored(planner->prepared, y->dtype));
    for (int part = 0; part < 2; part++) BERT_CUDA_TRY(bert_cuda_reserve(planner, row_elements(y->dims), size));
    return BERT_OK;
}

/* From there on Q and K, which lie alike, are what the workspace has. With `tokens` the angles are those of the padded
 * batch; they may be those of one sequence alone, for all. */
static bert_status rotate(const bert_cuda_call *call, bert_cuda_attention_args *args) {
    const bert_tensor *y = &call->outputs[0], *cosines = bert_cuda_input(call, BERT_ATTENTION_COSINES);
    if (!cosines) return BERT_OK;
    const size_t size = bert_cuda_dtype_size(y->dtype);
    const int64_t rows = y->dims[1], width = y->dims[2], count = row_elements(y->dims);
    void *workspace = call->workspace;
    void *q = bert_cuda_take(&workspace, count, size), *k = bert_cuda_take(&workspace, count, size);
    const bert_cuda_rotary_strides rotated = {rows * width, args->depth, width};
    const bert_cuda_rotary_args rotary = {.dtype = y->dtype,
                                          .batch = y->dims[0],
                                          .heads = args->heads,
                                          .rows = rows,
                                          .depth = args->depth,
                                          .half = args->depth / 2,
                                          .x = {args->q.data, args->k.data},
                                          .y = {q, k},
                                          .x_at = {args->q.batch, args->q.head, args->q.row},
                                          .y_at = rotated,
                                          .cosines = cosines->data,
                                          .sines = call->inputs[BERT_ATTENTION_SINES].data,
                                          .angle_each = true,
                                          .tokens = bert_cuda_input_data(call, BERT_ATTENTION_TOKENS),
                                          .positions = cosines->dims[0] * cosines->dims[1]};
    args->q = (bert_cuda_heads){q, rotated.batch, rotated.head, rotated.row};
    args->k = (bert_cuda_heads){k, rotated.batch, rotated.head, rotated.row};
    return bert_cuda_launched(call, bert_cuda_rotary(&rotary, call->context->stream), "rotary");
}

/* Rows that are no sequence's are written by nobody, and read by those who take rows as they come. Any numbers will do
 * but NaN, where ways of a product are held against each other: those that the first run with such rows leaves, too. */
static bert_status clear_filled_rows(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const bert_context *context = call->context;
    const size_t bytes = (size_t)row_elements(y->dims) * bert_cuda_dtype_size(y->dtype);
    if (!context->filled || context->phase == BERT_CUDA_CAPTURING) return BERT_OK;
    return bert_cuda_check(context->prepared->device->host, cudaMemsetAsync(y->data, 0, bytes, context->stream),
                           call->error, "cudaMemsetAsync of %zu bytes of attention", bytes);
}

bert_status bert_cuda_run_attention(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *q = &call->inputs[BERT_ATTENTION_Q], *y = &call->outputs[0];
    const bert_tensor *bias = bert_cuda_input(call, BERT_ATTENTION_BIAS);
    const bert_tensor *mask = bert_cuda_input(call, BERT_ATTENTION_MASK);
    const bert_tensor *starts = bert_cuda_input(call, BERT_ATTENTION_STARTS);
    const bool packed = BERT_NODE_INT(node, "packed", 0) != 0;
    const int64_t heads = BERT_NODE_INT(node, "heads", 1), width = y->dims[2], depth = heads ? width / heads : 0;
    const bert_tensor *k = packed ? q : &call->inputs[BERT_ATTENTION_K];
    const bert_tensor *v = packed ? q : &call->inputs[BERT_ATTENTION_V];
    bert_cuda_attention_args args = {
        .dtype = q->dtype,
        .batch = y->dims[0],
        .heads = heads,
        .depth = depth,
        .queries = q->dims[1],
        .keys = k->dims[1],
        .q = bert_cuda_heads_in_rows(q, q->dims[1], q->dims[2], depth, 0),
        .k = bert_cuda_heads_in_rows(k, k->dims[1], k->dims[2], depth, packed ? width : 0),
        .v = bert_cuda_heads_in_rows(v, v->dims[1], v->dims[2], depth, packed ? 2 * width : 0),
        .y = y->data,
        .y_batch = y->dims[1] * width,
        .y_head = depth,
        .y_row = width,
        .ranges = call->y_ranges,
        .scale = BERT_NODE_FLOAT(node, "scale", 1.0F),
        .mask_value = BERT_NODE_FLOAT(node, "mask_value", -INFINITY),
        .zero_rows = strcmp(BERT_NODE_STRING(node, "masked_rows", "nan"), "zero") == 0,
    };
    if (starts) {
        args.batch = starts->dims[0] - 1;
        args.offsets = starts->data;
        args.tokens = bert_cuda_input_data(call, BERT_ATTENTION_TOKENS);
        args.sequence = BERT_NODE_INT(node, "sequence", 0);
        args.queries = args.keys = args.sequence;
        BERT_CUDA_TRY(clear_filled_rows(call));
    }
    if (bias) {
        args.bias = bias->data;
        bert_cuda_attend_strides(bias, args.bias_at);
    }
    if (mask) {
        args.mask = mask->data;
        bert_cuda_attend_strides(mask, args.mask_at);
    }
    BERT_CUDA_TRY(rotate(call, &args));
    return bert_cuda_launched(call, bert_cuda_attention(&args, call->context->stream), "attention");
}
