/* com.microsoft's MultiHeadAttention: Q, K and V projected already, separate, partly packed or packed. */
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/attention_masks.h"
#include "core/graph/ops/infer.h"

#include <inttypes.h>
#include <math.h>

enum { QUERY, KEY, VALUE, BIAS, MASK, SCORES_BIAS, PAST_KEY, PAST_VALUE, PAST_LENGTH, CACHE_INDIRECTION };
enum { OUTPUT, PRESENT_KEY, PRESENT_VALUE, PROBABILITIES };

/*
 * How Q, K and V come:
 *   three tensors [B, S, width], or K and V [B, heads, T, depth];
 *   Q [B, S, width] and K and V in one tensor [B, T, heads, 2, depth];
 *   all in one tensor [B, S, heads, 3, depth].
 */
typedef enum form { SEPARATE, PACKED_KV, PACKED_QKV } form;

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Sizes of the problem as far as they are known. */
typedef struct sizes {
    bert_dim batch, rows, keys, width, value_width;
} sizes;

static form form_of(bool has_key, bool has_value) {
    return has_value ? SEPARATE : has_key ? PACKED_KV : PACKED_QKV;
}

static bert_status infer_packed(const bert_inference *in, int32_t input, int64_t parts, int64_t heads, bert_dim *rows,
                                bert_dim *width) {
    BERT_TRY(bert_infer_rank(in, input, 5, 5));
    const bert_shape *shape = bert_infer_shape(in, input);
    BERT_TRY(bert_infer_equal(in, shape->dims[2], heads, "the heads of a packed input and num_heads", NULL));
    BERT_TRY(bert_infer_equal(in, shape->dims[3], parts, "the parts of a packed input and what it should hold", NULL));
    *rows = shape->dims[1];
    *width = bert_dim_multiply(in->symbols, heads, shape->dims[4]);
    return BERT_OK;
}

/* K or V of their own: rows and width. */
static bert_status infer_separate(const bert_inference *in, int32_t input, int64_t heads, bert_dim *rows,
                                  bert_dim *width) {
    BERT_TRY(bert_infer_rank(in, input, 3, 4));
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank == 4) {
        BERT_TRY(bert_infer_equal(in, shape->dims[1], heads, "the heads of an input and num_heads", NULL));
        *rows = shape->dims[2];
        *width = bert_dim_multiply(in->symbols, heads, shape->dims[3]);
    } else {
        *rows = shape->dims[1];
        *width = shape->dims[2];
    }
    return BERT_OK;
}

static bert_status infer_sizes(const bert_inference *in, int64_t heads, sizes *s) {
    form f = form_of(bert_infer_input(in, KEY), bert_infer_input(in, VALUE));
    const bert_shape *query = bert_infer_shape(in, QUERY);
    s->batch = query->dims[0];
    if (f == PACKED_QKV) {
        BERT_TRY(infer_packed(in, QUERY, 3, heads, &s->rows, &s->width));
        s->keys = s->rows;
        s->value_width = s->width;
        return BERT_OK;
    }
    BERT_TRY(bert_infer_rank(in, QUERY, 3, 3));
    s->rows = query->dims[1];
    s->width = query->dims[2];
    bert_dim key_width = s->width;
    BERT_TRY(
        bert_infer_equal(in, s->batch, bert_infer_shape(in, KEY)->dims[0], "the sequences of query and key", NULL));
    if (f == PACKED_KV) {
        BERT_TRY(infer_packed(in, KEY, 2, heads, &s->keys, &key_width));
        s->value_width = key_width;
    } else {
        bert_dim value_rows;
        BERT_TRY(infer_separate(in, KEY, heads, &s->keys, &key_width));
        BERT_TRY(infer_separate(in, VALUE, heads, &value_rows, &s->value_width));
        BERT_TRY(bert_infer_equal(in, s->keys, value_rows, "the rows of key and value", NULL));
        BERT_TRY(bert_infer_equal(in, s->batch, bert_infer_shape(in, VALUE)->dims[0],
                                  "the sequences of query and value", NULL));
    }
    return bert_infer_equal(in, s->width, key_width, "the widths of query and key", NULL);
}

