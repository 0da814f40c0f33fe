/*
 * A Gather of one place of each sequence, as classifiers take [CLS]'s row from the last hidden states, moves up over
 * what works row by row: then the last layer is computed for that row alone, where all others were computed for
 * nothing. So does PackTokens, of the tokens that a caller names. They stop below Attention, which needs every row, and
 * where the rows are read by anything else.
 *
 * A place goes into a product that quantizes dynamically, and no further: every row has a share in the scale, but only
 * the place's is multiplied.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/quantizers.h"

enum { MOST_OUTPUTS = 2, MOST_OPERANDS = 16, MOST_ATTRIBUTES = 16 };

/* Whether there is such a place for certain, or sequences have no known length. */
static bool may_be_place(const bert_constant *place, bert_dim sequence) {
    if (place->rank > 1 || bert_constant_elements(place) != 1) return false;
    const int64_t at = bert_constant_int(place, 0);
    return at != BERT_EVERY_PLACE && (!bert_dim_known(sequence) || (at >= -sequence && at < sequence));
}

/* Of a tensor [B, S, K]: one place along S, the same for all sequences. */
static bool takes_one_place(const bert_node *gather) {
    const bert_value *data = bert_node_in(gather, 0), *place = bert_node_in(gather, 1);
    return bert_node_is(gather, BERT_OP_Gather) && data && place && bert_value_rank(data) == 3 &&
           bert_axis_from_front(BERT_NODE_INT(gather, "axis", 0), 3) == 1 && place->info.constant && !place->producer &&
           may_be_place(place->info.constant, bert_value_dim(data, 1));
}

/* Of a tensor [B, S, K]: the tokens that an input of the graph says. */
static bool takes_tokens(const bert_node *node) {
    return bert_node_is(node, BERT_OP_BERTC_PackTokens) && BERT_NODE_INT(node, "axes", 2) == 2 &&
           bert_value_rank(node->inputs[BERT_PACK_X]) == 3 && node->inputs[BERT_PACK_TOKENS]->graph_input;
}

/* A taker: it takes some rows of its first input, and its second one says which. */
static bool takes_rows(const bert_node *node) {
    return takes_one_place(node) || takes_tokens(node);
}

static bool is_vector(const bert_value *value) {
    return !value || bert_value_rank(value) == 0 || bert_value_rank(value) == 1;
}

/* With a scale and bias that all rows share, over the last dimension counted from the end: the rank may change. */
static bool normalizes_rows(const bert_node *norm) {
    return BERT_NODE_INT(norm, "axis", -1) == -1 && is_vector(bert_node_in(norm, 1)) &&
           is_vector(bert_node_in(norm, 2));
}

/* Which inputs have the rows of the output, as bits; 0: it isn't a node that works row by row. */
static uint32_t inputs_with_rows(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_BERTC_Linear:
    case BERT_OP_BERTC_QuantizedLinear:
        return bert_is_dynamic_linear(node) ? 0 : 1U << BERT_LINEAR_X | 1U << BERT_LINEAR_RESIDUAL;
    case BERT_OP_BERTC_SkipLayerNormalization:
        return 1U << BERT_SKIP_X | 1U << BERT_SKIP_SKIP;
    case BERT_OP_LayerNormalization:
    case BERT_OP_RMSNormalization:
        return normalizes_rows(node) ? 1 : 0;
    case BERT_OP_BERTC_Lookup:
        return 1U << BERT_LOOKUP_X;
    case BERT_OP_BERTC_QuantizedAdd: /* of an earlier run of the passes */
        return 1U << BERT_QUANTIZED_ADD_A | 1U << BERT_QUANTIZED_ADD_B;
    case BERT_OP_QuantizeLinear:
    case BERT_OP_MS_QuantizeLinear:
        return bert_is_single_quantizer(node) ? 1 : 0;
    case BERT_OP_DequantizeLinear:
    case BERT_OP_MS_DequantizeLinear:
        return bert_is_single_dequantizer(node) ? 1 : 0;
    default:
        return bert_op_is_elementwise(node->op) && node->input_count <= MOST_OPERANDS ? (1U << node->input_count) - 1
                                                                                      : 0;
    }
}

