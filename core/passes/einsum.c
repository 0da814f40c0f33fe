/*
 * Einsum in other words, so that the passes after this one see products, sums and views:
 *
 *   one operand     ReduceSum of what is summed over, and a Transpose
 *   "i,j->ij"       nothing is summed over: Mul of operands that are broadcast
 *   "bqd,bkd->bqk"  MatMul
 *
 * A MatMul's dimensions are batches, which both operands and the output have, rows, which the left one has, columns,
 * which the right one has, and the depth that is summed over. Operands are transposed to that order where they don't
 * lie so. Rows may have several labels: they are further batches, along which the right operand is repeated. Where
 * columns or depth have several ("ibh,hnd->ibnd", a weight by heads), these are joined to one dimension by a Reshape.
 *
 * Einsum repeats a label's dimension of 1; so do Mul and MatMul's batches, but its depth does not: that must be of one
 * size for certain.
 */
#include "core/graph/einsum.h"
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* Axes in an order: of a tensor, or of a part of the product. */
typedef struct axes {
    int32_t count;
    uint8_t list[BERT_MAX_RANK];
} axes;

typedef struct operand {
    bert_value *value;
    axes has; /* A joined group is its first axis. */
} operand;

typedef struct rewrite {
    bert_pass_context *context;
    bert_node *node;
    operand operands[2]; /* Left and right. */
    axes output;
    axes batches, rows, columns, depth;
    /* The last node of the new ones so far, which isn't made yet: the one at the end takes the Einsum's place. */
    bert_op_id op;
    bert_value *inputs[2];
    const bert_attribute *attribute;
} rewrite;

static int32_t place_of(const axes *in, uint8_t axis) {
    for (int32_t i = 0; i < in->count; i++) {
        if (in->list[i] == axis) return i;
    }
    return -1;
}

static bool has(const axes *in, uint8_t axis) {
    return place_of(in, axis) >= 0;
}

static void append(axes *to, const axes *from) {
    for (int32_t i = 0; i < from->count && to->count < BERT_MAX_RANK; i++) to->list[to->count++] = from->list[i];
}

static bert_dim size_of(const operand *o, uint8_t axis) {
    return bert_value_dim(o->value, place_of(&o->has, axis));
}

/* ---- Building -------------------------------------------------------------------------------------------------------
 */

static bert_node_spec spec_of(const rewrite *r) {
    return (bert_node_spec){.op = bert_op_get(r->op),
                            .opset = bert_build_opset(r->node, 13),
                            .inputs = r->inputs,
                            .input_count = r->inputs[1] ? 2 : 1,
                            .attributes = r->attribute,
                            .attribute_count = r->attribute ? 1 : 0};
}

/* The next node, of `first` (NULL: of what the one before gives) and `second`, which may be NULL. */
static bert_status then(rewrite *r, bert_op_id op, bert_value *first, bert_value *second,
                        const bert_attribute *attribute) {
    if (!first) {
        const bert_node_spec before = spec_of(r);
        BERT_TRY(bert_build(r->context, r->node, &before, r->node, &first));
    }
    r->op = op;
    r->inputs[0] = first;
    r->inputs[1] = second;
    r->attribute = attribute;
    return BERT_OK;
}

static bert_status finish(rewrite *r) {
    bert_pattern pattern;
    const bert_node_spec last = spec_of(r);
    bert_pattern_begin(&pattern, r->context, r->node);
    return bert_pattern_replace(&pattern, &last, NULL);
}

/* The attribute `perm` that brings dimensions `from` to the order `to`; NULL where they are in it. */
static bert_status permutation(rewrite *r, const axes *from, const axes *to, const bert_attribute **out) {
    bert_arena *arena = &r->context->graph->arena;
    bool in_order = true;
    *out = NULL;
    for (int32_t i = 0; i < to->count; i++) in_order = in_order && from->list[i] == to->list[i];
    if (in_order) return BERT_OK;
    bert_attribute *made = BERT_ARENA_NEW(arena, bert_attribute);
    int64_t *perm = BERT_ARENA_NEW_ARRAY(arena, int64_t, (size_t)to->count);
    if (!made || !perm) return bert_fail_memory(r->context->error, sizeof *made, "an attribute");
    for (int32_t i = 0; i < to->count; i++) perm[i] = place_of(from, to->list[i]);
    *made = (bert_attribute){
        .name = "perm", .kind = BERT_ATTRIBUTE_INTS, .count = (size_t)to->count, .value = {.ints = perm}};
    *out = made;
    return BERT_OK;
}

