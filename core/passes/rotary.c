#include "core/passes/rotary.h"

#include "core/base/error.h"
#include "core/passes/layout.h"
#include "core/passes/slice.h"

/* What of the dimensions (B, S, H, D) stands where in heads that are rotated. */
static const int32_t bshd[4] = {0, 1, 2, 3};

/* ---- x cosines + rotate_half(x) sines -------------------------------------------------------------------------------
 */

/* What a value is a half of, the first or the second, along the last of four dimensions; NULL: it is none. */
static bert_value *halved(const bert_value *value, bool second) {
    bert_slice slice;
    if (bert_value_rank(value) != 4 || !bert_slice_of(value, &slice) || slice.drops_axis || slice.axis != 3)
        return NULL;
    const bert_dim whole = bert_value_dim(slice.source, 3), half = bert_value_dim(value, 3);
    const bool is_half = bert_dim_known(whole) && bert_dim_known(half) && whole == 2 * half;
    return is_half && slice.start == (second ? half : 0) ? slice.source : NULL;
}

/* Concat(-x[D/2:], x[:D/2]): x, or NULL. */
static bert_value *match_turned(bert_pattern *pattern, bert_value *value) {
    bert_node *concat = bert_value_made_by(value, BERT_OP_Concat);
    if (!concat || bert_value_rank(value) != 4 || concat->input_count != 2 ||
        bert_axis_from_front(BERT_NODE_INT(concat, "axis", 0), 4) != 3)
        return NULL;
    bert_node *negated = bert_value_made_by(concat->inputs[0], BERT_OP_Neg);
    bert_value *x = negated ? halved(concat->inputs[1], false) : NULL;
    if (!x || halved(negated->inputs[0], true) != x) return NULL;
    bert_pattern_add_shared(pattern, concat);
    bert_pattern_add_shared(pattern, negated);
    bert_pattern_add_shared(pattern, negated->inputs[0]->producer);
    bert_pattern_add_shared(pattern, concat->inputs[1]->producer);
    return x;
}

/* The product with the sines: x, or NULL. */
static bert_value *match_sines(bert_pattern *pattern, bert_node *product, bert_rotation *out) {
    for (int side = 0; side < 2; side++) {
        bert_value *x = match_turned(pattern, product->inputs[side]);
        out->sines = product->inputs[1 - side];
        if (x) return x;
    }
    return NULL;
}

/* x, where a node adds its products; NULL where it does something else. */
static bert_value *match_rotation(bert_pattern *pattern, bert_node *add, bert_rotation *out) {
    for (int side = 0; side < 2; side++) {
        const bert_pattern before = *pattern;
        bert_node *by_cosines = bert_value_made_by(add->inputs[side], BERT_OP_Mul);
        bert_node *by_sines = bert_value_made_by(add->inputs[1 - side], BERT_OP_Mul);
        if (!by_cosines || !by_sines) return NULL;
        bert_value *x = match_sines(pattern, by_sines, out);
        out->cosines = x ? bert_node_beside(by_cosines, x) : NULL;
        if (out->cosines) {
            bert_pattern_add_shared(pattern, add);
            bert_pattern_add_shared(pattern, by_cosines);
            bert_pattern_add_shared(pattern, by_sines);
            return x;
        }
        *pattern = before;
    }
    return NULL;
}

/* ---- Heads ----------------------------------------------------------------------------------------------------------
 */

/* Whether a dimension is `whole`, or as much of it as a table has rows: there is an error beyond it, here as there. One
 * row alone would be the same for all. */
static bool reaches(bert_symbols *symbols, bert_dim dim, bert_dim whole) {
    if (dim == whole) return true;
    return !bert_dim_known(dim) && !bert_dim_known(whole) && dim != bert_dim_minimum(symbols, whole, 1) &&
           bert_dim_broadcast(symbols, dim, whole) == whole;
}

/* Whether angles broadcast to heads `x` for certain, the same for all heads and with a row for each token. */
static bool fit(bert_symbols *symbols, const bert_value *angles, const bert_value *x, const int32_t order[4]) {
    const int32_t missing = 4 - bert_value_rank(angles);
    if (missing < 0 || missing > (order[2] == 2 ? 1 : 2) || angles->info.dtype != x->info.dtype) return false;
    for (int32_t i = 0; i < 4; i++) {
        const bert_dim dim = i < missing ? 1 : bert_value_dim(angles, i - missing), whole = bert_value_dim(x, i);
        switch (order[i]) {
        case 0: /* sequences may share angles */
            if (dim != 1 && dim != whole) return false;
            break;
        case 1:
            if (!reaches(symbols, dim, whole)) return false;
            break;
        case 2: /* heads do */
            if (dim != 1) return false;
            break;
        default:
            if (dim != whole) return false;
        }
    }
    return true;
}

