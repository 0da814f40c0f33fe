/* ai.onnx's Attention, which exists from opset 23 on. */
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/attention_masks.h"
#include "core/graph/ops/infer.h"

#include <inttypes.h>
#include <math.h>

enum { Q, K, V, MASK, PAST_KEY, PAST_VALUE };
enum { Y, PRESENT_KEY, PRESENT_VALUE, SCORES };

/* What the scores output holds. */
enum { RAW_SCORES, CAPPED_SCORES, MASKED_SCORES, PROBABILITIES };

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Q, K or V as [batch, heads, rows, depth]. A tensor of three dimensions is divided by the attribute's heads. */
static bert_status infer_heads(const bert_inference *in, int32_t input, const char *attribute, bert_shape *out) {
    const bert_shape *shape = bert_infer_shape(in, input);
    *out = *shape;
    if (shape->rank != 3) return BERT_OK;
    int64_t heads = BERT_INFER_INT(in, attribute, 0);
    if (heads < 1 || (bert_dim_known(shape->dims[2]) && shape->dims[2] % heads != 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "input %" PRId32 " of Attention has three dimensions, and %s %" PRId64
                         " doesn't divide the last",
                         input, attribute, heads);
    }
    bert_dim depth = bert_dim_divide(in->symbols, shape->dims[2], heads, true);
    *out = (bert_shape){.rank = 4, .dims = {shape->dims[0], heads, shape->dims[1], depth}};
    return BERT_OK;
}

/* The present: the past before what is new. */
static bert_status infer_present(const bert_inference *in, int32_t past, const bert_shape *heads, bert_shape *out) {
    BERT_TRY(bert_infer_same_type(in, past - PAST_KEY + K, past));
    BERT_TRY(bert_infer_rank(in, past, 4, 4));
    *out = *heads;
    if (!bert_infer_input(in, past)) return BERT_OK;
    const bert_shape *shape = bert_infer_shape(in, past);
    out->dims[2] = bert_dim_fresh(in->symbols);
    if (shape->rank < 0) return BERT_OK;
    static const int32_t same[] = {0, 1, 3};
    for (int32_t i = 0; i < 3; i++) {
        BERT_TRY(bert_infer_equal(in, shape->dims[same[i]], heads->dims[same[i]],
                                  "a dimension of a past and of what is new", NULL));
    }
    out->dims[2] = bert_dim_add(in->symbols, shape->dims[2], heads->dims[2]);
    return BERT_OK;
}

/* The mask broadcasts to the scores; its last dimension may be shorter. */
static bert_status infer_mask(const bert_inference *in, const bert_shape *scores) {
    bert_dtype dtype = bert_infer_dtype(in, MASK);
    if (dtype != BERT_BOOL) BERT_TRY(bert_infer_same_type(in, Q, MASK));
    BERT_TRY(bert_infer_rank(in, MASK, 1, 4));
    const bert_shape *mask = bert_infer_shape(in, MASK);
    if (mask->rank < 1) return BERT_OK;
    bert_shape target = *scores;
    bert_dim columns = mask->dims[mask->rank - 1];
    if (bert_dim_known(columns) && bert_dim_known(scores->dims[3]) && columns < scores->dims[3]) {
        target.dims[3] = columns;
    }
    return bert_infer_broadcasts_to(in, MASK, &target);
}

static bert_status infer_agreement(const bert_inference *in, const bert_shape *q, const bert_shape *k,
                                   const bert_shape *v) {
    BERT_TRY(bert_infer_equal(in, q->dims[0], k->dims[0], "the sequences of Q and K", NULL));
    BERT_TRY(bert_infer_equal(in, q->dims[0], v->dims[0], "the sequences of Q and V", NULL));
    BERT_TRY(bert_infer_equal(in, k->dims[1], v->dims[1], "the heads of K and V", NULL));
    BERT_TRY(bert_infer_equal(in, k->dims[2], v->dims[2], "the rows of K and V", NULL));
    BERT_TRY(bert_infer_equal(in, q->dims[3], k->dims[3], "the sizes of a head of Q and K", NULL));
    bool known = bert_dim_known(q->dims[1]) && bert_dim_known(k->dims[1]);
    if (known && (k->dims[1] < 1 || q->dims[1] % k->dims[1] != 0)) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "%" PRId64 " heads of Q are not a multiple of %" PRId64 " heads of K", q->dims[1], k->dims[1]);
    }
    return BERT_OK;
}

