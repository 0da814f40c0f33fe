#include "core/runtime/token_rows.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/graph/op.h"
#include "core/runtime/binding_edit.h"
#include "core/runtime/row_ops.h"
#include "core/runtime/token_mask.h"

#include <stdarg.h>
#include <string.h>

typedef struct packer {
    const bert_model *model;
    const bert_request *request;
    bert_arena *memory, *scratch;
    bert_binding *binding; /* the one that is made */
    int64_t batch, sequence;
    bert_mask_prober prober;
    bert_value *starts, *tokens;
    /* By value id: the same without padding; whether it is computed so, and (then) whether it was put back. */
    bert_value **rows;
    bool *as_rows, *restored;
    bool *exact;     /* by value id: computed without padding, where the graph itself has zeros, as what is put back */
    bool *is_tokens; /* by value id: its first one or two dimensions count tokens */
    const char *refusal; /* why padding can't be skipped */
    bert_error *error;
} packer;

static bert_status no_memory(const packer *p) {
    return bert_fail(p->error, BERT_OUT_OF_MEMORY, "could not allocate memory for binding shapes");
}

/* Padding stays: "node x (Op): why". */
static bert_status refuse(packer *p, const bert_node *node, const char *why) {
    p->refusal = bert_arena_format(p->memory, "node %s (%s): %s", bert_node_label(node), node->op->name, why);
    return p->refusal ? BERT_OK : no_memory(p);
}

static bert_value_info *info_of(const packer *p, const bert_value *value) {
    return &p->binding->infos[value->id];
}

static const bert_value *root_of(const packer *p, const bert_value *value) {
    return p->binding->roots[value->id];
}

/* ---- Making values and nodes ------------------------------------------------------------------------------------- */

static bert_status make_value(packer *p, const char *name, const bert_value_info *info, int8_t row_axis,
                              bert_value **out) {
    *out = bert_binding_add_value(p->binding, p->memory, name, info, row_axis);
    return *out ? BERT_OK : no_memory(p);
}

static bert_status add_step(packer *p, const bert_node *node) {
    p->binding->steps[p->binding->step_count++] = node;
    return BERT_OK;
}

const bert_node *bert_node_in_scope(bert_arena *arena, const bert_node *node, bert_quant_scope scope,
                                    bert_value *starts, bert_value *counted) {
    if (scope == BERT_QUANT_SCOPE_TENSOR || !bert_is_dynamic_linear(node)) return node;
    const bool sequence = scope == BERT_QUANT_SCOPE_SEQUENCE;
    const int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1), at = BERT_QUANTIZED_LINEAR_STARTS(parts);
    bert_node *copy = bert_node_copy(arena, node, sequence ? at + 2 : node->input_count, node->output_count);
    if (!copy) return NULL;
    const char *name = sequence ? "sequence" : "token";
    const bert_attribute attribute = BERT_STRING_ATTRIBUTE("scope", name);
    if (!bert_node_add_attribute(arena, copy, &attribute)) return NULL;
    if (!sequence) return copy;
    copy->inputs[at] = starts;
    copy->inputs[BERT_QUANTIZED_LINEAR_COUNTED(parts)] = counted;
    return copy;
}

/* ---- Tokens ------------------------------------------------------------------------------------------------------ */

/* How many leading dimensions of a shape count the batch's tokens; 0: it isn't a tensor of tokens. */
static int32_t axes_of(const packer *p, const bert_shape *shape) {
    if (shape->rank >= 2 && shape->dims[0] == p->batch && shape->dims[1] == p->sequence) return 2;
    return shape->rank >= 1 && shape->dims[0] == p->batch * p->sequence ? 1 : 0;
}

static int32_t token_axes(const packer *p, const bert_value *value) {
    return axes_of(p, &info_of(p, value)->shape);
}

/* Whether it is computed without padding, as it is or seen in another shape. */
static bool is_packed(const packer *p, const bert_value *value) {
    return value && p->as_rows[root_of(p, value)->id];
}

static bert_value_info info_of_rows(const packer *p, const bert_value *value, int32_t axes) {
    bert_value_info info = {.dtype = info_of(p, value)->dtype, .shape = info_of(p, value)->shape};
    info.shape.dims[axes - 1] = p->request->rows;
    if (axes == 2) info.shape.dims[0] = 1;
    return info;
}

