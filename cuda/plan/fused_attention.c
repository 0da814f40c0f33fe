/* ai.onnx's Attention and com.microsoft's MultiHeadAttention, as far as passes leave them: with a past, grouped heads,
 * capped or shown scores, Q, K and V in one tensor, masks of shapes that are known late. */
#include "cuda/plan/attend.h"

#include <float.h>
#include <math.h>

static bert_status check_types(const bert_cuda_planner *planner, int32_t first, int32_t last) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, 0));
    for (int32_t i = first; i <= last; i++) {
        if (bert_cuda_node_has(node, i) && node->inputs[i].dtype != node->inputs[0].dtype)
            return bert_cuda_leave(planner, "computes in one type");
    }
    return BERT_OK;
}

static bert_status check_depth(const bert_cuda_planner *planner, const bert_cuda_attend *a) {
    return a->q.depth > 0 ? BERT_OK : bert_cuda_leave(planner, "wants heads with elements");
}

/* ---- ai.onnx's Attention ----------------------------------------------------------------------------------------- */

enum { Q, K, V, ATTENTION_MASK, PAST_KEY, PAST_VALUE };
enum { Y, PRESENT_KEY, PRESENT_VALUE, SCORES };

/* A tensor [batch, rows, heads x depth] or [batch, heads, rows, depth]. */
static bert_cuda_attend_part part_of(const bert_tensor *tensor, int64_t heads) {
    if (tensor->rank == 4) return (bert_cuda_attend_part){bert_cuda_heads_apart(tensor), .depth = tensor->dims[3]};
    const int64_t depth = tensor->dims[2] / heads;
    return (bert_cuda_attend_part){bert_cuda_heads_in_rows(tensor, tensor->dims[1], tensor->dims[2], depth, 0),
                                   .depth = depth};
}

static void show_present(bert_cuda_attend_part *part, const bert_tensor *present) {
    if (!present) return;
    part->gives_present = true;
    part->present = present->data;
}

static int64_t heads_of(const bert_op_node *node, const bert_tensor *tensor, const char *attribute) {
    return tensor->rank == 4 ? tensor->dims[1] : BERT_NODE_INT(node, attribute, 1);
}

static bert_cuda_attend describe_attention(const bert_op_node *node, const bert_cuda_operands *o) {
    const bert_tensor *q = &o->inputs[Q], *k = &o->inputs[K], *y = &o->outputs[Y];
    const bert_tensor *past = bert_cuda_operand_at(o->inputs, PAST_KEY);
    const bert_tensor *scores = bert_cuda_operand_at(o->outputs, SCORES);
    bert_cuda_attend a = {.dtype = q->dtype,
                          .batch = q->dims[0],
                          .heads = heads_of(node, q, "q_num_heads"),
                          .shared = heads_of(node, k, "kv_num_heads"),
                          .queries = q->dims[q->rank - 2],
                          .past = past ? past->dims[2] : 0,
                          .softcap = BERT_NODE_FLOAT(node, "softcap", 0),
                          .y = y->data,
                          .scores = scores ? scores->data : NULL,
                          .form = (bert_cuda_scores)BERT_NODE_INT(node, "qk_matmul_output_mode", 0)};
    a.keys = a.past + k->dims[k->rank - 2];
    a.q = part_of(q, a.heads);
    a.k = part_of(k, a.shared);
    a.v = part_of(&o->inputs[V], a.shared);
    a.k.past = past ? past->data : NULL;
    a.v.past = past ? o->inputs[PAST_VALUE].data : NULL;
    show_present(&a.k, bert_cuda_operand_at(o->outputs, PRESENT_KEY));
    show_present(&a.v, bert_cuda_operand_at(o->outputs, PRESENT_VALUE));
    a.scale = bert_cuda_attend_scale(node, NAN, a.q.depth);
    const bert_cuda_heads out = part_of(y, a.heads).heads;
    a.y_batch = out.batch;
    a.y_head = out.head;
    a.y_row = out.row;
    bert_cuda_attend_bias(&a, bert_cuda_operand_at(o->inputs, ATTENTION_MASK));
    if (BERT_NODE_INT(node, "is_causal", 0)) bert_cuda_attend_causal(&a, -INFINITY);
    return a;
}

bert_status bert_cuda_plan_onnx_attention(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(check_types(planner, K, V));
    BERT_CUDA_TRY(check_types(planner, PAST_KEY, PAST_VALUE));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const bert_cuda_attend attend = describe_attention(node, &operands);
    BERT_CUDA_TRY(check_depth(planner, &attend));
    return bert_cuda_attend_reserve(planner, &attend);
}

bert_status bert_cuda_run_onnx_attention(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const bert_cuda_attend attend = describe_attention(&call->node->node, &operands);
    void *workspace = call->workspace;
    return bert_cuda_attend_run(call, &attend, &workspace);
}