bert_status bert_infer_onnx_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, Q, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, Q, K));
    BERT_TRY(bert_infer_type(in, V, BERT_TYPES_FLOAT));
    for (int32_t i = Q; i <= V; i++) BERT_TRY(bert_infer_rank(in, i, 3, 4));
    if (!bert_infer_input(in, PAST_KEY) != !bert_infer_input(in, PAST_VALUE)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "past_key and past_value of Attention go together");
    }
    for (int32_t i = 0; i < in->output_count; i++) bert_infer_give(in, i, bert_infer_dtype(in, i % SCORES), NULL);
    bert_shape q;
    bert_shape k;
    bert_shape v;
    bert_shape keys;
    bert_shape values;
    BERT_TRY(infer_heads(in, Q, "q_num_heads", &q));
    BERT_TRY(infer_heads(in, K, "kv_num_heads", &k));
    BERT_TRY(infer_heads(in, V, "kv_num_heads", &v));
    if (q.rank < 0 || k.rank < 0 || v.rank < 0) return BERT_OK;
    BERT_TRY(infer_agreement(in, &q, &k, &v));
    BERT_TRY(infer_present(in, PAST_KEY, &k, &keys));
    BERT_TRY(infer_present(in, PAST_VALUE, &v, &values));
    BERT_TRY(bert_infer_equal(in, keys.dims[2], values.dims[2], "the rows of K and V with their pasts", NULL));
    bert_shape scores = {.rank = 4, .dims = {q.dims[0], q.dims[1], q.dims[2], keys.dims[2]}};
    BERT_TRY(infer_mask(in, &scores));
    bert_shape shape = {.rank = 4, .dims = {q.dims[0], q.dims[1], q.dims[2], v.dims[3]}};
    if (bert_infer_shape(in, Q)->rank == 3) {
        shape = (bert_shape){.rank = 3, .dims = {q.dims[0], q.dims[2]}};
        shape.dims[2] = bert_dim_multiply(in->symbols, q.dims[1], v.dims[3]);
    }
    bert_infer_give(in, Y, bert_infer_dtype(in, Q), &shape);
    bert_infer_give(in, PRESENT_KEY, bert_infer_dtype(in, K), &keys);
    bert_infer_give(in, PRESENT_VALUE, bert_infer_dtype(in, V), &values);
    bert_infer_give(in, SCORES, bert_infer_dtype(in, Q), &scores);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Heads of a tensor of three dimensions (from the attribute) or four. */
static int64_t heads_of(const bert_reference_call *call, const bert_tensor *tensor, const char *attribute) {
    return tensor->rank == 4 ? tensor->dims[1] : BERT_CALL_INT(call, attribute, 1);
}

static bert_heads view_of(const bert_tensor *tensor, int64_t heads) {
    return tensor->rank == 4 ? bert_heads_separate(tensor) : bert_heads_interleaved(tensor, 0, tensor->dims[2] / heads);
}

/* K or V with its past before it, as [batch, heads, rows, depth] in `out`, and in the present output. */
static bert_tensor join_past(const bert_reference_call *call, int32_t input, int64_t heads, double *out) {
    const bert_tensor *tensor = &call->inputs[input];
    const bert_tensor *past = bert_call_input(call, input - K + PAST_KEY);
    const bert_tensor *present = bert_call_output(call, input - K + PRESENT_KEY);
    bert_heads view = view_of(tensor, heads);
    int64_t before = past ? past->dims[2] : 0;
    int64_t rows = before + (tensor->rank == 4 ? tensor->dims[2] : tensor->dims[1]);
    int64_t depth = tensor->rank == 4 ? tensor->dims[3] : tensor->dims[2] / heads;
    bert_tensor joined = {.dtype = BERT_DOUBLE, .rank = 4, .dims = {tensor->dims[0], heads, rows, depth}, .data = out};
    int64_t count = tensor->dims[0] * heads * rows * depth;
    for (int64_t i = 0; i < count; i++) {
        int64_t d = i % depth;
        int64_t t = i / depth % rows;
        int64_t h = i / depth / rows;
        if (t < before) {
            out[i] = bert_load(past, (h * before + t) * depth + d);
        } else {
            out[i] = bert_load(tensor, bert_heads_row(&view, h / heads, h % heads, t - before) + d);
        }
        if (present) bert_store(present, i, out[i]);
    }
    return joined;
}

/* What changes the scores of a row, and where they are shown. */
typedef struct scoring {
    bert_spread mask;
    int64_t mask_columns; /* keys from here on are masked; those before have an element of the mask */
    double softcap;
    bool causal;
    int64_t mode, heads, rows, columns, before; /* before: rows of the past */
    const bert_tensor *shown;                   /* NULL: nobody asks */
} scoring;

static void show(const scoring *s, int64_t mode, int64_t batch, int64_t head, int64_t row, const double *values) {
    if (!s->shown || s->mode != mode) return;
    bert_store_row(s->shown, ((batch * s->heads + head) * s->rows + row) * s->columns, s->columns, values);
}

