/*
 * Embedding: rows of up to three tables, summed in any order, and the LayerNormalization of the sum. A table may be one
 * of bytes that are dequantized before the rows are taken, or after; it stays one.
 *
 * The sum is the same whichever of the ids are called words, positions or types; what matters is that the words' ids
 * have the full shape [B, S], where the others may be one row for all of the batch.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/dequantized.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#define TABLES 3

/* Rows of a constant table [V, K]. */
typedef struct lookup {
    bert_value *ids, *table;
    bert_value *scale, *zero_point; /* Of a table of bytes; else NULL. */
} lookup;

typedef struct embedding {
    bert_pattern pattern;
    lookup lookups[TABLES];
    int count;
    bert_node *norm; /* NULL: none. */
} embedding;

/* The Gather of rows that writes `value`, or NULL. */
static bert_node *gather_of(const bert_value *value) {
    bert_node *gather = value ? bert_value_made_by(value, BERT_OP_Gather) : NULL;
    return gather && bert_value_rank(gather->inputs[0]) == 2 &&
                   bert_axis_from_front(BERT_NODE_INT(gather, "axis", 0), 2) == 0
               ? gather
               : NULL;
}

static void take_bytes(lookup *out, bert_value *ids, const bert_dequantized *from) {
    *out = (lookup){ids, from->bytes, from->scale, from->zero_point};
}

/* What `value` looks up, with the nodes that do; *found says whether it does. */
static bert_status match_lookup(embedding *m, const bert_value *value, lookup *out, bool *found) {
    bert_pass_context *context = m->pattern.context;
    bert_node *gather = gather_of(value), *node = value->producer;
    bert_dequantized of;
    *found = true;
    if (gather) {
        bert_value *table = gather->inputs[0];
        bert_pattern_add(&m->pattern, gather);
        *out = (lookup){.ids = gather->inputs[1], .table = table};
        if (table->info.constant && bert_dtype_is_float(table->info.dtype)) return BERT_OK;
        BERT_TRY(bert_match_dequantized(context, table, &of));
        if (of.bytes) {
            for (int i = 0; i < of.count; i++) bert_pattern_add_shared(&m->pattern, of.nodes[i]);
            take_bytes(out, gather->inputs[1], &of);
            return BERT_OK;
        }
    } else if (node && value->producer_output == 0 && node->input_count > 0) {
        gather = gather_of(node->inputs[0]);
        if (gather) BERT_TRY(bert_match_dequantized_rows(context, node, gather->inputs[0], &of));
        if (gather && of.bytes) {
            bert_pattern_add(&m->pattern, node);
            bert_pattern_add(&m->pattern, gather);
            take_bytes(out, gather->inputs[1], &of);
            return BERT_OK;
        }
    }
    *found = false;
    return BERT_OK;
}

/* The tables whose rows `value` is the sum of; *matched false when there is something else in it. */
static bert_status match_sum(embedding *m, const bert_value *value, bool *matched) {
    bert_node *node = value->producer;
    lookup found;
    BERT_TRY(match_lookup(m, value, &found, matched));
    if (*matched) {
        *matched = m->count < TABLES;
        if (*matched) m->lookups[m->count++] = found;
        return BERT_OK;
    }
    if (!bert_node_is(node, BERT_OP_Add)) return BERT_OK;
    bert_pattern_add(&m->pattern, node);
    for (int i = 0; i < 2; i++) {
        BERT_TRY(match_sum(m, node->inputs[i], matched));
        if (!*matched) return BERT_OK;
    }
    return BERT_OK;
}

/*
 * Whether a list of ids is as long as the sequence. Positions are cut from a table of N to min(S, N): where that isn't
 * S, the sum is refused at run time, here as there. (N = 1 would broadcast.)
 */
static bool has_length(const embedding *m, const bert_value *ids, bert_dim length) {
    bert_dim own = bert_value_dim(ids, -1);
    if (own == length) return true;
    const bert_node *slice = bert_value_made_by(ids, BERT_OP_Slice);
    if (!slice || bert_value_rank(slice->inputs[0]) < 1) return false;
    bert_dim rows = bert_value_dim(slice->inputs[0], -1);
    return bert_dim_known(rows) && rows > 1 &&
           bert_dim_minimum(m->pattern.context->graph->symbols, length, rows) == own;
}

/* Whether ids are [B, S], or with `one_row` [1, S] or [S], of a sum [B, S, K]. */
static bool are_ids(const embedding *m, const bert_value *ids, const bert_value *sum, bool one_row) {
    int32_t rank = bert_value_rank(ids);
    if (rank < 1 || rank > 2 || !has_length(m, ids, bert_value_dim(sum, 1))) return false;
    if (ids->info.dtype != BERT_INT64 && ids->info.dtype != BERT_INT32) return false;
    if (rank == 2 && bert_value_dim(ids, 0) == bert_value_dim(sum, 0)) return true;
    return one_row && (rank == 1 || bert_value_dim(ids, 0) == 1);
}