static bert_status arrange(rewrite *r, operand *o, const axes *order) {
    const bert_attribute *perm = NULL;
    BERT_TRY(permutation(r, &o->has, order, &perm));
    if (!perm) return BERT_OK;
    o->has = *order;
    return bert_build(r->context, r->node,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Transpose),
                                        .opset = bert_build_opset(r->node, 13),
                                        .inputs = &o->value,
                                        .input_count = 1,
                                        .attributes = perm,
                                        .attribute_count = 1},
                      r->node, &o->value);
}

static bert_status unsqueeze(rewrite *r, operand *o, const int64_t *places, int32_t count) {
    if (count == 0) return BERT_OK;
    return bert_build_unsqueeze(r->context, r->node, o->value, places, count, &o->value);
}

/* Transposes what there is, in the order `has`, to the output's. */
static bert_status then_transpose(rewrite *r, const axes *now) {
    const bert_attribute *perm = NULL;
    BERT_TRY(permutation(r, now, &r->output, &perm));
    return perm ? then(r, BERT_OP_Transpose, NULL, NULL, perm) : BERT_OK;
}

/* ---- One operand ----------------------------------------------------------------------------------------------------
 */

static bool sums_of(bert_dtype dtype) {
    return bert_dtype_is_float(dtype) || dtype == BERT_INT32 || dtype == BERT_INT64 || dtype == BERT_UINT32 ||
           dtype == BERT_UINT64;
}

static bert_status rewrite_one(rewrite *r) {
    const operand *o = &r->operands[0];
    static const bert_attribute no_dimensions = BERT_INT_ATTRIBUTE("keepdims", 0);
    axes kept = {0};
    int64_t summed[BERT_MAX_RANK];
    int32_t count = 0;
    for (int32_t i = 0; i < o->has.count; i++) {
        if (has(&r->output, o->has.list[i])) {
            kept.list[kept.count++] = o->has.list[i];
        } else {
            summed[count++] = i;
        }
    }
    if (count && !sums_of(o->value->info.dtype)) {
        bert_pass_missed(r->context, r->node, "ReduceSum has no such type");
        return BERT_OK;
    }
    bert_value *listed = NULL;
    if (count) BERT_TRY(bert_build_ints(r->context, summed, count, &listed));
    BERT_TRY(then(r, count ? BERT_OP_ReduceSum : BERT_OP_Identity, o->value, listed, count ? &no_dimensions : NULL));
    BERT_TRY(then_transpose(r, &kept));
    return finish(r);
}

/* ---- Nothing is summed over -----------------------------------------------------------------------------------------
 */

/* In the output's order, with dimensions of 1 for what it hasn't; in front they need not be there. */
static bert_status spread(rewrite *r, operand *o) {
    axes order = {0};
    int64_t places[BERT_MAX_RANK];
    int32_t count = 0;
    for (int32_t i = 0; i < r->output.count; i++) {
        if (has(&o->has, r->output.list[i])) {
            order.list[order.count++] = r->output.list[i];
        } else if (order.count) {
            places[count++] = i;
        }
    }
    const int64_t front = r->output.count - order.count - count;
    for (int32_t i = 0; i < count; i++) places[i] -= front;
    BERT_TRY(arrange(r, o, &order));
    return unsqueeze(r, o, places, count);
}

static bert_status rewrite_outer(rewrite *r) {
    for (int i = 0; i < 2; i++) BERT_TRY(spread(r, &r->operands[i]));
    BERT_TRY(then(r, BERT_OP_Mul, r->operands[0].value, r->operands[1].value, NULL));
    return finish(r);
}

/* ---- A product ------------------------------------------------------------------------------------------------------
 */

/* Which part of the product each label is; false where one operand alone has a label that is summed over. */
static bool sort_labels(rewrite *r) {
    const axes *left = &r->operands[0].has, *right = &r->operands[1].has;
    r->batches = r->rows = r->columns = r->depth = (axes){0};
    for (int32_t i = 0; i < r->output.count; i++) {
        const uint8_t axis = r->output.list[i];
        axes *part = !has(left, axis) ? &r->columns : has(right, axis) ? &r->batches : &r->rows;
        part->list[part->count++] = axis;
    }
    /* In the right one's order, which may be a weight's. */
    for (int32_t i = 0; i < right->count; i++) {
        if (!has(&r->output, right->list[i])) r->depth.list[r->depth.count++] = right->list[i];
    }
    for (int32_t i = 0; i < r->depth.count; i++) {
        if (!has(left, r->depth.list[i])) return false;
    }
    return left->count == r->batches.count + r->rows.count + r->depth.count;
}