static void adjust(const void *user, int64_t batch, int64_t head, int64_t row, double *scores) {
    const scoring *s = user;
    show(s, RAW_SCORES, batch, head, row, scores);
    for (int64_t t = 0; t < s->columns && s->softcap > 0; t++) scores[t] = s->softcap * tanh(scores[t] / s->softcap);
    show(s, CAPPED_SCORES, batch, head, row, scores);
    int64_t at = bert_spread_row(&s->mask, batch, head, row);
    for (int64_t t = 0; t < s->columns; t++) {
        const bert_tensor *mask = s->mask.tensor;
        if (mask && t >= s->mask_columns) {
            scores[t] = -INFINITY;
        } else if (mask && mask->dtype == BERT_BOOL) {
            if (!bert_load_integer(mask, at + t * s->mask.strides[3])) scores[t] = -INFINITY;
        } else if (mask) {
            scores[t] += bert_load(mask, at + t * s->mask.strides[3]);
        }
        if (s->causal && t > s->before + row) scores[t] = -INFINITY;
    }
    show(s, MASKED_SCORES, batch, head, row, scores);
}

static void inspect(const void *user, int64_t batch, int64_t head, int64_t row, double *probabilities) {
    show(user, PROBABILITIES, batch, head, row, probabilities);
}

/* Elements of K and V with their pasts. */
static bool joined_elements(const bert_op_node *node, int32_t input, size_t *out) {
    const bert_tensor_desc *tensor = &node->inputs[input];
    int32_t past_input = input - K + PAST_KEY;
    size_t elements[2] = {0};
    if (!bert_size_product(1, tensor->dims, tensor->rank, &elements[0])) return false;
    if (past_input < node->input_count && node->inputs[past_input].dtype != BERT_DTYPE_UNDEFINED) {
        const bert_tensor_desc *past = &node->inputs[past_input];
        if (!bert_size_product(1, past->dims, past->rank, &elements[1])) return false;
    }
    return bert_size_add(elements[0], elements[1], out);
}

size_t bert_workspace_onnx_attention(const bert_op_node *node) {
    size_t keys;
    size_t values;
    size_t total;
    if (!joined_elements(node, K, &keys) || !joined_elements(node, V, &values)) return SIZE_MAX;
    /* A row of scores is no longer than all keys are, a head's row no longer than a row of the tensor. */
    if (!bert_size_add(keys, values, &total) || !bert_size_multiply(total, sizeof(double), &total)) return SIZE_MAX;
    const bert_tensor_desc *k = &node->inputs[K];
    bool has_past = PAST_KEY < node->input_count && node->inputs[PAST_KEY].dtype != BERT_DTYPE_UNDEFINED;
    int64_t columns = k->dims[k->rank - 2] + (has_past ? node->inputs[PAST_KEY].dims[2] : 0);
    int64_t value_width = node->inputs[V].dims[node->inputs[V].rank - 1];
    size_t scratch = bert_attention_workspace(columns, k->dims[k->rank - 1], value_width);
    return scratch != SIZE_MAX && bert_size_add(total, scratch, &total) ? total : SIZE_MAX;
}

bert_status bert_reference_onnx_attention(const bert_reference_call *call) {
    const bert_tensor *q = &call->inputs[Q];
    const bert_tensor *mask = bert_call_input(call, MASK);
    const bert_tensor *past = bert_call_input(call, PAST_KEY);
    int64_t heads = heads_of(call, q, "q_num_heads");
    int64_t shared = heads_of(call, &call->inputs[K], "kv_num_heads");
    double *keys = call->workspace;
    bert_tensor k = join_past(call, K, shared, keys);
    double *values = keys + bert_tensor_elements(&k);
    bert_tensor v = join_past(call, V, heads_of(call, &call->inputs[V], "kv_num_heads"), values);
    scoring s = {.mask = bert_spread_of(mask),
                 .mask_columns = k.dims[2],
                 .softcap = BERT_CALL_FLOAT(call, "softcap", 0.0F),
                 .causal = BERT_CALL_INT(call, "is_causal", 0) != 0,
                 .mode = BERT_CALL_INT(call, "qk_matmul_output_mode", RAW_SCORES),
                 .heads = heads,
                 .rows = q->dims[q->rank - 2],
                 .columns = k.dims[2],
                 .before = past ? past->dims[2] : 0,
                 .shown = bert_call_output(call, SCORES)};
    if (mask && mask->dims[mask->rank - 1] != 1) s.mask_columns = mask->dims[mask->rank - 1];
    double scale = BERT_CALL_FLOAT(call, "scale", NAN);
    bert_attention attention = {.q = view_of(q, heads),
                                .k = bert_heads_separate(&k),
                                .v = bert_heads_separate(&v),
                                .y = view_of(&call->outputs[Y], heads),
                                .batch = q->dims[0],
                                .heads = heads,
                                .group = heads / shared,
                                .rows = s.rows,
                                .columns = s.columns,
                                .depth = k.dims[3],
                                .value_depth = v.dims[3],
                                .scale = isnan(scale) ? 1 / sqrt((double)k.dims[3]) : scale,
                                .adjust = adjust,
                                .inspect = inspect,
                                .user = &s,
                                .scratch = values + bert_tensor_elements(&v)};
    bert_attention_run(&attention);
    return BERT_OK;
}