static int64_t rows(const lookup *from) {
    return from->table->info.constant->dims[0];
}

static void swap(lookup *a, lookup *b) {
    lookup old = *a;
    *a = *b;
    *b = old;
}

/* Words first: the largest table whose ids have the full shape. Then positions (one row for all, or the larger). */
static bool assign_roles(embedding *m, const bert_value *sum) {
    int words = -1;
    for (int i = 0; i < m->count; i++) {
        if (!are_ids(m, m->lookups[i].ids, sum, true)) return false;
        if (!are_ids(m, m->lookups[i].ids, sum, false)) continue;
        if (words < 0 || rows(&m->lookups[i]) > rows(&m->lookups[words])) words = i;
    }
    if (words < 0) return false;
    swap(&m->lookups[0], &m->lookups[words]);
    if (m->count < TABLES) return true;
    bool first_is_full = are_ids(m, m->lookups[1].ids, sum, false);
    bool second_is_full = are_ids(m, m->lookups[2].ids, sum, false);
    bool wrong = first_is_full == second_is_full ? rows(&m->lookups[2]) > rows(&m->lookups[1]) : first_is_full;
    if (wrong) swap(&m->lookups[1], &m->lookups[2]);
    return true;
}

static bool is_plain_norm(const bert_node *norm) {
    const bert_value *x = norm->inputs[0];
    int32_t rank = x ? bert_value_rank(x) : -1;
    if (rank != 3 || bert_axis_from_front(BERT_NODE_INT(norm, "axis", -1), rank) != rank - 1) return false;
    bert_dim width = bert_value_dim(x, -1);
    return bert_is_constant_vector(bert_node_in(norm, 1), width) &&
           bert_is_constant_vector(bert_node_in(norm, 2), width);
}

/* Ids of rank 2. */
static bert_status give_ids(embedding *m, bert_value *ids, bert_value **out) {
    *out = ids;
    if (bert_value_rank(ids) == 2) return BERT_OK;
    return bert_build_unsqueeze(m->pattern.context, m->pattern.root, ids, &(int64_t){0}, 1, out);
}

static bert_status rewrite(embedding *m) {
    bert_value *inputs[BERT_EMBEDDING_INPUTS] = {NULL};
    for (int i = 0; i < m->count; i++) {
        const int table = 2 * i + 1;
        BERT_TRY(give_ids(m, m->lookups[i].ids, &inputs[table - 1]));
        inputs[table] = m->lookups[i].table;
        inputs[BERT_EMBEDDING_SCALE(table)] = m->lookups[i].scale;
        inputs[BERT_EMBEDDING_ZERO_POINT(table)] = m->lookups[i].zero_point;
    }
    if (m->norm) {
        inputs[BERT_EMBEDDING_GAMMA] = m->norm->inputs[1];
        inputs[BERT_EMBEDDING_BETA] = m->norm->inputs[2];
    }
    bert_attribute epsilon =
        BERT_FLOAT_ATTRIBUTE("epsilon", m->norm ? BERT_NODE_FLOAT(m->norm, "epsilon", 1e-5F) : 1e-5F);
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Embedding),
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = BERT_EMBEDDING_INPUTS,
                                                  .attributes = &epsilon,
                                                  .attribute_count = 1},
                                NULL);
}

static bert_status match(bert_pass_context *context, bert_node *root, bert_node *norm) {
    const bert_value *sum = norm ? norm->inputs[0] : root->outputs[0];
    embedding m = {.norm = norm};
    if (bert_value_rank(sum) != 3) return BERT_OK;
    bert_pattern_begin(&m.pattern, context, root);
    bool matched = false;
    BERT_TRY(match_sum(&m, sum, &matched));
    if (!matched) {
        if (m.count) bert_pass_missed(context, root, "sums more than rows of at most %d constant tables", TABLES);
        return BERT_OK;
    }
    if (!assign_roles(&m, sum)) {
        bert_pass_missed(context, root, "its ids are not [batch, sequence]");
        return BERT_OK;
    }
    return bert_pattern_closed(&m.pattern) ? rewrite(&m) : BERT_OK;
}

static bert_status visit_norm(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_LayerNormalization) || !is_plain_norm(node)) return BERT_OK;
    return match(context, node, node);
}

/* A sum without LayerNormalization: what the first walk left. Only whole sums. */
static bert_status visit_sum(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Add)) return BERT_OK;
    return bert_node_is(bert_value_sole_reader(node->outputs[0]), BERT_OP_Add) ? BERT_OK : match(context, node, NULL);
}

bert_status bert_pass_embedding(bert_pass_context *context) {
    BERT_TRY(bert_pass_each(context, visit_norm));
    return bert_pass_each(context, visit_sum);
}