/* PackTokens or UnpackTokens, at the place that `like` has. */
static bert_status add_movement(packer *p, const bert_node *like, bert_op_id op, int32_t axes, bert_value *from,
                                bert_value *to) {
    bert_node *node = bert_node_copy(p->memory, like, 2, 1);
    if (!node) return no_memory(p);
    node->op = bert_op_get(op);
    node->opset = 1;
    node->attribute_count = 0;
    node->inputs[BERT_PACK_X] = from;
    node->inputs[BERT_PACK_TOKENS] = p->tokens;
    node->outputs[0] = to;
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("axes", axes), BERT_INT_ATTRIBUTE("batch", p->batch),
                                         BERT_INT_ATTRIBUTE("sequence", p->sequence)};
    const int count = op == BERT_OP_BERTC_PackTokens ? 1 : 3;
    for (int i = 0; i < count; i++) {
        if (!bert_node_add_attribute(p->memory, node, &attributes[i])) return no_memory(p);
    }
    return add_step(p, node);
}

/* The rows of a value that has tokens (or one sequence's, for all) in its first `axes` dimensions. */
static bert_status take_rows(packer *p, const bert_node *reader, bert_value *value, int32_t axes, bert_value **out) {
    *out = p->rows[value->id];
    if (*out) return BERT_OK;
    const bert_value *root = root_of(p, value);
    const bert_value_info info = info_of_rows(p, value, axes);
    BERT_TRY(make_value(p, value->name, &info, (int8_t)(axes - 1), out));
    p->rows[value->id] = *out;
    if (!is_packed(p, value)) return add_movement(p, reader, BERT_OP_BERTC_PackTokens, axes, value, *out);
    p->binding->roots[(*out)->id] = root_of(p, p->rows[root->id]); /* another shape of rows that are there */
    return BERT_OK;
}

/* The value itself, from its rows, for what reads it with its padding. */
static bert_status restore(packer *p, const bert_node *reader, bert_value *value) {
    bert_value *rows;
    const int32_t axes = token_axes(p, value);
    if (!is_packed(p, value) || p->restored[root_of(p, value)->id]) return BERT_OK;
    BERT_TRY(take_rows(p, reader, value, axes, &rows));
    p->exact[value->id] = p->exact[root_of(p, value)->id];
    p->binding->roots[value->id] = value;
    p->as_rows[value->id] = p->restored[value->id] = true;
    return add_movement(p, reader, BERT_OP_BERTC_UnpackTokens, axes, rows, value);
}

/* ---- Nodes that work row by row ---------------------------------------------------------------------------------- */

/* How a packed node reads one of its inputs. */
typedef enum input_role { READ_AS_IS, READ_ROWS, READ_NEITHER } input_role;

/* `offset`: dimensions that the output has before the input's first. *axes: of PackTokens. */
static input_role role_of(const packer *p, const bert_shape *shape, int32_t offset, int32_t output_axes,
                          int32_t *axes) {
    const int64_t first = offset == 0 && shape->rank > 0 ? shape->dims[0] : 1;
    const int64_t second = 1 - offset >= 0 && shape->rank > 1 - offset ? shape->dims[1 - offset] : 1;
    *axes = offset == 0 ? output_axes : 1;
    if (output_axes == 1) {
        if (first == 1) return READ_AS_IS;
        return first == p->batch * p->sequence ? READ_ROWS : READ_NEITHER;
    }
    if (first == 1 && second == 1) return READ_AS_IS;
    return second == p->sequence && (first == p->batch || first == 1) ? READ_ROWS : READ_NEITHER;
}

