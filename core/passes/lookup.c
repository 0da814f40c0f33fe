/*
 * Lookup: a table in the place of what becomes of single bytes.
 *
 *   DequantizeLinear(x) -> operators that work element by element, with constants of one element, and further pairs of
 *   QuantizeLinear and DequantizeLinear -> QuantizeLinear
 *
 * Files of quantize_static have such a pair around each operator, so that a GELU is fifteen passes over its tensor.
 * What a byte of x becomes depends on nothing else: the table has it for all 256, as the reference implementations
 * compute it. It reaches from the first bytes that a value is a function of to the last ones that something else reads.
 *
 *   Gather(table of 256 bytes, Cast(x)): how such a Lookup is saved
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/quantizers.h"

#include <string.h>

enum { MOST_INPUTS = 4 };

/* What is known of a value as a function of bytes; by value id. */
typedef struct byte_function {
    bert_value *of;    /* the bytes; NULL: it is none */
    bert_tensor table; /* [256], by what the bytes are as uint8 */
    bool needed;       /* something reads it that isn't part of a function, but for those that are replaced */
} byte_function;

typedef struct search {
    bert_pass_context *context;
    bert_arena scratch;
    byte_function *functions;
    uint32_t count; /* values that there were */
} search;

static byte_function *function_of(const search *s, const bert_value *value) {
    return value && value->id < s->count ? &s->functions[value->id] : NULL;
}

static bert_status no_memory(const search *s) {
    return bert_fail_memory(s->context->error, 0, "a table of bytes");
}

/* ---- Tables ---------------------------------------------------------------------------------------------------------
 */

static bert_status new_table(search *s, bert_dtype dtype, bert_tensor *out) {
    *out = (bert_tensor){.dtype = dtype, .rank = 1, .dims = {BERT_LOOKUP_SIZE}};
    out->data = bert_arena_allocate(&s->scratch, bert_tensor_bytes(out), BERT_ALIGNMENT);
    return out->data ? BERT_OK : no_memory(s);
}

/* Bytes that are no function of others are one of themselves. */
static bert_status begin_function(search *s, bert_value *bytes) {
    byte_function *function = function_of(s, bytes);
    if (!function || function->of) return BERT_OK;
    BERT_TRY(new_table(s, bytes->info.dtype, &function->table));
    for (int i = 0; i < BERT_LOOKUP_SIZE; i++) ((uint8_t *)function->table.data)[i] = (uint8_t)i;
    function->of = bytes;
    return BERT_OK;
}

/* A constant of one element as [1], which may lie at any address of the file. */
static bert_status read_single(search *s, const bert_constant *constant, bert_tensor *out) {
    *out = (bert_tensor){.dtype = constant->dtype, .rank = 1, .dims = {1}};
    out->data = bert_arena_allocate(&s->scratch, constant->bytes, BERT_ALIGNMENT);
    if (!out->data) return no_memory(s);
    memcpy(out->data, constant->data, constant->bytes);
    return BERT_OK;
}

/* Whether the operator takes an element of this input for each of its output: bounds, zero points and biases may be
 * functions of a single byte, too, but not of each byte of a table. */
static bool goes_along(const bert_node *node, int32_t input) {
    switch (node->op->id) {
    case BERT_OP_Clip:
    case BERT_OP_MS_BiasGelu:
    case BERT_OP_MS_FastGelu:
        return input == 0;
    default:
        return input == 0 || !bert_is_quantize(node);
    }
}

/* Fills the node's inputs where each is a function of the same bytes or a constant; *of: the bytes, else NULL. */
static bert_status read_inputs(search *s, const bert_node *node, bert_tensor *inputs, bert_value **of) {
    *of = NULL;
    if (node->input_count > MOST_INPUTS) return BERT_OK;
    bert_value *bytes = NULL;
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *input = node->inputs[i];
        const byte_function *function = function_of(s, input);
        if (!input) continue;
        const bert_constant *constant = input->info.constant;
        if (constant && bert_constant_elements(constant) == 1) {
            BERT_TRY(read_single(s, constant, &inputs[i]));
            continue;
        }
        if (!function || !function->of || (bytes && function->of != bytes) || !goes_along(node, i)) return BERT_OK;
        bytes = function->of;
        inputs[i] = function->table;
    }
    *of = bytes;
    return BERT_OK;
}