/*
 * Whether the labels lie side by side, and are of known sizes, as are those behind them: then a Reshape joins them
 * without asking for sizes at run time.
 */
static bool can_join(const operand *o, const axes *group) {
    if (group->count < 2) return true;
    const int32_t from = place_of(&o->has, group->list[0]);
    int64_t elements = 1;
    for (int32_t i = 0; i < group->count; i++) {
        if (from + i >= o->has.count || o->has.list[from + i] != group->list[i]) return false;
    }
    for (int32_t i = from; i < o->has.count; i++) {
        const bert_dim dim = bert_value_dim(o->value, i);
        if (!bert_dim_known(dim) || dim < 1 || __builtin_mul_overflow(elements, dim, &elements)) return false;
    }
    return true;
}

static bert_status join(rewrite *r, operand *o, const axes *group) {
    if (group->count < 2) return BERT_OK;
    const int32_t from = place_of(&o->has, group->list[0]);
    axes now = {0};
    int64_t dims[BERT_MAX_RANK] = {0};
    for (int32_t i = 0; i < o->has.count; i++) {
        const bert_dim dim = bert_value_dim(o->value, i);
        if (i > from && i < from + group->count) {
            dims[now.count - 1] *= dim;
            continue;
        }
        dims[now.count] = i < from && !o->value->info.constant ? 0 : dim; /* 0: as it is */
        now.list[now.count++] = o->has.list[i];
    }
    o->has = now;
    if (o->value->info.constant) return bert_build_shown(r->context, o->value, now.count, dims, &o->value);
    bert_value *inputs[2] = {o->value, NULL};
    BERT_TRY(bert_build_ints(r->context, dims, now.count, &inputs[1]));
    return bert_build_op(r->context, r->node, BERT_OP_Reshape, inputs, 2, &o->value);
}

static bool fits(rewrite *r) {
    const operand *left = &r->operands[0], *right = &r->operands[1];
    sort_labels(r);
    const int32_t rows = r->rows.count ? r->rows.count : 1;
    return can_join(left, &r->depth) && can_join(right, &r->depth) && can_join(right, &r->columns) &&
           r->batches.count + rows + 1 <= BERT_MAX_RANK;
}

static void swap(rewrite *r) {
    const operand left = r->operands[0];
    r->operands[0] = r->operands[1];
    r->operands[1] = left;
}

static bool is_in_order(const axes *now, const axes *first, const axes *second, const axes *third) {
    axes order = *first;
    append(&order, second);
    append(&order, third);
    return now->count == order.count && memcmp(now->list, order.list, (size_t)order.count) == 0;
}

/* How many tensors the product as it stands needs transposed; more than there can be where it doesn't fit. A weight on
 * the right costs nothing: Linear takes it either way. */
static int cost_of(rewrite *r) {
    static const axes none = {0};
    const operand *left = &r->operands[0], *right = &r->operands[1];
    axes result;
    if (!fits(r)) return 4;
    result = r->batches;
    append(&result, &r->rows);
    return !is_in_order(&left->has, &r->batches, &r->rows, &r->depth) +
           (!right->value->info.constant && !is_in_order(&right->has, &r->batches, &r->depth, &r->columns)) +
           !is_in_order(&r->output, &result, &r->columns, &none);
}

/* Chooses which operand is the left one. False where neither can be. */
static bool choose_sides(rewrite *r) {
    const int as_it_is = cost_of(r);
    swap(r);
    if (cost_of(r) < as_it_is) return true;
    swap(r);
    return fits(r);
}

/* A group of labels that were joined, or none, as one axis. */
static void append_joined(axes *to, const axes *group) {
    const axes one = {.count = group->count ? 1 : 0, .list = {group->list[0]}};
    append(to, &one);
}

/* [batches, rows, depth] and [batches, 1 for all rows but the last, depth, columns]. */
static bert_status arrange_operands(rewrite *r) {
    operand *left = &r->operands[0], *right = &r->operands[1];
    axes order = r->batches;
    int64_t places[BERT_MAX_RANK];
    int32_t count = 0;
    BERT_TRY(join(r, left, &r->depth));
    append(&order, &r->rows);
    append_joined(&order, &r->depth);
    BERT_TRY(arrange(r, left, &order));
    if (r->rows.count == 0) BERT_TRY(unsqueeze(r, left, &(int64_t){r->batches.count}, 1));

    BERT_TRY(join(r, right, &r->depth));
    BERT_TRY(join(r, right, &r->columns));
    order = r->batches;
    append_joined(&order, &r->depth);
    append_joined(&order, &r->columns);
    BERT_TRY(arrange(r, right, &order));
    for (int32_t i = 1; i < r->rows.count && r->batches.count; i++) places[count++] = r->batches.count + i - 1;
    if (r->columns.count == 0) {
        places[count] = r->batches.count + count + 1;
        count++;
    }
    return unsqueeze(r, right, places, count);
}