/* The role of input `input`, whether it is packed already or not. */
static input_role input_role_of(const packer *p, const bert_node *node, const bert_row_op *op, int32_t input,
                                int32_t output_axes, int32_t *axes) {
    const bert_value *value = node->inputs[input];
    const bert_shape *shape = &info_of(p, value)->shape, *output = &info_of(p, node->outputs[0])->shape;
    const bool by_rows = op->kind == BERT_ROWS_BROADCAST || (input < 32 && op->inputs >> input & 1);
    if (!by_rows) return is_packed(p, value) ? READ_NEITHER : READ_AS_IS;
    const int32_t offset = op->kind == BERT_ROWS_BROADCAST ? output->rank - shape->rank : 0;
    const input_role role = role_of(p, shape, offset, output_axes, axes);
    /* What is rows already must be so in the same dimensions. */
    if (is_packed(p, value) && (role != READ_ROWS || offset != 0 || token_axes(p, value) != output_axes)) {
        return READ_NEITHER;
    }
    return role;
}

/* Whether the node can run on rows; its outputs' dimensions of tokens in *output_axes. */
static bool can_run_on_rows(const packer *p, const bert_node *node, const bert_row_op *op, int32_t output_axes) {
    if (op->kind == BERT_ROWS_MIXED || output_axes == 0) return false;
    if (bert_is_dynamic_linear(node) && p->request->scope == BERT_QUANT_SCOPE_TENSOR) return false;
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] && token_axes(p, node->outputs[i]) != output_axes) return false;
    }
    bool any = false;
    for (int32_t i = 0; i < node->input_count; i++) {
        int32_t axes;
        if (!node->inputs[i]) continue;
        const input_role role = input_role_of(p, node, op, i, output_axes, &axes);
        if (role == READ_NEITHER) return false;
        any |= role == READ_ROWS;
    }
    return any;
}

static bool reads_packed(const packer *p, const bert_node *node) {
    for (int32_t i = 0; i < node->input_count; i++) {
        if (is_packed(p, node->inputs[i])) return true;
    }
    return false;
}

/* The same, of what isn't what it would be with padding once it is put back. */
static bool reads_inexact(const packer *p, const bert_node *node) {
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *value = node->inputs[i];
        if (is_packed(p, value) && !p->exact[root_of(p, value)->id]) return true;
    }
    return false;
}

static bool reads_tokens(const packer *p, const bert_node *node, const bert_row_op *op) {
    for (int32_t i = 0; i < node->input_count && i < 32; i++) {
        const bert_value *value = node->inputs[i];
        if (value && op->inputs >> i & 1 && p->is_tokens[root_of(p, value)->id]) return true;
    }
    return false;
}

/* Attention learns which rows are whose. */
static bert_status add_rows_to_attention(packer *p, bert_node *node) {
    const bert_attribute sequence = BERT_INT_ATTRIBUTE("sequence", p->sequence);
    node->inputs[BERT_ATTENTION_STARTS] = p->starts;
    node->inputs[BERT_ATTENTION_TOKENS] = p->tokens;
    return bert_node_add_attribute(p->memory, node, &sequence) ? BERT_OK : no_memory(p);
}

/* Embedding finds the ids of its tokens by itself, unless some are rows already. */
static bool takes_tokens(const packer *p, const bert_node *node) {
    return node->op->id == BERT_OP_BERTC_Embedding && !reads_packed(p, node);
}

static int32_t inputs_on_rows(const packer *p, const bert_node *node) {
    if (takes_tokens(p, node)) return BERT_EMBEDDING_TOKENS + 1;
    return node->op->id == BERT_OP_BERTC_Attention ? BERT_ATTENTION_INPUTS : node->input_count;
}

static bert_status pack_node(packer *p, const bert_node *node, const bert_row_op *op, int32_t output_axes) {
    const bool embedding = takes_tokens(p, node);
    bert_node *copy = bert_node_copy(p->memory, node, inputs_on_rows(p, node), node->output_count);
    if (!copy) return no_memory(p);
    if (embedding) copy->inputs[BERT_EMBEDDING_TOKENS] = p->tokens;
    for (int32_t i = 0; i < node->input_count && !embedding; i++) {
        int32_t axes;
        if (!node->inputs[i] || input_role_of(p, node, op, i, output_axes, &axes) != READ_ROWS) continue;
        BERT_TRY(take_rows(p, node, node->inputs[i], axes, &copy->inputs[i]));
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        if (!output) continue;
        const bert_value_info info = info_of_rows(p, output, output_axes);
        BERT_TRY(make_value(p, output->name, &info, (int8_t)(output_axes - 1), &copy->outputs[i]));
        p->rows[output->id] = copy->outputs[i];
        p->as_rows[output->id] = p->is_tokens[output->id] = true;
    }
    if (node->op->id == BERT_OP_BERTC_Attention) BERT_TRY(add_rows_to_attention(p, copy));
    const bert_node *scoped = bert_node_in_scope(p->memory, copy, p->request->scope, p->starts, NULL);
    return scoped ? add_step(p, scoped) : no_memory(p);
}