/* Whether the node may give a function of single bytes. */
static bool can_follow(const bert_node *node) {
    if (node->output_count != 1 || !node->outputs[0] || bert_dtype_size(node->outputs[0]->info.dtype) == 0)
        return false;
    return bert_op_is_elementwise(node->op) || bert_node_is(node, BERT_OP_Identity) ||
           bert_is_single_dequantizer(node) || (bert_is_quantize(node) && bert_is_single_constant(node->inputs[1]));
}

static bert_status follow(search *s, const bert_node *node) {
    bert_tensor inputs[MOST_INPUTS] = {{.dtype = BERT_DTYPE_UNDEFINED}};
    bert_value *of = NULL, *output = node->output_count ? node->outputs[0] : NULL;
    byte_function *function = function_of(s, output);
    if (!function || !can_follow(node)) return BERT_OK;
    if (bert_is_dequantize(node) && !node->inputs[0]->info.constant) BERT_TRY(begin_function(s, node->inputs[0]));
    BERT_TRY(read_inputs(s, node, inputs, &of));
    if (!of || !bert_same_shape(of, output)) return BERT_OK;
    bert_error refused;
    BERT_TRY(new_table(s, output->info.dtype, &function->table));
    const bert_status status = bert_node_evaluate(&s->scratch, node, inputs, &function->table, &refused);
    if (status == BERT_OUT_OF_MEMORY) return no_memory(s);
    if (status == BERT_OK) function->of = of;
    return BERT_OK;
}

/* ---- Which of them are replaced -------------------------------------------------------------------------------------
 */

/* Whether it is a QuantizeLinear that gives bytes by a table of others. */
static bool ends_function(const search *s, const bert_node *node) {
    const byte_function *function = bert_is_quantize(node) ? function_of(s, node->outputs[0]) : NULL;
    return function && function->of && function->of != node->outputs[0] && bert_is_byte(function->table.dtype);
}

/* What makes bytes that a function begins with, such as a Transpose, is part of none. */
static bool reads_it_itself(const search *s, const bert_node *reader) {
    const byte_function *function = reader->output_count ? function_of(s, reader->outputs[0]) : NULL;
    return !function || !function->of || function->of == reader->outputs[0] ||
           (function->needed && !ends_function(s, reader));
}

/* Readers come after what they read, so that theirs is known. */
static void find_need(const search *s, const bert_node *node) {
    byte_function *function = node->output_count ? function_of(s, node->outputs[0]) : NULL;
    if (!function || !function->of) return;
    const bert_value *value = node->outputs[0];
    function->needed = bert_value_leaves(value);
    for (uint32_t i = 0; i < value->use_count && !function->needed; i++)
        function->needed = reads_it_itself(s, value->uses[i].node);
}

/* Everything between the bytes and `value` that others may read, too. */
static void add_nodes(const search *s, bert_pattern *pattern, const bert_value *value, const bert_value *of) {
    const byte_function *function = function_of(s, value);
    if (value == of || !function || !function->of) return;
    const int before = pattern->count;
    bert_pattern_add_shared(pattern, value->producer);
    if (pattern->count == before && value != pattern->root->outputs[0])
        return; /* it was there, or there are too many */
    for (int32_t i = 0; i < value->producer->input_count; i++) {
        const bert_value *input = value->producer->inputs[i];
        if (input && !input->info.constant) add_nodes(s, pattern, input, of);
    }
}

static bert_status become_lookup(bert_pattern *pattern, bert_value *const inputs[2]) {
    return bert_pattern_replace(
        pattern,
        &(bert_node_spec){.op = bert_op_get(BERT_OP_BERTC_Lookup), .opset = 1, .inputs = inputs, .input_count = 2},
        NULL);
}