/* Takes away rows or columns that nobody asked for, and parts those that were joined. */
static bert_status restore_shape(rewrite *r, const operand *columns_of) {
    int64_t numbers[BERT_MAX_RANK];
    int32_t count = 0;
    bert_value *listed = NULL;
    const int32_t rows = r->rows.count ? r->rows.count : 1;
    if (r->rows.count == 0) numbers[count++] = r->batches.count;
    if (r->columns.count == 0) numbers[count++] = r->batches.count + rows;
    if (count) {
        BERT_TRY(bert_build_ints(r->context, numbers, count, &listed));
        BERT_TRY(then(r, BERT_OP_Squeeze, NULL, listed, NULL));
    }
    if (r->columns.count < 2) return BERT_OK;
    for (count = 0; count < r->batches.count + r->rows.count; count++) numbers[count] = 0; /* as it is */
    for (int32_t i = 0; i < r->columns.count; i++) numbers[count++] = size_of(columns_of, r->columns.list[i]);
    BERT_TRY(bert_build_ints(r->context, numbers, count, &listed));
    return then(r, BERT_OP_Reshape, NULL, listed, NULL);
}

static bert_status rewrite_product(rewrite *r) {
    if (!choose_sides(r)) {
        bert_pass_missed(
            r->context, r->node,
            "it would take too many dimensions, or join labels that are apart or of sizes that are not known");
        return BERT_OK;
    }
    const operand columns_of = r->operands[1];
    BERT_TRY(arrange_operands(r));
    BERT_TRY(then(r, BERT_OP_MatMul, r->operands[0].value, r->operands[1].value, NULL));
    BERT_TRY(restore_shape(r, &columns_of));
    axes now = r->batches;
    append(&now, &r->rows);
    append(&now, &r->columns);
    BERT_TRY(then_transpose(r, &now));
    return finish(r);
}

static bert_status rewrite_two(rewrite *r) {
    const bert_dtype dtype = r->operands[0].value->info.dtype;
    if (!sort_labels(r)) {
        bert_pass_missed(r->context, r->node, "it sums over a label that one operand alone has");
        return BERT_OK;
    }
    if (r->depth.count == 0) return rewrite_outer(r);
    if (!sums_of(dtype)) {
        bert_pass_missed(r->context, r->node, "MatMul has no such type");
        return BERT_OK;
    }
    for (int32_t i = 0; i < r->depth.count; i++) {
        const uint8_t axis = r->depth.list[i];
        if (size_of(&r->operands[0], axis) == size_of(&r->operands[1], axis)) continue;
        bert_pass_missed(r->context, r->node, "its label %c is not certainly of one size", bert_einsum_letter(axis));
        return BERT_OK;
    }
    return rewrite_product(r);
}

/* ---- Reading --------------------------------------------------------------------------------------------------------
 */

/* A term of single labels; false where it has an ellipsis, or one twice. */
static bool read_term(const bert_einsum_term *term, axes *out) {
    *out = (axes){0};
    for (int32_t i = 0; i < term->count; i++) {
        if (has(out, term->axes[i])) return false;
        out->list[out->count++] = term->axes[i];
    }
    return term->ellipsis < 0;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    rewrite r = {.context = context, .node = node};
    bert_einsum e;
    if (!bert_node_is(node, BERT_OP_Einsum) || bert_einsum_parse(BERT_NODE_STRING(node, "equation", ""), &e))
        return BERT_OK;
    bool simple = read_term(&e.output, &r.output);
    if (e.operands > 2) {
        bert_pass_missed(context, node, "has more than two operands");
        return BERT_OK;
    }
    const int32_t count = e.operands == 1 ? 1 : 2; /* so that analyzers see that there is one */
    for (int32_t i = 0; i < count; i++) {
        const bert_einsum_term term = bert_einsum_operand(&e, i);
        r.operands[i].value = node->inputs[i];
        simple = read_term(&term, &r.operands[i].has) && simple;
        simple = simple && bert_value_rank(node->inputs[i]) == term.count;
    }
    if (!simple) {
        bert_pass_missed(context, node, "an input has an ellipsis, a label twice, or a rank that is not known");
        return BERT_OK;
    }
    return count == 1 ? rewrite_one(&r) : rewrite_two(&r);
}

bert_status bert_pass_einsum(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
