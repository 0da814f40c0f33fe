#include "core/passes/heads.h"

#include "core/base/error.h"
#include "core/passes/layout.h"
#include "core/passes/slice.h"

#include <string.h>

const int32_t bert_heads_bhsd[4] = {0, 2, 1, 3}, bert_heads_bhds[4] = {0, 2, 3, 1};

/* ---- Thirds ---------------------------------------------------------------------------------------------------------
 */

/* Whether a value is one slice of another, of which there may be three: a view but for the others. */
static bool is_one_of_three(const bert_value *value, bert_slice *out) {
    if (!bert_slice_of(value, out) || out->start > 2) return false;
    return out->drops_axis || bert_value_dim(value, out->axis) == 1;
}

static void drop_dimension(bert_layout *layout, int32_t axis) {
    layout->rank--;
    for (int32_t i = axis; i < layout->rank; i++) layout->dims[i] = layout->dims[i + 1];
}

/* That slice of a view whose dimension there is the thirds, of `width` elements, of the source's last. */
static bool take_third(bert_layout *layout, const bert_slice *of, bert_dim width) {
    if (of->axis >= layout->rank || layout->dims[of->axis].count != 1) return false;
    const bert_piece *piece = &layout->dims[of->axis].pieces[0];
    if (piece->axis != 2 || piece->size != 3 || piece->inner != width) return false;
    layout->dims[of->axis].count = 0;
    if (of->drops_axis) drop_dimension(layout, of->axis);
    return true;
}

/* ---- Views ----------------------------------------------------------------------------------------------------------
 */

/* What makes steps[0], the view, of the source steps[count]. */
static bool follow(bert_symbols *symbols, bert_value *const *steps, int count, bert_dim width, bert_layout *layout,
                   int32_t *third) {
    *third = -1;
    if (!bert_layout_begin(layout, steps[count])) return false;
    for (int i = count - 1; i >= 0; i--) {
        const bert_node *node = steps[i]->producer;
        bert_slice of;
        if (bert_is_view(node)) {
            if (!bert_layout_apply(layout, node, symbols)) return false;
        } else if (is_one_of_three(steps[i], &of)) {
            if (*third >= 0 || !take_third(layout, &of, width)) return false;
            *third = (int32_t)of.start;
        }
    }
    return true;
}

int32_t bert_heads_place(int32_t dimension, const int32_t order[4]) {
    int32_t place = 0;
    while (order[place] != dimension) place++;
    return place;
}

/* Whether the view steps[0] is `order` of a source steps[count] [B, S, H D], or of a third of one [B, S, 3 H D]: order
 * is the permutation of (B, S, H, D). */
static bool read_heads(bert_symbols *symbols, bert_value *const *steps, int count, const int32_t order[4],
                       bert_heads *out) {
    const bert_value *view = steps[0];
    bert_value *source = steps[count];
    const int32_t rank = bert_value_rank(view), from_end = rank - 4; /* with batch and heads joined, they come first */
    bert_layout found, expected;
    if (bert_value_rank(source) != 3 || (rank != 4 && rank != 3)) return false;
    out->source = source;
    out->rank = rank;
    out->batch = bert_value_dim(source, 0);
    out->length = bert_value_dim(source, 1);
    out->size = bert_value_dim(view, bert_heads_place(3, order) + from_end);
    out->heads = rank == 4 ? bert_value_dim(view, bert_heads_place(2, order))
                           : bert_dim_divide(symbols, bert_value_dim(view, 0), out->batch, true);
    if (!bert_dim_known(out->heads) || !bert_dim_known(out->size) || out->heads < 1 || out->size < 1) return false;
    if (!follow(symbols, steps, count, out->heads * out->size, &found, &out->third) ||
        !bert_layout_begin(&expected, source))
        return false;
    if (out->third < 0) {
        const bert_dim split[4] = {out->batch, out->length, out->heads, out->size};
        if (!bert_layout_reshape(&expected, split, 4, symbols)) return false;
    } else {
        const bert_dim split[5] = {out->batch, out->length, 3, out->heads, out->size};
        if (!bert_layout_reshape(&expected, split, 5, symbols)) return false;
        drop_dimension(&expected, 2);
    }
    bert_layout_permute(&expected, order);
    if (rank == 3) {
        const bert_shape *shape = &view->info.shape;
        if (!bert_layout_reshape(&expected, shape->dims, 3, symbols)) return false;
    }
    return bert_layout_equal(&found, &expected);
}

double bert_scale_of(const bert_node *node) {
    double scalar = 0;
    if (bert_node_is(node, BERT_OP_Mul) && bert_node_beside_scalar(node, false, &scalar)) return scalar;
    if (bert_node_is(node, BERT_OP_Div) && bert_node_beside_scalar(node, true, &scalar) && scalar != 0)
        return 1 / scalar;
    return 0;
}