static bool is_identity(const byte_function *function) {
    bool same = function->table.dtype == function->of->info.dtype;
    for (int i = 0; i < BERT_LOOKUP_SIZE && same; i++) same = ((const uint8_t *)function->table.data)[i] == i;
    return same;
}

static bert_status replace(search *s, bert_node *quantize) {
    const byte_function *function = function_of(s, quantize->outputs[0]);
    bert_graph *graph = s->context->graph;
    bert_pattern pattern;
    bert_pattern_begin(&pattern, s->context, quantize);
    add_nodes(s, &pattern, quantize->outputs[0], function->of);
    if (is_identity(function) && !bert_value_leaves(quantize->outputs[0]))
        return bert_pattern_forward(&pattern, function->of);
    const bert_constant *constant = NULL;
    bert_value *inputs[] = {[BERT_LOOKUP_X] = function->of, [BERT_LOOKUP_TABLE] = NULL};
    void *table = bert_arena_allocate(&graph->arena, BERT_LOOKUP_SIZE, BERT_ALIGNMENT);
    if (!table) return no_memory(s);
    memcpy(table, function->table.data, BERT_LOOKUP_SIZE);
    BERT_TRY(bert_graph_add_constant(graph, function->table.dtype, 1, &(int64_t){BERT_LOOKUP_SIZE}, table,
                                     BERT_LOOKUP_SIZE, NULL, &constant, s->context->error));
    BERT_TRY(bert_graph_add_constant_value(graph, NULL, constant, &inputs[BERT_LOOKUP_TABLE], s->context->error));
    return become_lookup(&pattern, inputs);
}

/* ---- Tables that the file has ---------------------------------------------------------------------------------------
 */

static bert_status visit_gather(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Gather)) return BERT_OK;
    const bert_constant *table = node->inputs[0]->info.constant;
    bert_node *cast = bert_value_made_by(node->inputs[1], BERT_OP_Cast);
    if (!table || table->rank != 1 || table->dims[0] != BERT_LOOKUP_SIZE || !bert_is_byte(table->dtype) || !cast ||
        !bert_is_byte(cast->inputs[0]->info.dtype) || bert_dtype_size(cast->outputs[0]->info.dtype) < sizeof(int32_t))
        return BERT_OK;
    bert_value *inputs[] = {[BERT_LOOKUP_X] = cast->inputs[0], [BERT_LOOKUP_TABLE] = node->inputs[0]};
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    bert_pattern_add_shared(&pattern, cast);
    return become_lookup(&pattern, inputs);
}

/* ---- All ------------------------------------------------------------------------------------------------------------
 */

/* Nodes of the graph itself, not those of branches; what branches read stays as it is. */
static bert_status rewrite(search *s) {
    const bert_graph *graph = s->context->graph;
    size_t count = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) count++;
    bert_node **nodes = BERT_ARENA_NEW_ARRAY(&s->scratch, bert_node *, count);
    s->count = graph->value_count;
    s->functions = BERT_ARENA_NEW_ARRAY(&s->scratch, byte_function, s->count);
    if (!nodes || !s->functions) return no_memory(s);
    count = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) nodes[count++] = node;
    for (size_t i = 0; i < count; i++) BERT_TRY(follow(s, nodes[i]));
    for (size_t i = count; i-- > 0;) find_need(s, nodes[i]);
    for (size_t i = 0; i < count; i++) {
        if (!bert_node_linked(nodes[i]) || !ends_function(s, nodes[i])) continue;
        if (function_of(s, nodes[i]->outputs[0])->needed) BERT_TRY(replace(s, nodes[i]));
    }
    return BERT_OK;
}

bert_status bert_pass_lookup(bert_pass_context *context) {
    search s = {.context = context};
    bert_arena_init(&s.scratch, context->graph->allocator);
    const bert_status status = rewrite(&s);
    bert_arena_free(&s.scratch);
    BERT_TRY(status);
    return bert_pass_each(context, visit_gather);
}
