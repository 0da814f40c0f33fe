/*
 * Shape arithmetic, taken to its roots.
 *
 * Exporters read the dimensions of whatever tensor is at hand, often in the middle of an attention, and compute the
 * target of the next Reshape from them. Inference has followed all of that: here a Reshape gets a constant target, and
 * what can't be constant is read from the shapes of the graph's inputs. The old arithmetic is then dead.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* ---- Reshape --------------------------------------------------------------------------------------------------------
 */

/*
 * The target as constants: a number where it is known, 0 where the dimension is that of the input at the same place,
 * and -1 for one that is left. False when that doesn't say it.
 */
static bool constant_target(const bert_value *input, const bert_value *output, int64_t *target) {
    const bert_shape *in = &input->info.shape, *out = &output->info.shape;
    bool open = false;
    if (in->rank < 0 || out->rank < 0) return false;
    for (int32_t i = 0; i < out->rank; i++) {
        if (bert_dim_known(out->dims[i])) {
            if (out->dims[i] <= 0) return false; /* 0 would mean: copy. */
            target[i] = out->dims[i];
        } else if (i < in->rank && in->dims[i] == out->dims[i]) {
            target[i] = 0;
        } else if (!open) {
            target[i] = -1;
            open = true;
        } else {
            return false;
        }
    }
    return true;
}

static bert_status settle_reshape(bert_pass_context *context, bert_node *node) {
    int64_t target[BERT_MAX_RANK];
    if (!bert_node_is(node, BERT_OP_Reshape) || !node->inputs[1] || node->inputs[1]->info.constant) return BERT_OK;
    if (!constant_target(node->inputs[0], node->outputs[0], target)) return BERT_OK;
    bert_value *inputs[2] = {node->inputs[0], NULL};
    BERT_TRY(bert_build_ints(context, target, bert_value_rank(node->outputs[0]), &inputs[1]));
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    /* Without `allowzero`, which would give 0 another meaning. */
    return bert_pattern_replace(
        &pattern, &(bert_node_spec){.op = node->op, .opset = node->opset, .inputs = inputs, .input_count = 2}, NULL);
}

/* ---- Everything else ------------------------------------------------------------------------------------------------
 */

/* What was already spelled with the shapes of inputs, to be used again. */
typedef struct spelled {
    struct spelled *next;
    int32_t rank, count;
    const bert_dim *elements;
    bert_value *value;
} spelled;

typedef struct speller {
    bert_pass_context *context;
    bert_node *first; /* Of the graph: new nodes stand before it. */
    spelled *known;
} speller;

/* A dimension of a graph input that a symbol names. */
static bert_value *find_dimension(const bert_graph *graph, bert_dim symbol, int32_t *axis) {
    for (int32_t i = 0; i < graph->input_count; i++) {
        bert_value *input = graph->inputs[i];
        for (int32_t d = 0; d < input->info.shape.rank; d++) {
            *axis = d;
            if (input->info.shape.dims[d] == symbol) return input;
        }
    }
    return NULL;
}

static bool can_spell(const bert_graph *graph, const bert_value_info *info) {
    int32_t axis = 0;
    if (info->dtype != BERT_INT64 || !info->elements || info->element_count == 0) return false;
    for (int32_t i = 0; i < info->element_count; i++) {
        if (!bert_dim_known(info->elements[i]) && !find_dimension(graph, info->elements[i], &axis)) return false;
    }
    return true;
}

/* Whether the arithmetic behind a value reads no shapes but those of graph inputs. */
static bool is_rooted(const bert_value *value, int depth) {
    const bert_node *node = value->producer;
    if (!node) return value->info.constant != NULL;
    if (depth == 0) return false;
    if (bert_node_is(node, BERT_OP_Shape)) return node->inputs[0]->graph_input;
    for (int32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] && !is_rooted(node->inputs[i], depth - 1)) return false;
    }
    return true;
}

/* Read by something that isn't itself followed: a Reshape, an Expand, a Range. */
static bool is_frontier(const bert_value *value) {
    for (uint32_t u = 0; u < value->use_count; u++) {
        const bert_node *reader = value->uses[u].node;
        for (int32_t o = 0; o < reader->output_count; o++) {
            if (reader->outputs[o] && !reader->outputs[o]->info.elements) return true;
        }
    }
    return false;
}