/* ---- com.microsoft's MultiHeadAttention -------------------------------------------------------------------------- */

enum { QUERY, KEY, VALUE, BIAS, KEY_MASK, SCORES_BIAS, OLD_KEY, OLD_VALUE };
enum { OUTPUT, NEW_KEY, NEW_VALUE, WEIGHTS };

/* Part `which` of a tensor of its own, or of one that holds the last `dims[3]` of Q, K and V: [batch, rows, heads,
 * parts, depth]. */
static bert_cuda_attend_part packed_part(const bert_tensor *tensor, int32_t which, int64_t heads) {
    if (tensor->rank != 5) return part_of(tensor, heads);
    const int64_t parts = tensor->dims[3], depth = tensor->dims[4];
    bert_cuda_attend_part part = {
        bert_cuda_heads_in_rows(tensor, tensor->dims[1], heads * parts * depth, depth, (which - (3 - parts)) * depth),
        .depth = depth};
    part.heads.head = parts * depth;
    return part;
}

/* The bias holds those of Q, K and V side by side; K and V by heads were projected elsewhere, and have theirs. */
static void set_bias(bert_cuda_attend_part *part, const bert_tensor *from, const bert_tensor *bias, int64_t first) {
    if (!bias || from->rank == 4) return;
    part->has_bias = true;
    if (bias->data) part->bias = (const char *)bias->data + (size_t)first * bert_cuda_dtype_size(bias->dtype);
}

static bert_cuda_attend describe_multi_head(const bert_op_node *node, const bert_cuda_operands *o) {
    const bert_tensor *query = &o->inputs[QUERY], *key = bert_cuda_operand_at(o->inputs, KEY);
    const bert_tensor *value = bert_cuda_operand_at(o->inputs, VALUE), *bias = bert_cuda_operand_at(o->inputs, BIAS);
    const bert_tensor *past = bert_cuda_operand_at(o->inputs, OLD_KEY);
    const bert_tensor *weights = bert_cuda_operand_at(o->outputs, WEIGHTS), *y = &o->outputs[OUTPUT];
    const int64_t heads = BERT_NODE_INT(node, "num_heads", 1);
    if (!key) key = query;
    if (!value) value = key;
    bert_cuda_attend a = {.dtype = query->dtype,
                          .batch = query->dims[0],
                          .heads = heads,
                          .shared = heads,
                          .queries = query->dims[1],
                          .past = past ? past->dims[2] : 0,
                          .q = packed_part(query, 0, heads),
                          .k = packed_part(key, 1, heads),
                          .v = packed_part(value, 2, heads),
                          .y = y->data,
                          .scores = weights ? weights->data : NULL,
                          .form = BERT_CUDA_SCORES_WEIGHTS};
    a.keys = a.past + key->dims[key->rank == 4 ? 2 : 1];
    set_bias(&a.q, query, bias, 0);
    set_bias(&a.k, key, bias, heads * a.q.depth);
    set_bias(&a.v, value, bias, 2 * heads * a.q.depth);
    a.k.past = past ? past->data : NULL;
    a.v.past = past ? o->inputs[OLD_VALUE].data : NULL;
    show_present(&a.k, bert_cuda_operand_at(o->outputs, NEW_KEY));
    show_present(&a.v, bert_cuda_operand_at(o->outputs, NEW_VALUE));
    a.scale = bert_cuda_attend_scale(node, 0, a.q.depth);
    a.y_row = heads * a.v.depth;
    a.y_head = a.v.depth;
    a.y_batch = a.queries * a.y_row;
    bert_cuda_attend_mask(&a, bert_cuda_operand_at(o->inputs, KEY_MASK),
                          BERT_NODE_FLOAT(node, "mask_filter_value", -10000.0F));
    bert_cuda_attend_bias(&a, bert_cuda_operand_at(o->inputs, SCORES_BIAS));
    if (BERT_NODE_INT(node, "unidirectional", 0)) bert_cuda_attend_causal(&a, -FLT_MAX);
    return a;
}

bert_status bert_cuda_plan_multi_head_attention(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(check_types(planner, KEY, BIAS));
    BERT_CUDA_TRY(check_types(planner, SCORES_BIAS, OLD_VALUE));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_cuda_operands operands = bert_cuda_planned_operands(planner);
    const bert_cuda_attend attend = describe_multi_head(node, &operands);
    BERT_CUDA_TRY(check_depth(planner, &attend));
    return bert_cuda_attend_reserve(planner, &attend);
}

bert_status bert_cuda_run_multi_head_attention(const bert_cuda_call *call) {
    const bert_cuda_operands operands = bert_cuda_called_operands(call);
    const bert_cuda_attend attend = describe_multi_head(&call->node->node, &operands);
    void *workspace = call->workspace;
    return bert_cuda_attend_run(call, &attend, &workspace);
}