/* Pool over the rows of each sequence, which are the tokens that its mask counts. */
static bert_status pool_rows(packer *p, const bert_node *node) {
    const bert_value *mask = bert_node_in(node, BERT_POOL_MASK);
    bool same = false;
    if (token_axes(p, node->inputs[BERT_POOL_X]) != 2) return refuse(p, node, "its sequences aren't the batch's");
    if (mask) BERT_TRY(bert_mask_is_tokens(&p->prober, mask, &same));
    if (!same) return refuse(p, node, "it isn't certain to count just the tokens whose attention_mask is 1");
    bert_node *copy = bert_node_copy(p->memory, node, BERT_POOL_STARTS + 1, 1);
    if (!copy) return no_memory(p);
    BERT_TRY(take_rows(p, node, node->inputs[BERT_POOL_X], 2, &copy->inputs[BERT_POOL_X]));
    copy->inputs[BERT_POOL_MASK] = NULL;
    copy->inputs[BERT_POOL_STARTS] = p->starts;
    return add_step(p, copy);
}

/* ---- Nodes that see padding -------------------------------------------------------------------------------------- */

static bool need_token(packer *p, int64_t position) {
    bert_binding *binding = p->binding;
    if (position < 0 || position >= p->sequence) return false;
    for (int32_t i = 0; i < binding->needed_count; i++) {
        if (binding->needed[i] == position) return true;
    }
    if (binding->needed_count == BERT_MAX_NEEDED) return false;
    binding->needed[binding->needed_count++] = (int32_t)position;
    return true;
}

static int64_t constant_int(const packer *p, const bert_node *node, int32_t input, int64_t missing) {
    if (input >= node->input_count || !node->inputs[input]) return missing;
    const bert_constant *constant = info_of(p, node->inputs[input])->constant;
    return constant && bert_constant_elements(constant) == 1 ? bert_constant_int(constant, 0) : INT64_MIN;
}

/* Whether the node takes real tokens alone: at places that are known, which are noted, from every sequence ([CLS],
 * above all), or those that the caller names. */
static bool takes_known_tokens(packer *p, const bert_node *node) {
    const bert_shape *shape = &info_of(p, node->inputs[0])->shape;
    if (!is_packed(p, node->inputs[0]) || axes_of(p, shape) != 2) return false;
    if (node->op->id == BERT_OP_BERTC_PackTokens) return !is_packed(p, node->inputs[BERT_PACK_TOKENS]);
    if (node->op->id == BERT_OP_Gather) {
        const int64_t axis = BERT_NODE_INT(node, "axis", 0);
        const bert_constant *indices = info_of(p, node->inputs[1])->constant;
        if ((axis != 1 && axis != 1 - shape->rank) || !indices) return false;
        for (int64_t i = 0; i < bert_constant_elements(indices); i++) {
            const int64_t index = bert_constant_int(indices, i);
            if (!need_token(p, index < 0 ? index + p->sequence : index)) return false;
        }
        return true;
    }
    if (node->op->id == BERT_OP_BERTC_QuantizedLinear) {
        const int64_t place = BERT_NODE_INT(node, "place", BERT_EVERY_PLACE);
        return bert_has_place(node) && need_token(p, place < 0 ? place + p->sequence : place);
    }
    if (node->op->id != BERT_OP_Slice || node->input_count < 4) return false;
    const int64_t start = constant_int(p, node, 1, INT64_MIN), axis = constant_int(p, node, 3, INT64_MIN);
    if (start == INT64_MIN || (axis != 1 && axis != 1 - shape->rank) || constant_int(p, node, 4, 1) != 1) return false;
    const int64_t count = info_of(p, node->outputs[0])->shape.dims[1];
    int64_t first = start < 0 ? start + p->sequence : start;
    if (first < 0) first = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!need_token(p, first + i)) return false;
    }
    return true;
}