static bert_status spell(speller *s, int32_t rank, const bert_dim *elements, int32_t count, bert_value **out);

static bert_status spell_dimension(speller *s, int32_t rank, bert_dim symbol, bert_value **out) {
    int32_t axis = 0;
    bert_value *input = find_dimension(s->context->graph, symbol, &axis), *operands[2] = {NULL, NULL};
    BERT_TRY(bert_build(s->context, s->first,
                        &(bert_node_spec){.op = bert_op_get(BERT_OP_Shape),
                                          .opset = bert_build_opset(s->first, 1),
                                          .inputs = &input,
                                          .input_count = 1},
                        NULL, &operands[0]));
    BERT_TRY(bert_build_ints(s->context, &(int64_t){axis}, rank == 0 ? -1 : 1, &operands[1]));
    /* The attribute as exporters write it, so that theirs and this one are common. */
    bert_attribute first = BERT_INT_ATTRIBUTE("axis", 0);
    return bert_build(s->context, s->first,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Gather),
                                        .opset = bert_build_opset(s->first, 1),
                                        .inputs = operands,
                                        .input_count = 2,
                                        .attributes = &first,
                                        .attribute_count = 1},
                      NULL, out);
}

static bert_status spell_list(speller *s, const bert_dim *elements, int32_t count, bert_value **out) {
    bert_value *parts[BERT_MAX_TRACKED_ELEMENTS];
    for (int32_t i = 0; i < count; i++) BERT_TRY(spell(s, 1, elements + i, 1, &parts[i]));
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 0);
    return bert_build(s->context, s->first,
                      &(bert_node_spec){.op = bert_op_get(BERT_OP_Concat),
                                        .opset = bert_build_opset(s->first, 4),
                                        .inputs = parts,
                                        .input_count = count,
                                        .attributes = &axis,
                                        .attribute_count = 1},
                      NULL, out);
}

static bert_status spell(speller *s, int32_t rank, const bert_dim *elements, int32_t count, bert_value **out) {
    for (spelled *known = s->known; known; known = known->next) {
        if (known->rank != rank || known->count != count) continue;
        if (memcmp(known->elements, elements, (size_t)count * sizeof *elements) != 0) continue;
        *out = known->value;
        return BERT_OK;
    }
    if (count > 1) {
        BERT_TRY(spell_list(s, elements, count, out));
    } else if (bert_dim_known(elements[0])) {
        BERT_TRY(bert_build_ints(s->context, elements, rank == 0 ? -1 : 1, out));
    } else {
        BERT_TRY(spell_dimension(s, rank, elements[0], out));
    }
    spelled *entry = BERT_ARENA_NEW(&s->context->graph->arena, spelled);
    if (!entry) return bert_fail_memory(s->context->error, sizeof *entry, "a shape");
    *entry = (spelled){s->known, rank, count, elements, *out};
    s->known = entry;
    return BERT_OK;
}

bert_status bert_pass_shapes(bert_pass_context *context) {
    bert_graph *graph = context->graph;
    BERT_TRY(bert_pass_each(context, settle_reshape));
    speller s = {.context = context, .first = graph->body.first};
    uint32_t count = graph->value_count;
    for (uint32_t i = 0; i < count; i++) {
        bert_value *value = graph->values[i], *rooted = NULL;
        if (!value || !value->producer || bert_value_leaves(value)) continue;
        if (!can_spell(graph, &value->info) || !is_frontier(value) || is_rooted(value, 8)) continue;
        bert_node *old = value->producer;
        BERT_TRY(spell(&s, value->info.shape.rank, value->info.elements, value->info.element_count, &rooted));
        if (rooted->producer) BERT_TRY(bert_node_add_origins(rooted->producer, old, context->error));
        BERT_TRY(bert_graph_replace_value(graph, value, rooted, context->error));
        bert_pass_rewrote(context, rooted->producer);
    }
    return BERT_OK;
}