/* Whether the views in steps, of x = steps[count], give its dimensions, which are (B, S, H, D) in the order `from`, in
 * the order `to`. */
static bool reorders(bert_symbols *symbols, bert_value *const *steps, int count, const int32_t from[4],
                     const int32_t to[4]) {
    bert_layout found, expected;
    int32_t perm[4];
    if (!bert_layout_begin(&found, steps[count])) return false;
    expected = found;
    for (int i = count - 1; i >= 0; i--) {
        const bert_node *node = steps[i]->producer;
        if (bert_is_view(node) && !bert_layout_apply(&found, node, symbols)) return false;
    }
    for (int32_t i = 0; i < 4; i++) perm[i] = bert_heads_place(to[i], from);
    bert_layout_permute(&expected, perm);
    const bert_shape *shape = &steps[0]->info.shape;
    if (shape->rank == 3 && !bert_layout_reshape(&expected, shape->dims, 3, symbols)) return false;
    return bert_layout_equal(&found, &expected);
}

bool bert_match_rotated_heads(bert_pattern *pattern, bert_value *view, const int32_t order[4], bert_heads *out,
                              bert_rotation *rotation) {
    bert_symbols *symbols = pattern->context->graph->symbols;
    bert_value *steps[BERT_HEADS_VIEWS + 1] = {view};
    double scale = 1;
    int count = 0;
    for (; count < BERT_HEADS_VIEWS && steps[count]->producer; count++) {
        bert_node *node = steps[count]->producer;
        const double by = bert_scale_of(node);
        if (!bert_is_view(node) && by == 0) break;
        if (by != 0) scale *= by;
        steps[count + 1] = by != 0 ? bert_scaled_operand(node) : node->inputs[0];
        bert_pattern_add_shared(pattern, node);
    }
    bert_node *add = bert_value_made_by(steps[count], BERT_OP_Add);
    bert_value *x = add ? match_rotation(pattern, add, rotation) : NULL;
    if (!x || !bert_same_shape(x, steps[count])) return false;
    const int32_t *orders[] = {bert_heads_bhsd, bshd};
    for (int i = 0; i < 2; i++) {
        if (!reorders(symbols, steps, count, orders[i], order)) continue;
        rotation->head_axis = i == 0 ? -3 : -2;
        if (!fit(symbols, rotation->cosines, x, orders[i]) || !bert_same_shape(rotation->cosines, rotation->sines) ||
            rotation->sines->info.dtype != x->info.dtype || !bert_match_heads(pattern, x, orders[i], out))
            return false;
        out->scale *= scale;
        out->rank = bert_value_rank(view);
        return true;
    }
    return false;
}

bool bert_rotation_equal(const bert_rotation *a, const bert_rotation *b) {
    return a->cosines == b->cosines && a->sines == b->sines && a->head_axis == b->head_axis;
}

bert_status bert_build_angles(const bert_pattern *pattern, const bert_rotation *rotation, bert_value *angles,
                              bert_value **out) {
    bert_pass_context *context = pattern->context;
    const int32_t rank = bert_value_rank(angles);
    const int64_t axis = rank + rotation->head_axis, first = 0;
    const bert_shape wanted = {.rank = 3,
                               .dims = {rank == 4 ? bert_value_dim(angles, 0) : 1,
                                        bert_value_dim(angles, rotation->head_axis == -3 ? -2 : -3),
                                        bert_value_dim(angles, -1)}};
    bert_value *inputs[2] = {bert_value_before_reshaping(angles, &wanted), NULL};
    *out = inputs[0];
    if (bert_shapes_equal(&(*out)->info.shape, &wanted)) return BERT_OK;
    if (axis > 0) {
        BERT_TRY(bert_build_ints(context, &axis, 1, &inputs[1]));
        BERT_TRY(bert_build_op(context, pattern->root, BERT_OP_Squeeze, inputs, 2, out));
    }
    return bert_value_rank(*out) == 3 ? BERT_OK : bert_build_unsqueeze(context, pattern->root, *out, &first, 1, out);
}
