/* com.microsoft's RemovePadding, RestorePadding and PackedAttention: tokens without the padding between sequences. */
#include "core/graph/ops/attention_core.h"
#include "core/graph/ops/attention_masks.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/product.h"

#include <inttypes.h>
#include <math.h>

/* ---- RemovePadding --------------------------------------------------------------------------------------------------
 */

/* Inputs: x [B, S, K], counts [B]. Outputs: tokens [total, K], offsets [B, S], cumulated counts [B + 1], longest [1].
 */
bert_status bert_infer_remove_padding(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, 0, 3, 3));
    BERT_TRY(bert_infer_rank(in, 1, 1, 1));
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *counts = bert_infer_shape(in, 1);
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    bert_dim total = bert_dim_fresh(in->symbols);
    if (bert_infer_content(in, 1, values, &count)) {
        total = 0;
        for (int32_t i = 0; i < count; i++) total = bert_dim_add(in->symbols, total, values[i]);
    }
    bert_dim batch = counts->rank == 1 ? counts->dims[0] : bert_dim_fresh(in->symbols);
    bert_dim length = bert_dim_fresh(in->symbols);
    bert_dim width = bert_dim_fresh(in->symbols);
    if (x->rank == 3) {
        BERT_TRY(bert_infer_equal(in, batch, x->dims[0], "the counts of tokens and the sequences", &batch));
        length = x->dims[1];
        width = x->dims[2];
    }
    bert_shape tokens = {.rank = 2, .dims = {total, width}};
    bert_shape offsets = {.rank = 2, .dims = {batch, length}};
    bert_shape cumulated = {.rank = 1, .dims = {bert_dim_add(in->symbols, batch, 1)}};
    bert_shape one = {.rank = 1, .dims = {1}};
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &tokens);
    bert_infer_give(in, 1, BERT_INT32, &offsets);
    bert_infer_give(in, 2, BERT_INT32, &cumulated);
    bert_infer_give(in, 3, BERT_INT32, &one);
    return BERT_OK;
}

/* Counts lie in [0, S] and add up to the rows of the output. */
static bert_status check_counts(const bert_reference_call *call, int64_t *longest) {
    const bert_tensor *x = &call->inputs[0];
    int64_t total = 0;
    *longest = 0;
    for (int64_t i = 0; i < x->dims[0]; i++) {
        int64_t count = (int64_t)bert_load_integer(&call->inputs[1], i);
        if (count < 0 || count > x->dims[1]) {
            return bert_fail(call->error, BERT_INVALID_INPUT, "sequence %" PRId64 " has %" PRId64 " tokens of %" PRId64,
                             i, count, x->dims[1]);
        }
        total += count;
        if (count > *longest) *longest = count;
    }
    if (total == call->outputs[0].dims[0]) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT, "%" PRId64 " tokens are counted where %" PRId64 " were expected",
                     total, call->outputs[0].dims[0]);
}

bert_status bert_reference_remove_padding(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *offsets = bert_call_output(call, 1);
    const bert_tensor *cumulated = bert_call_output(call, 2);
    const bert_tensor *longest = bert_call_output(call, 3);
    int64_t most;
    BERT_TRY(check_counts(call, &most));
    int64_t token = 0;
    int64_t padding = call->outputs[0].dims[0];
    int64_t width = x->dims[2];
    for (int64_t i = 0; i < x->dims[0]; i++) {
        if (cumulated) bert_store_integer(cumulated, i, token);
        int64_t count = (int64_t)bert_load_integer(&call->inputs[1], i);
        for (int64_t j = 0; j < x->dims[1]; j++) {
            int64_t from = i * x->dims[1] + j;
            if (j < count) bert_copy_elements(&call->outputs[0], token * width, x, from * width, width);
            if (offsets) bert_store_integer(offsets, j < count ? token : padding, from);
            if (j < count) {
                token++;
            } else {
                padding++;
            }
        }
    }
    if (cumulated) bert_store_integer(cumulated, x->dims[0], token);
    if (longest) bert_store_integer(longest, 0, most);
    return BERT_OK;
}

/* ---- RestorePadding -------------------------------------------------------------------------------------------------
 */

bert_status bert_infer_restore_padding(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, 0, 2, 2));
    BERT_TRY(bert_infer_rank(in, 1, 2, 2));
    const bert_shape *x = bert_infer_shape(in, 0);
    bert_shape shape = *bert_infer_shape(in, 1);
    bert_dim width = x->rank == 2 ? x->dims[1] : bert_dim_fresh(in->symbols);
    if (shape.rank == 2) BERT_TRY(bert_shape_append(in, &shape, width));
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