/* The past of K or V [B, heads, P, depth]; *total is P more than `keys`. */
static bert_status infer_past(const bert_inference *in, int32_t past, int64_t heads, const sizes *s, bert_dim width,
                              bert_dim *total) {
    *total = s->keys;
    if (!bert_infer_input(in, past)) return BERT_OK;
    BERT_TRY(bert_infer_same_type(in, QUERY, past));
    BERT_TRY(bert_infer_rank(in, past, 4, 4));
    const bert_shape *shape = bert_infer_shape(in, past);
    *total = bert_dim_fresh(in->symbols);
    if (shape->rank < 0) return BERT_OK;
    bert_dim depth = bert_dim_divide(in->symbols, width, heads, true);
    BERT_TRY(bert_infer_equal(in, shape->dims[0], s->batch, "the sequences of past and query", NULL));
    BERT_TRY(bert_infer_equal(in, shape->dims[1], heads, "the heads of the past and num_heads", NULL));
    BERT_TRY(bert_infer_equal(in, shape->dims[3], depth, "the size of a head in the past and here", NULL));
    *total = bert_dim_add(in->symbols, s->keys, shape->dims[2]);
    return BERT_OK;
}

/* The bias holds those of Q, K and V side by side. */
static bert_status infer_bias(const bert_inference *in, const sizes *s) {
    const bert_shape *bias = bert_infer_shape(in, BIAS);
    BERT_TRY(bert_infer_same_type(in, QUERY, BIAS));
    BERT_TRY(bert_infer_rank(in, BIAS, 1, 1));
    if (bias->rank != 1) return BERT_OK;
    bert_dim expected = bert_dim_add(in->symbols, bert_dim_multiply(in->symbols, 2, s->width), s->value_width);
    return bert_infer_equal(in, bias->dims[0], expected, "the elements of the bias and the widths of Q, K and V", NULL);
}

static bert_status infer_known(const bert_inference *in, int64_t heads) {
    sizes s;
    bert_dim keys;
    bert_dim values;
    BERT_TRY(infer_sizes(in, heads, &s));
    for (int32_t i = 0; i < 2; i++) {
        bert_dim width = i ? s.value_width : s.width;
        if (!bert_dim_known(width) || (width > 0 && width % heads == 0)) continue;
        return bert_fail(in->error, BERT_INVALID_MODEL, "a width of %" PRId64 " doesn't divide into %" PRId64 " heads",
                         width, heads);
    }
    BERT_TRY(infer_bias(in, &s));
    BERT_TRY(infer_past(in, PAST_KEY, heads, &s, s.width, &keys));
    BERT_TRY(infer_past(in, PAST_VALUE, heads, &s, s.value_width, &values));
    BERT_TRY(bert_infer_equal(in, keys, values, "the rows of key and value with their pasts", NULL));
    BERT_TRY(bert_infer_attention_masks(in, MASK, SCORES_BIAS, s.batch, heads, s.rows, keys));
    BERT_TRY(bert_infer_rank(in, MASK, 1, 3));
    bert_dtype dtype = bert_infer_dtype(in, QUERY);
    bert_shape shape = {.rank = 3, .dims = {s.batch, s.rows, s.value_width}};
    bert_shape key = {.rank = 4, .dims = {s.batch, heads, keys, bert_dim_divide(in->symbols, s.width, heads, true)}};
    bert_shape value = key;
    bert_shape scores = {.rank = 4, .dims = {s.batch, heads, s.rows, keys}};
    value.dims[3] = bert_dim_divide(in->symbols, s.value_width, heads, true);
    bert_infer_give(in, OUTPUT, dtype, &shape);
    bert_infer_give(in, PRESENT_KEY, dtype, &key);
    bert_infer_give(in, PRESENT_VALUE, dtype, &value);
    bert_infer_give(in, PROBABILITIES, dtype, &scores);
    return BERT_OK;
}

bert_status bert_infer_multi_head_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, QUERY, BERT_TYPES_FLOAT));
    int64_t heads = BERT_INFER_INT(in, "num_heads", 0);
    if (heads < 1 || heads > INT32_MAX) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "MultiHeadAttention has %" PRId64 " heads", heads);
    }
    if (bert_infer_input(in, PAST_LENGTH) || bert_infer_input(in, CACHE_INDIRECTION)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "MultiHeadAttention with a shared buffer for its past");
    }
    if (bert_infer_input(in, VALUE) && !bert_infer_input(in, KEY)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "MultiHeadAttention has a value but no key");
    }
    if (!bert_infer_input(in, PAST_KEY) != !bert_infer_input(in, PAST_VALUE)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "past_key and past_value of MultiHeadAttention go together");
    }
    bool known = true;
    for (int32_t i = QUERY; i <= VALUE; i++) {
        BERT_TRY(bert_infer_same_type(in, QUERY, i));
        known = known && (!bert_infer_input(in, i) || bert_infer_shape(in, i)->rank >= 0);
    }
    for (int32_t i = 0; i < in->output_count; i++) bert_infer_give(in, i, bert_infer_dtype(in, QUERY), NULL);
    return known ? infer_known(in, heads) : BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Q, K or V inside an input: where its elements are, its rows, and where its bias starts. */