/* Whether what the rows of padding hold doesn't matter: they are multiplied by 0, or something else is put there. */
static bert_status hides_padding(packer *p, const bert_node *node, bool *out) {
    const int32_t rank = info_of(p, node->outputs[0])->shape.rank;
    bool one = false;
    double number = 0;
    *out = false;
    if (token_axes(p, node->outputs[0]) != 2) return BERT_OK;
    if (node->op->id == BERT_OP_Mul) {
        const int hidden = is_packed(p, node->inputs[0]) ? 0 : 1;
        if (is_packed(p, node->inputs[1 - hidden])) return BERT_OK;
        BERT_TRY(bert_mask_at_padding(&p->prober, node->inputs[1 - hidden], rank, &one, &number));
        *out = one && number == 0;
    } else if (node->op->id == BERT_OP_Where && !is_packed(p, node->inputs[0])) {
        BERT_TRY(bert_mask_at_padding(&p->prober, node->inputs[0], rank, &one, &number));
        *out = one && !is_packed(p, node->inputs[number != 0 ? 1 : 2]);
    }
    return BERT_OK;
}

static bert_status scope_node(packer *p, const bert_node *node);

/* Whether the node makes a bias for pairs of tokens, of which Attention without padding looks at real ones alone. */
static bool gives_bias_of_pairs(const bert_node *node) {
    if (node->op->id != BERT_OP_BERTC_DisentangledBias) return false;
    const bert_value *bias = node->outputs[0];
    bool attention = !bias->graph_output && !bias->branch_output;
    for (uint32_t i = 0; i < bias->use_count && attention; i++) {
        const bert_use *use = &bias->uses[i];
        attention = use->node->op->id == BERT_OP_BERTC_Attention && use->input == BERT_ATTENTION_BIAS;
    }
    return attention;
}

/* A node that runs with padding. */
static bert_status keep_node(packer *p, const bert_node *node, const char *why) {
    bool allowed = !reads_inexact(p, node) || takes_known_tokens(p, node) || gives_bias_of_pairs(node);
    if (!allowed && node->outputs[0]) BERT_TRY(hides_padding(p, node, &allowed));
    if (!allowed) return refuse(p, node, why);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!is_packed(p, node->inputs[i])) continue;
        if (!token_axes(p, node->inputs[i])) return refuse(p, node, why);
        BERT_TRY(restore(p, node, node->inputs[i]));
    }
    return scope_node(p, node);
}

/* ---- The whole binding ------------------------------------------------------------------------------------------- */

/* Without padding where it pays and is possible. */
static bert_status visit(packer *p, const bert_node *node) {
    if (!node->outputs[0]) {
        return reads_packed(p, node) ? refuse(p, node, "its first output is absent") : scope_node(p, node);
    }
    if (node->op->id == BERT_OP_BERTC_Pool && is_packed(p, node->inputs[BERT_POOL_X])) return pool_rows(p, node);
    const int32_t axes = token_axes(p, node->outputs[0]);
    const bert_row_op op = axes ? bert_row_op_of(node, p->binding->infos, axes) : (bert_row_op){0};
    const bool wanted = reads_packed(p, node) || (op.starts && reads_tokens(p, node, &op));
    if (wanted && node->op->id == BERT_OP_BERTC_Attention && can_run_on_rows(p, node, &op, axes)) {
        const char *why;
        BERT_TRY(bert_mask_drops_keys(&p->prober, node, &why));
        if (why) return refuse(p, node, why);
    }
    bool hides = false;
    if (wanted) BERT_TRY(hides_padding(p, node, &hides));
    if (wanted && can_run_on_rows(p, node, &op, axes) && !(hides && node->op->id == BERT_OP_Where)) {
        p->exact[node->outputs[0]->id] = hides;
        return pack_node(p, node, &op, axes);
    }
    /* What is computed from each token alone is one's own, too: ids cast to another type, sums of their embeddings. */
    if (op.kind != BERT_ROWS_MIXED && can_run_on_rows(p, node, &op, axes)) {
        for (int32_t i = 0; i < node->input_count; i++) {
            const bert_value *input = node->inputs[i];
            if (input && p->is_tokens[root_of(p, input)->id]) p->is_tokens[node->outputs[0]->id] = true;
        }
    }
    if (bert_is_dynamic_linear(node) && p->request->scope == BERT_QUANT_SCOPE_TENSOR && reads_packed(p, node)) {
        return refuse(p, node, "with quant_scope tensor one scale covers the padding, too");
    }
    return keep_node(p, node, "it doesn't treat every token by itself");
}