bert_status bert_reference_restore_padding(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *offsets = &call->inputs[1];
    const bert_tensor *y = &call->outputs[0];
    int64_t places = offsets->dims[0] * offsets->dims[1];
    int64_t width = x->dims[1];
    int64_t count = bert_tensor_elements(y);
    if (x->dims[0] > places) {
        return bert_fail(call->error, BERT_INVALID_INPUT, "%" PRId64 " tokens don't fit %" PRId64 " places", x->dims[0],
                         places);
    }
    for (int64_t i = 0; i < count; i++) bert_store(y, i, 0);
    for (int64_t token = 0; token < x->dims[0]; token++) {
        int64_t to = (int64_t)bert_load_integer(offsets, token);
        if (to < 0 || to >= places) {
            return bert_fail(call->error, BERT_INVALID_INPUT,
                             "token %" PRId64 " has offset %" PRId64 ", outside %" PRId64 " places", token, to, places);
        }
        bert_copy_elements(y, to * width, x, token * width, width);
    }
    return BERT_OK;
}

/* ---- PackedAttention ------------------------------------------------------------------------------------------------
 */

/* Columns of Q (and of K), and of V. */
static void packed_sizes(const bert_attribute *attributes, size_t count, int64_t columns, int64_t *q, int64_t *v) {
    size_t listed_count = 0;
    const int64_t *listed = bert_attribute_ints(attributes, count, "qkv_hidden_sizes", &listed_count);
    *q = listed_count == 3 ? listed[0] : columns / 3;
    *v = listed_count == 3 ? listed[2] : columns / 3;
}

/* Inputs: x [tokens, K], weights, bias, offsets [B, S], cumulated counts [B + 1], bias of the scores. */
bert_status bert_infer_packed_attention(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT));
    static const int32_t same_type[] = {1, 2, 5};
    for (int32_t i = 0; i < 3; i++) BERT_TRY(bert_infer_same_type(in, 0, same_type[i]));
    static const int32_t ranks[] = {2, 2, 1, 2, 1, 4};
    for (int32_t i = 0; i < 6; i++) BERT_TRY(bert_infer_rank(in, i, ranks[i], ranks[i]));
    BERT_TRY(bert_infer_type(in, 3, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, 4, BERT_TYPE(BERT_INT32)));
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *weights = bert_infer_shape(in, 1);
    const bert_shape *bias = bert_infer_shape(in, 2);
    const bert_shape *offsets = bert_infer_shape(in, 3);
    const bert_shape *cumulated = bert_infer_shape(in, 4);
    int64_t heads = BERT_INFER_INT(in, "num_heads", 0);
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), NULL);
    if (x->rank < 0 || weights->rank < 0 || !bert_dim_known(weights->dims[1])) return BERT_OK;
    int64_t q;
    int64_t v;
    int64_t columns = weights->dims[1];
    packed_sizes(in->attributes, in->attribute_count, columns, &q, &v);
    bool fits = heads > 0 && q > 0 && v > 0 && q <= columns && v <= columns && 2 * q + v == columns;
    if (!fits || q % heads || v % heads) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "%" PRId64 " columns of the weights don't divide into Q, K and V of %" PRId64 " heads",
                         columns, heads);
    }
    BERT_TRY(bert_infer_equal(in, x->dims[1], weights->dims[0], "the columns of the input and the rows of the weights",
                              NULL));
    if (bias->rank == 1) {
        BERT_TRY(bert_infer_equal(in, bias->dims[0], columns, "the elements of the bias and the columns of the weights",
                                  NULL));
    }
    if (offsets->rank == 2 && cumulated->rank == 1) {
        BERT_TRY(bert_infer_equal(in, bert_dim_add(in->symbols, offsets->dims[0], 1), cumulated->dims[0],
                                  "the sequences and 1, and the cumulated counts", NULL));
    }
    if (offsets->rank == 2) {
        bert_shape scores = {.rank = 4, .dims = {offsets->dims[0], heads, offsets->dims[1], offsets->dims[1]}};
        BERT_TRY(bert_infer_broadcasts_to(in, 5, &scores));
    }
    bert_shape shape = {.rank = 2, .dims = {x->dims[0], v}};
    bert_infer_give(in, 0, bert_infer_dtype(in, 0), &shape);
    return BERT_OK;
}

