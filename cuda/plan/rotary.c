/* RotaryEmbedding, ai.onnx's and com.microsoft's: they have their inputs in different orders. */
#include "cuda/ops/rotary.h"

#include "cuda/plan/plan.h"

typedef struct places {
    int32_t cosines, sines, positions;
} places;

/* By the code of the row: whether it is com.microsoft's. */
static const places places_of[] = {{1, 2, 3}, {2, 3, 1}};

bert_status bert_cuda_plan_rotary_embedding(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const int32_t positions = places_of[planner->state->op->code].positions;
    if (!bert_cuda_node_has(node, positions) || planner->mode != BERT_PLAN_BIND) return BERT_OK;
    return bert_cuda_want_reports(planner);
}

bert_status bert_cuda_run_rotary_embedding(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const places *at = &places_of[call->node->op->code];
    const bert_tensor *x = &call->inputs[0], *cosines = &call->inputs[at->cosines];
    const bert_tensor *positions = bert_cuda_input(call, at->positions);
    const bool apart = x->rank == 4; /* [batch, heads, rows, depth], else [batch, rows, heads x depth] */
    bert_cuda_rotary_args args = {.dtype = x->dtype,
                                  .batch = x->dims[0],
                                  .heads = apart ? x->dims[1] : BERT_NODE_INT(node, "num_heads", 0),
                                  .rows = x->dims[apart ? 2 : 1],
                                  .half = cosines->dims[cosines->rank - 1],
                                  .interleaved = BERT_NODE_INT(node, "interleaved", 0) != 0,
                                  .x = {x->data},
                                  .y = {call->outputs[0].data},
                                  .cosines = cosines->data,
                                  .sines = call->inputs[at->sines].data,
                                  .ids = positions ? positions->data : NULL,
                                  .offset = positions && positions->rank == 1,
                                  .positions = bert_cuda_count(cosines->dims, 0, cosines->rank - 1),
                                  .check = bert_cuda_check_of(call),
                                  .input = at->positions};
    if (args.heads == 0) args.heads = args.half ? x->dims[2] / (2 * args.half) : 1;
    if (bert_cuda_elements(x) == 0) return BERT_OK;
    if (positions && args.half > 0 && args.positions == 0)
        return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                        "there are positions, and a rotary cache of 0 rows");
    args.depth = apart ? x->dims[3] : x->dims[2] / args.heads;
    args.x_at.row = apart ? args.depth : x->dims[2];
    args.x_at.head = apart ? args.rows * args.depth : args.depth;
    args.x_at.batch = args.rows * args.heads * args.depth;
    args.y_at = args.x_at;
    return bert_cuda_launched(call, bert_cuda_rotary(&args, call->context->stream), "rotary");
}