typedef struct source {
    bert_heads heads;
    int64_t rows, depth, bias;
    bool by_heads; /* [B, heads, T, depth] */
} source;

typedef struct sources {
    source part[3];
} sources;

/* From the dimensions alone, so that the workspace can be sized with it too. */
static sources describe(form f, int64_t heads, const bert_tensor *query, const bert_tensor *key,
                        const bert_tensor *value) {
    const bert_tensor *from[3] = {query, f == PACKED_QKV ? query : key,
                                  f == PACKED_QKV  ? query
                                  : f == PACKED_KV ? key
                                                   : value};
    sources result;
    int64_t bias = 0;
    for (int32_t i = 0; i < 3; i++) {
        const bert_tensor *tensor = from[i];
        source *part = &result.part[i];
        if (tensor->rank == 5) {
            int64_t parts = tensor->dims[3];
            int64_t depth = tensor->dims[4];
            int64_t row = heads * parts * depth;
            part->heads = (bert_heads){.tensor = tensor,
                                       .offset = (i - (3 - parts)) * depth,
                                       .batch_stride = tensor->dims[1] * row,
                                       .head_stride = parts * depth,
                                       .row_stride = row,
                                       .element_stride = 1};
            part->rows = tensor->dims[1];
            part->depth = depth;
        } else if (tensor->rank == 4) {
            part->heads = bert_heads_separate(tensor);
            part->rows = tensor->dims[2];
            part->depth = tensor->dims[3];
        } else {
            part->heads = bert_heads_interleaved(tensor, 0, tensor->dims[2] / heads);
            part->rows = tensor->dims[1];
            part->depth = tensor->dims[2] / heads;
        }
        part->by_heads = tensor->rank == 4;
        part->bias = bias;
        bias += heads * part->depth;
    }
    return result;
}

/* [B, heads, rows, depth] of doubles with bias and past; written to the present too. */
static bert_tensor gather(const bert_reference_call *call, const source *from, int64_t batch, int64_t heads,
                          const bert_tensor *past, const bert_tensor *present, double *out) {
    const bert_tensor *bias = bert_call_input(call, BIAS);
    /* K and V by heads were projected elsewhere, their biases added. */
    if (from->by_heads) bias = NULL;
    int64_t before = past ? past->dims[2] : 0;
    int64_t rows = before + from->rows;
    bert_tensor joined = {.dtype = BERT_DOUBLE, .rank = 4, .dims = {batch, heads, rows, from->depth}, .data = out};
    for (int64_t i = 0; i < batch * heads * rows * from->depth; i++) {
        int64_t d = i % from->depth;
        int64_t t = i / from->depth % rows;
        int64_t h = i / from->depth / rows;
        if (past && t < before) {
            out[i] = bert_load(past, (h * before + t) * from->depth + d);
        } else {
            int64_t row = bert_heads_row(&from->heads, h / heads, h % heads, t - before);
            out[i] = bert_load(from->heads.tensor, row + d);
            if (bias) out[i] += bert_load(bias, from->bias + h % heads * from->depth + d);
        }
        if (present) bert_store(present, i, out[i]);
    }
    return joined;
}

/* The masks, and where the probabilities are shown. */
typedef struct scoring {
    bert_attention_masks masks;
    int64_t heads;
    const bert_tensor *shown;
} scoring;

static void adjust(const void *user, int64_t batch, int64_t head, int64_t row, double *scores) {
    bert_attention_masks_apply(&((const scoring *)user)->masks, batch, head, row, scores);
}

static void show(const void *user, int64_t batch, int64_t head, int64_t row, double *probabilities) {
    const scoring *s = user;
    if (!s->shown) return;
    int64_t at = ((batch * s->heads + head) * s->masks.rows + row) * s->masks.columns;
    bert_store_row(s->shown, at, s->masks.columns, probabilities);
}