/* Whether an input may stay as it is: absent, or the same for all rows. */
static bool serves_all_rows(const bert_value *input) {
    return !input || (input->info.constant && input->info.constant->rank <= 1);
}

/* The inputs that have a row for each of the output's; 0 where one of them has another shape. */
static uint32_t rows_of(const bert_node *node, const bert_value *output) {
    uint32_t found = 0;
    const uint32_t inputs = inputs_with_rows(node);
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *input = node->inputs[i];
        if (!(inputs >> i & 1) || serves_all_rows(input)) continue;
        if (bert_value_rank(input) != 3) return 0;
        for (int32_t axis = 0; axis < 2; axis++) {
            if (bert_value_dim(input, axis) != bert_value_dim(output, axis)) return 0;
        }
        found |= 1U << i;
    }
    return found;
}

/* Whether a node takes of `value` what `taker` takes of its own input, in the same form. */
static bool takes_same_rows(const bert_node *node, const bert_value *value, const bert_node *taker) {
    if (node->block != taker->block || node->op != taker->op || !takes_rows(node) || node->inputs[0] != value)
        return false;
    if (takes_tokens(node)) return node->inputs[1] == taker->inputs[1];
    const bert_constant *a = node->inputs[1]->info.constant, *b = taker->inputs[1]->info.constant;
    return a->rank == b->rank && bert_constant_int(a, 0) == bert_constant_int(b, 0);
}

/* A taker beside `taker` that takes the same rows of the value; NULL: none. */
static bert_node *another_taker(const bert_value *value, const bert_node *taker) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        bert_node *other = value->uses[i].node;
        if (other != taker && takes_same_rows(other, value, taker)) return other;
    }
    return NULL;
}

/* The same rows of `value`. One taker, right after what writes the value, serves all that take these of it. */
static bert_status take_early(bert_pass_context *context, const bert_node *taker, bert_node *reader, bert_value *value,
                              bert_value **out) {
    bert_node *producer = value->producer;
    /* Before every reader of the value. Where nothing in the block writes it, that is the block's beginning. */
    bert_node *before = producer && producer->block == reader->block ? producer->next : reader->block->first;
    const bert_node_spec spec = {.op = taker->op,
                                 .opset = taker->opset,
                                 .inputs = (bert_value *[]){value, taker->inputs[1]},
                                 .input_count = 2,
                                 .attributes = taker->attributes,
                                 .attribute_count = taker->attribute_count};
    BERT_TRY(bert_build(context, before, &spec, taker, out));
    for (bert_node *other; (other = another_taker(value, (*out)->producer));) {
        BERT_TRY(bert_node_add_origins((*out)->producer, other, context->error));
        BERT_TRY(bert_graph_replace_value(context->graph, other->outputs[0], *out, context->error));
        bert_graph_remove_node(other);
    }
    return BERT_OK;
}

/* What alone reads the value, if it takes the same rows as `taker`. */
static bert_node *taker_of(const bert_value *value, const bert_node *taker) {
    bert_node *reader = bert_value_sole_reader(value);
    return reader && takes_same_rows(reader, value, taker) ? reader : NULL;
}

static bool is_read(const bert_value *output) {
    return output && (output->use_count > 0 || bert_value_leaves(output));
}

/*
 * Of every output that is read, the node that reads it (a sum beside its normalization may be, too); false where one of
 * them is read for more than the place.
 */
static bool collect_readers(const bert_node *node, const bert_node *taker, bert_node *readers[MOST_OUTPUTS]) {
    if (node->output_count > MOST_OUTPUTS) return false;
    for (int32_t i = 0; i < node->output_count; i++) {
        readers[i] = is_read(node->outputs[i]) ? taker_of(node->outputs[i], taker) : NULL;
        if (is_read(node->outputs[i]) && !readers[i]) return false;
    }
    return true;
}