bert_value *bert_scaled_operand(const bert_node *node) {
    double scalar = 0;
    return bert_node_beside_scalar(node, bert_node_is(node, BERT_OP_Div), &scalar);
}

/* Heads [B, S, H, D] in any order of dimensions: as far back as only transpositions and scales are passed. */
static bool match_in_four(bert_pattern *pattern, bert_value *view, const int32_t order[4], bert_heads *out) {
    int64_t axes[4] = {0, 1, 2, 3}; /* of the source, by dimension of the view */
    bert_value *source = view;
    if (bert_value_rank(view) != 4) return false;
    *out = (bert_heads){.scale = 1, .rank = 4, .third = -1};
    for (int passed = 0; passed < BERT_HEADS_VIEWS && source->producer; passed++) {
        bert_node *node = source->producer;
        const double scale = bert_scale_of(node);
        size_t count = 0;
        const int64_t *perm = bert_node_is(node, BERT_OP_Transpose) ? BERT_NODE_INTS(node, "perm", &count) : NULL;
        if (scale == 0 && count != 4) break;
        for (int i = 0; i < 4 && scale == 0; i++) axes[i] = perm[axes[i]];
        if (scale != 0) out->scale *= scale;
        source = scale != 0 ? bert_scaled_operand(node) : node->inputs[0];
        if (bert_value_rank(source) != 4) return false;
        bert_pattern_add_shared(pattern, node);
    }
    bert_dim *dims[4] = {&out->batch, &out->length, &out->heads, &out->size};
    for (int i = 0; i < 4; i++) {
        out->axes[order[i]] = axes[i];
        *dims[order[i]] = bert_value_dim(view, i);
    }
    out->source = source;
    return bert_dim_known(out->heads) && bert_dim_known(out->size) && out->heads >= 1 && out->size >= 1;
}

bool bert_match_heads(bert_pattern *pattern, bert_value *view, const int32_t order[4], bert_heads *out) {
    bert_symbols *symbols = pattern->context->graph->symbols;
    bert_value *steps[BERT_HEADS_VIEWS + 1] = {view};
    int count = 0;
    for (; count < BERT_HEADS_VIEWS && steps[count]->producer; count++) {
        bert_node *node = steps[count]->producer;
        const bool scales = bert_scale_of(node) != 0;
        bert_slice of;
        if (!bert_is_view(node) && !scales && !is_one_of_three(steps[count], &of)) break;
        steps[count + 1] = scales ? bert_scaled_operand(node) : node->inputs[0];
    }
    for (; count >= 0; count--) {
        if (!read_heads(symbols, steps, count, order, out)) continue;
        out->scale = 1;
        for (int i = 0; i < count; i++) {
            bert_node *node = steps[i]->producer;
            const double scale = bert_scale_of(node);
            if (scale != 0) out->scale *= scale;
            bert_pattern_add_shared(pattern, node);
        }
        return true;
    }
    return match_in_four(pattern, view, order, out);
}

static bert_status build_third(const bert_pattern *pattern, const bert_heads *from, bert_value **out) {
    const int64_t width = from->heads * from->size;
    bert_value *inputs[4] = {from->source};
    BERT_TRY(bert_build_ints(pattern->context, &(int64_t){from->third * width}, 1, &inputs[1]));
    BERT_TRY(bert_build_ints(pattern->context, &(int64_t){(from->third + 1) * width}, 1, &inputs[2]));
    BERT_TRY(bert_build_ints(pattern->context, &(int64_t){2}, 1, &inputs[3]));
    return bert_build_op(pattern->context, pattern->root, BERT_OP_Slice, inputs, 4, out);
}

bert_status bert_build_heads(const bert_pattern *pattern, const bert_heads *from, bert_value **out) {
    bert_pass_context *context = pattern->context;
    *out = from->source;
    if (from->third >= 0) return build_third(pattern, from, out);
    if (bert_value_rank(from->source) == 3) return BERT_OK;
    bool in_order = true;
    for (int i = 0; i < 4; i++) in_order = in_order && from->axes[i] == i;
    if (!in_order) BERT_TRY(bert_build_transpose(context, pattern->root, *out, from->axes, 4, out));
    bert_value *inputs[2] = {*out, NULL};
    const int64_t shape[3] = {0, 0, from->heads * from->size}; /* 0: as it is */
    BERT_TRY(bert_build_ints(context, shape, 3, &inputs[1]));
    return bert_build_op(context, pattern->root, BERT_OP_Reshape, inputs, 2, out);
}