bert_status bert_reference_multi_head_attention(const bert_reference_call *call) {
    int64_t heads = BERT_CALL_INT(call, "num_heads", 1);
    const bert_tensor *past_key = bert_call_input(call, PAST_KEY);
    form f = form_of(bert_call_has_input(call, KEY), bert_call_has_input(call, VALUE));
    sources from = describe(f, heads, &call->inputs[QUERY], bert_call_input(call, KEY), bert_call_input(call, VALUE));
    int64_t batch = call->inputs[QUERY].dims[0];
    double *memory = call->workspace;
    bert_tensor q = gather(call, &from.part[0], batch, heads, NULL, NULL, memory);
    memory += bert_tensor_elements(&q);
    bert_tensor k = gather(call, &from.part[1], batch, heads, past_key, bert_call_output(call, PRESENT_KEY), memory);
    memory += bert_tensor_elements(&k);
    bert_tensor v = gather(call, &from.part[2], batch, heads, bert_call_input(call, PAST_VALUE),
                           bert_call_output(call, PRESENT_VALUE), memory);
    memory += bert_tensor_elements(&v);
    scoring s = {.masks = {.mask = bert_call_input(call, MASK),
                           .bias = bert_spread_of(bert_call_input(call, SCORES_BIAS)),
                           .filter = BERT_CALL_FLOAT(call, "mask_filter_value", -10000.0F),
                           .unidirectional = BERT_CALL_INT(call, "unidirectional", 0) != 0,
                           .batch = batch,
                           .rows = q.dims[2],
                           .columns = k.dims[2],
                           .past = past_key ? past_key->dims[2] : 0},
                 .heads = heads,
                 .shown = bert_call_output(call, PROBABILITIES)};
    BERT_TRY(bert_attention_masks_check(call, &s.masks));
    double scale = BERT_CALL_FLOAT(call, "scale", 0.0F);
    bert_attention attention = {.q = bert_heads_separate(&q),
                                .k = bert_heads_separate(&k),
                                .v = bert_heads_separate(&v),
                                .y = bert_heads_interleaved(&call->outputs[OUTPUT], 0, v.dims[3]),
                                .batch = batch,
                                .heads = heads,
                                .group = 1,
                                .rows = q.dims[2],
                                .columns = k.dims[2],
                                .depth = k.dims[3],
                                .value_depth = v.dims[3],
                                .scale = scale != 0 ? scale : 1 / sqrt((double)k.dims[3]),
                                .adjust = adjust,
                                .inspect = show,
                                .user = &s,
                                .scratch = memory};
    bert_attention_run(&attention);
    return BERT_OK;
}

size_t bert_workspace_multi_head_attention(const bert_op_node *node) {
    bert_tensor inputs[PAST_VALUE + 1] = {{0}};
    size_t elements = 0;
    for (int32_t i = 0; i < node->input_count && i <= PAST_VALUE; i++) {
        inputs[i].dtype = node->inputs[i].dtype;
        inputs[i].rank = node->inputs[i].rank;
        for (int32_t d = 0; d < inputs[i].rank; d++) inputs[i].dims[d] = node->inputs[i].dims[d];
        bool gathered = i <= VALUE || i >= PAST_KEY;
        if (!gathered || inputs[i].dtype == BERT_DTYPE_UNDEFINED) continue;
        int64_t own = bert_tensor_elements(&inputs[i]);
        if (own < 0 || !bert_size_add(elements, (size_t)own, &elements)) return SIZE_MAX;
    }
    int64_t heads = BERT_NODE_INT(node, "num_heads", 1);
    form f = form_of(inputs[KEY].dtype != BERT_DTYPE_UNDEFINED, inputs[VALUE].dtype != BERT_DTYPE_UNDEFINED);
    sources from = describe(f, heads, &inputs[QUERY], &inputs[KEY], &inputs[VALUE]);
    int64_t columns =
        from.part[1].rows + (inputs[PAST_KEY].dtype != BERT_DTYPE_UNDEFINED ? inputs[PAST_KEY].dims[2] : 0);
    size_t scratch = bert_attention_workspace(columns, from.part[1].depth, from.part[2].depth);
    size_t bytes;
    bool fits = bert_size_multiply(elements, sizeof(double), &bytes) && scratch != SIZE_MAX;
    return fits && bert_size_add(bytes, scratch, &bytes) ? bytes : SIZE_MAX;
}