/* Whether a product that quantizes dynamically can leave out other places. */
static bool can_have_place(const bert_node *node) {
    return node->attribute_count + 2 <= MOST_ATTRIBUTES && bert_is_dynamic_linear(node) && !bert_has_place(node) &&
           bert_value_rank(node->inputs[BERT_LINEAR_X]) == 3 && !bert_node_in(node, BERT_LINEAR_RESIDUAL);
}

/* The product's attributes and the taker's place; returns how many these are. */
static size_t add_place(const bert_node *node, const bert_node *taker, bert_attribute attributes[MOST_ATTRIBUTES]) {
    const bert_constant *place = taker->inputs[1]->info.constant;
    size_t count = node->attribute_count;
    if (count) memcpy(attributes, node->attributes, count * sizeof *attributes);
    attributes[count++] = BERT_INT_ATTRIBUTE("place", bert_constant_int(place, 0));
    attributes[count++] = BERT_INT_ATTRIBUTE("keepdims", place->rank);
    return count;
}

static bert_status visit(bert_pass_context *context, bert_node *taker) {
    if (!takes_rows(taker)) return BERT_OK;
    bert_value *data = taker->inputs[0];
    bert_node *node = data->producer;
    bert_node *readers[MOST_OUTPUTS] = {NULL};
    if (!node || node->block != taker->block || !collect_readers(node, taker, readers)) return BERT_OK;
    const bool placed = takes_one_place(taker) && can_have_place(node);
    const uint32_t rows = placed ? 0 : rows_of(node, data);
    if (!placed && rows == 0) return BERT_OK;
    bert_attribute attributes[MOST_ATTRIBUTES];
    const size_t attribute_count = placed ? add_place(node, taker, attributes) : node->attribute_count;
    bert_value *outputs[MOST_OUTPUTS] = {NULL};
    bert_node *made = NULL;
    BERT_TRY(bert_graph_add_node(node->block, node,
                                 &(bert_node_spec){.op = node->op,
                                                   .opset = node->opset,
                                                   .name = node->name,
                                                   .inputs = node->inputs,
                                                   .input_count = node->input_count,
                                                   .outputs = outputs,
                                                   .output_count = node->output_count,
                                                   .attributes = placed ? attributes : node->attributes,
                                                   .attribute_count = attribute_count},
                                 &made, context->error));
    BERT_TRY(bert_node_add_origins(made, node, context->error));
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!(rows >> i & 1)) continue;
        bert_value *taken = NULL;
        BERT_TRY(take_early(context, taker, made, node->inputs[i], &taken));
        BERT_TRY(bert_node_set_input(made, i, taken, context->error));
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!readers[i]) continue;
        if (readers[i] != taker) BERT_TRY(bert_node_add_origins(made, readers[i], context->error));
        bert_node_take_output(made, i, readers[i], 0);
        bert_graph_remove_node(readers[i]);
    }
    bert_graph_remove_node(node);
    bert_pass_rewrote(context, made);
    return BERT_OK;
}

/* Why a place is taken no earlier, if that is not in the nature of what it is taken of. */
static bert_status note(bert_pass_context *context, bert_node *taker) {
    static const char *const shared = "every row has a share in its dynamic scale";
    bert_node *node = takes_rows(taker) ? taker->inputs[0]->producer : NULL;
    bert_node *readers[MOST_OUTPUTS] = {NULL};
    if (bert_has_place(taker)) bert_pass_missed(context, taker, shared);
    if (!node || node->block != taker->block) return BERT_OK;
    if (!collect_readers(node, taker, readers)) {
        if (rows_of(node, taker->inputs[0]) != 0 || can_have_place(node))
            bert_pass_missed(context, node, "more of it is read than the rows that are taken");
    } else if (bert_is_dynamic_linear(node)) {
        bert_pass_missed(context, node, shared);
    }
    return BERT_OK;
}

/* Again for the takers that a round made, until they are as far up as they go. */
bert_status bert_pass_early_gather(bert_pass_context *context) {
    uint32_t before;
    do {
        before = context->changes;
        BERT_TRY(bert_pass_each(context, visit));
    } while (context->changes != before);
    return bert_pass_each(context, note);
}