static bert_status restore_outputs(packer *p) {
    const bert_graph *graph = p->model->graph;
    for (int32_t i = 0; i < graph->output_count && !p->refusal; i++) {
        bert_value *output = graph->outputs[i];
        if (!p->request->wanted[i] || info_of(p, output)->constant || !is_packed(p, output)) continue;
        if (!token_axes(p, output)) return refuse(p, root_of(p, output)->producer, "an output mixes its tokens");
        BERT_TRY(restore(p, output->producer, output));
    }
    return BERT_OK;
}

static bert_status allocate_arrays(packer *p, const bert_binding *from) {
    const uint32_t values = from->value_count, more = values + 16, capacity = values + more;
    const bool copied = bert_binding_copy(from, more, from->step_count + 2 * (size_t)values, p->scratch, p->binding);
    p->rows = BERT_ARENA_NEW_ARRAY(p->scratch, bert_value *, capacity);
    p->as_rows = BERT_ARENA_NEW_ARRAY(p->scratch, bool, capacity);
    p->restored = BERT_ARENA_NEW_ARRAY(p->scratch, bool, capacity);
    p->exact = BERT_ARENA_NEW_ARRAY(p->scratch, bool, capacity);
    p->is_tokens = BERT_ARENA_NEW_ARRAY(p->scratch, bool, capacity);
    if (!copied || !p->rows || !p->as_rows || !p->restored || !p->exact || !p->is_tokens) return no_memory(p);
    return BERT_OK;
}

static bert_status make_list(packer *p, const char *name, bert_dtype dtype, int64_t count, int8_t row_axis,
                             bert_value **out) {
    const bert_value_info info = {.dtype = dtype, .shape = {.rank = 1, .dims = {count}}};
    return make_value(p, name, &info, row_axis, out);
}

/* The ids, and whatever else the caller gives for each token. */
static void mark_inputs(const packer *p) {
    const bert_graph *graph = p->model->graph;
    for (int32_t i = 0; i < graph->input_count; i++) {
        const bert_value *input = graph->inputs[i];
        if (!info_of(p, input)->constant && token_axes(p, input) == 2) p->is_tokens[input->id] = true;
    }
}

/* Rows in the place of padded tensors; p->refusal where it can't be. */
static bert_status pack(packer *p, const bert_binding *from) {
    BERT_TRY(allocate_arrays(p, from));
    BERT_TRY(bert_mask_prober_begin(&p->prober, p->model, from, p->scratch, p->error));
    BERT_TRY(make_list(p, "starts", BERT_INT32, p->batch + 1, -1, &p->starts));
    BERT_TRY(make_list(p, "tokens", BERT_INT32, p->request->rows, 0, &p->tokens));
    mark_inputs(p);
    for (size_t s = 0; s < from->step_count && !p->refusal; s++) BERT_TRY(visit(p, from->steps[s]));
    if (!p->refusal) BERT_TRY(restore_outputs(p));
    p->binding->starts = p->starts;
    p->binding->tokens = p->tokens;
    p->binding->packed = true;
    p->binding->right = p->prober.right;
    return BERT_OK;
}

/* ---- Scope alone ------------------------------------------------------------------------------------------------- */

/* 0, n, 2 n ...: the rows of each of `groups` in a binding that has padding. */
static bert_status make_even_starts(packer *p, int64_t groups, int64_t rows, bert_value **out) {
    int32_t *starts = BERT_ARENA_NEW_ARRAY(p->memory, int32_t, (size_t)groups + 1);
    bert_constant *constant = BERT_ARENA_NEW(p->memory, bert_constant);
    if (!starts || !constant) return no_memory(p);
    for (int64_t group = 0; group <= groups; group++) starts[group] = (int32_t)(group * rows);
    *constant = (bert_constant){.dtype = BERT_INT32,
                                .rank = 1,
                                .dims = {groups + 1},
                                .data = (const unsigned char *)starts,
                                .bytes = ((size_t)groups + 1) * sizeof *starts,
                                .alignment = _Alignof(int32_t)};
    const bert_value_info info = {
        .dtype = BERT_INT32, .shape = {.rank = 1, .dims = {groups + 1}}, .constant = constant};
    return make_value(p, "starts", &info, -1, out);
}