/* x W + b of every token. */
static void project(const bert_reference_call *call, double *out, double *scratch) {
    const bert_tensor *x = &call->inputs[0];
    int64_t columns = call->inputs[1].dims[1];
    bert_matrix left = {x, 0, x->dims[1], 1};
    bert_matrix right = {&call->inputs[1], 0, columns, 1};
    for (int64_t row = 0; row < x->dims[0]; row += BERT_PRODUCT_ROWS) {
        int64_t count = x->dims[0] - row < BERT_PRODUCT_ROWS ? x->dims[0] - row : BERT_PRODUCT_ROWS;
        bert_product_rows(&left, &right, row, count, x->dims[1], columns, scratch);
        for (int64_t i = 0; i < count * columns; i++) {
            out[row * columns + i] = scratch[i] + bert_load(&call->inputs[2], i % columns);
        }
    }
}

/* Tokens [from, to) are a sequence: within the tensors, and no longer than the padded one. */
static bert_status sequence_range(const bert_reference_call *call, int64_t sequence, int64_t *from, int64_t *to) {
    *from = (int64_t)bert_load_integer(&call->inputs[4], sequence);
    *to = (int64_t)bert_load_integer(&call->inputs[4], sequence + 1);
    int64_t tokens = call->inputs[0].dims[0];
    if (*from >= 0 && *to >= *from && *to <= tokens && *to - *from <= call->inputs[3].dims[1]) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT,
                     "sequence %" PRId64 " is tokens %" PRId64 " to %" PRId64 " of %" PRId64, sequence, *from, *to,
                     tokens);
}

bert_status bert_reference_packed_attention(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    int64_t tokens = y->dims[0];
    int64_t columns = call->inputs[1].dims[1];
    int64_t heads = BERT_CALL_INT(call, "num_heads", 1);
    double scale = BERT_CALL_FLOAT(call, "scale", 0.0F);
    int64_t q;
    int64_t v;
    packed_sizes(call->attributes, call->attribute_count, columns, &q, &v);
    double *projected = call->workspace;
    double *scratch = projected + tokens * columns;
    project(call, projected, scratch);
    bert_tensor qkv = {.dtype = BERT_DOUBLE, .rank = 3, .dims = {1, tokens, columns}, .data = projected};
    bert_tensor out = {.dtype = y->dtype, .rank = 3, .dims = {1, tokens, v}, .data = y->data};
    int64_t depth = q / heads;
    int64_t done = 0;
    for (int64_t sequence = 0; sequence + 1 < call->inputs[4].dims[0]; sequence++) {
        int64_t from;
        int64_t to;
        BERT_TRY(sequence_range(call, sequence, &from, &to));
        if (from != done) {
            return bert_fail(call->error, BERT_INVALID_INPUT,
                             "sequence %" PRId64 " starts at token %" PRId64 ", not %" PRId64, sequence, from, done);
        }
        done = to;
        bert_attention_masks masks = {
            .bias = bert_spread_of(bert_call_input(call, 5)), .rows = to - from, .columns = to - from};
        if (masks.bias.tensor) masks.bias.first = sequence * masks.bias.strides[0];
        bert_attention attention = {.q = bert_heads_interleaved(&qkv, from * columns, depth),
                                    .k = bert_heads_interleaved(&qkv, from * columns + q, depth),
                                    .v = bert_heads_interleaved(&qkv, from * columns + 2 * q, v / heads),
                                    .y = bert_heads_interleaved(&out, from * v, v / heads),
                                    .batch = 1,
                                    .heads = heads,
                                    .group = 1,
                                    .rows = to - from,
                                    .columns = to - from,
                                    .depth = depth,
                                    .value_depth = v / heads,
                                    .scale = scale != 0 ? scale : 1 / sqrt((double)depth),
                                    .adjust = bert_attention_masks_apply,
                                    .user = &masks,
                                    .scratch = scratch};
        bert_attention_run(&attention);
    }
    if (done == tokens) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT, "%" PRId64 " tokens are in sequences, of %" PRId64, done, tokens);
}

size_t bert_workspace_packed_attention(const bert_op_node *node) {
    int64_t columns = node->inputs[1].dims[1];
    int64_t tokens = node->inputs[0].dims[0];
    size_t bytes;
    if (!bert_size_multiply((size_t)columns, (size_t)tokens, &bytes)) return SIZE_MAX;
    if (!bert_size_multiply(bytes, sizeof(double), &bytes)) return SIZE_MAX;
    size_t product = bert_product_workspace(columns);
    size_t attention = bert_attention_workspace(tokens, columns, columns);
    size_t scratch = product > attention ? product : attention;
    return scratch != SIZE_MAX && bert_size_add(bytes, scratch, &bytes) ? bytes : SIZE_MAX;
}