/* Scales over the rows of a tensor's first dimension; in one of two dimensions a row is a sequence, unless there is one
 * a token. */
static bert_status scope_node(packer *p, const bert_node *node) {
    bert_quant_scope scope = p->request->scope;
    if (scope == BERT_QUANT_SCOPE_TENSOR || !bert_is_dynamic_linear(node)) return add_step(p, node);
    const bert_shape *shape = &info_of(p, node->inputs[BERT_LINEAR_X])->shape;
    bert_value *starts = NULL, *counted = NULL;
    const bool tokens = p->batch > 0 && axes_of(p, shape) > 0 && shape->rank > axes_of(p, shape);
    if (scope == BERT_QUANT_SCOPE_SEQUENCE && shape->rank < 3 && !tokens) scope = BERT_QUANT_SCOPE_TOKEN;
    if (scope == BERT_QUANT_SCOPE_SEQUENCE) {
        const int64_t groups = tokens ? p->batch : shape->dims[0];
        int64_t rows = 1;
        for (int32_t i = 0; i + 1 < shape->rank; i++) rows *= shape->dims[i];
        if (rows > INT32_MAX) {
            return bert_fail(p->error, BERT_INVALID_INPUT, "node %s (%s): its input has more rows than can be counted",
                             bert_node_label(node), node->op->name);
        }
        BERT_TRY(make_even_starts(p, groups, groups ? rows / groups : 0, &starts));
        if (tokens && p->model->token_mask >= 0) {
            const int64_t count = p->batch * p->sequence;
            if (!p->binding->counted) BERT_TRY(make_list(p, "counted", BERT_BOOL, count, -1, &p->binding->counted));
            counted = p->binding->counted;
        }
    }
    const bert_node *scoped = bert_node_in_scope(p->memory, node, scope, starts, counted);
    return scoped ? add_step(p, scoped) : no_memory(p);
}

static bert_status apply_scope(packer *p, const bert_binding *from) {
    BERT_TRY(allocate_arrays(p, from));
    for (size_t s = 0; s < from->step_count; s++) BERT_TRY(scope_node(p, from->steps[s]));
    return BERT_OK;
}

/* ---- Entry ------------------------------------------------------------------------------------------------------- */

/* The batch's size: that of the attention mask, else of the ids. */
static void measure_batch(packer *p, const bert_binding *from) {
    const bert_graph *graph = p->model->graph;
    int32_t input = p->model->token_mask;
    for (int32_t i = 0; i < graph->input_count && input < 0; i++) {
        const bert_value_info *info = &from->infos[graph->inputs[i]->id];
        if (info->shape.rank == 2 && (info->dtype == BERT_INT64 || info->dtype == BERT_INT32)) input = i;
    }
    if (input < 0) return;
    p->batch = from->infos[graph->inputs[input]->id].shape.dims[0];
    p->sequence = from->infos[graph->inputs[input]->id].shape.dims[1];
}

bert_status bert_bind_tokens(const bert_model *model, const bert_request *request, bert_arena *memory,
                             bert_arena *scratch, bert_binding *binding, bert_error *error) {
    bert_binding made;
    packer p = {
        .model = model, .request = request, .memory = memory, .scratch = scratch, .binding = &made, .error = error};
    measure_batch(&p, binding);
    if (request->rows > 0) {
        BERT_TRY(pack(&p, binding));
        if (!p.refusal) {
            *binding = made;
            return BERT_OK;
        }
        binding->padding = p.refusal;
    }
    if (request->scope == BERT_QUANT_SCOPE_TENSOR) return BERT_OK;
    BERT_TRY(apply_scope(&p, binding));
    *binding = made;
    return BERT_OK;
}
