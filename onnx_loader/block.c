/* Nodes, and the names that they read and write. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <string.h>

bert_value bert_onnx_absent;

/* ---- Names --------------------------------------------------------------------------------------------------------
 */

bert_status bert_onnx_scope_open(bert_onnx_scope *scope, const bert_onnx_scope *outer, const bert_allocator *allocator,
                                 bert_error *error) {
    *scope = (bert_onnx_scope){.outer = outer};
    bert_arena_init(&scope->arena, allocator);
    scope->values = bert_hash_create(&scope->arena);
    if (scope->values) return BERT_OK;
    bert_onnx_scope_close(scope);
    return bert_fail_memory(error, sizeof(void *), "the names of a block");
}

void bert_onnx_scope_close(bert_onnx_scope *scope) {
    bert_arena_free(&scope->arena);
}

bert_status bert_onnx_declare(bert_onnx_scope *scope, const char *name, bert_value *value, bert_error *error) {
    size_t length = strlen(name);
    if (bert_hash_get(scope->values, name, length)) {
        return bert_fail(error, BERT_INVALID_MODEL, "tensor %.*s is defined more than once", BERT_ONNX_SHOWN(name));
    }
    if (bert_hash_set(scope->values, name, length, value)) return BERT_OK;
    return bert_fail_memory(error, length, "the names of a block");
}

bert_value *bert_onnx_find(const bert_onnx_scope *scope, const char *name) {
    size_t length = strlen(name);
    for (; scope; scope = scope->outer) {
        bert_value *value = bert_hash_get(scope->values, name, length);
        if (value) return value;
    }
    return NULL;
}

/* "call/name", of an inlined function's tensor or node. */
static const char *join(bert_arena *arena, const char *call, const char *name) {
    size_t call_length = strlen(call), name_length = strlen(name);
    char *joined = bert_arena_allocate(arena, call_length + name_length + 2, 1);
    if (!joined) return NULL;
    memcpy(joined, call, call_length + 1);
    joined[call_length] = '/';
    memcpy(joined + call_length + 1, name, name_length + 1);
    return joined;
}

bert_status bert_onnx_new_value(const bert_onnx_context *context, const char *name, bert_value **out,
                                bert_error *error) {
    bert_onnx_builder *builder = context->builder;
    bert_arena *arena = &builder->graph->arena;
    if (context->call) name = join(arena, context->call->name, name);
    /* Branches may use a name again; in the graph each has one of its own. */
    const char *base = name;
    while (name && bert_graph_find_value(builder->graph, name)) {
        name = bert_arena_format(arena, "%s#%" PRIu32, base, ++builder->rename_count);
    }
    if (!name) return bert_fail_memory(error, sizeof(void *), "the name of a tensor");
    return bert_graph_add_value(builder->graph, name, out, error);
}

const char *bert_onnx_node_name(const BertOnnx__NodeProto *node) {
    if (node->name && *node->name) return node->name;
    for (size_t i = 0; i < node->n_output; i++) {
        if (*node->output[i]) return node->output[i];
    }
    return "";
}

/* ---- What nodes write ---------------------------------------------------------------------------------------------
 */

static bool is_constant(const BertOnnx__NodeProto *node) {
    return *bert_onnx_domain(node->domain) == '\0' && strcmp(bert_onnx_text(node->op_type), "Constant") == 0;
}

static bert_status declare_outputs(const bert_onnx_context *context, const BertOnnx__NodeProto *node,
                                   bert_error *error) {
    for (size_t i = 0; i < node->n_output; i++) {
        const char *name = node->output[i];
        if (*name == '\0') continue;
        bert_value *value = context->call ? bert_hash_get(context->call->outputs, name, strlen(name)) : NULL;
        bool inside_branch = context->scope->outer != NULL; /* there the name is the branch's own */
        if (!value || inside_branch) BERT_TRY(bert_onnx_new_value(context, name, &value, error));
        BERT_TRY(bert_onnx_declare(context->scope, name, value, error));
    }
    if (!is_constant(node) || bert_onnx_find_function(context->builder, node)) return BERT_OK;
    if (node->n_input != 0 || node->n_output != 1 || *node->output[0] == '\0') {
        return bert_fail(error, BERT_INVALID_MODEL, "it has %zu inputs and %zu outputs, expected none and one",
                         node->n_input, node->n_output);
    }
    const bert_constant *constant = NULL;
    BERT_TRY(bert_onnx_constant_of_node(context, node, &constant, error));
    bert_value *value = bert_onnx_find(context->scope, node->output[0]);
    return bert_graph_set_constant(context->builder->graph, value, constant, error);
}

/* ---- Nodes --------------------------------------------------------------------------------------------------------
 */

static bert_status check_count(const BertOnnx__NodeProto *node, const char *what, int32_t count, int32_t least,
                               int32_t most, bert_error *error) {
    if (count >= least && (most < 0 || count <= most)) return BERT_OK;
    if (most < 0) {
        return bert_fail(error, BERT_INVALID_MODEL, "it has %" PRId32 " %s, expected at least %" PRId32, count, what,
                         least);
    }
    return bert_fail(error, BERT_INVALID_MODEL, "it has %" PRId32 " %s, expected %" PRId32 " to %" PRId32, count, what,
                     least, most);
}

/* In ONNX's own operators what may be left out comes last, so the first min_inputs must be there; com.microsoft's may
 * leave out any. */
static bert_status check_arity(const bert_onnx_node *node, const bert_op *op, bert_error *error) {
    BERT_TRY(check_count(node->proto, "inputs", node->input_count, op->min_inputs, op->max_inputs, error));
    BERT_TRY(check_count(node->proto, "outputs", node->output_count, op->min_outputs, op->max_outputs, error));
    for (int32_t i = 0; i < op->min_inputs && *op->domain == '\0'; i++) {
        if (!node->inputs[i]) return bert_fail(error, BERT_INVALID_MODEL, "its input %" PRId32 " is missing", i);
    }
    for (int32_t i = 0; i < op->min_outputs; i++) {
        if (!node->outputs[i]) return bert_fail(error, BERT_INVALID_MODEL, "its output %" PRId32 " is missing", i);
    }
    return BERT_OK;
}

/* Values by name; names that are "" at the end of the list do not count. */
static bert_status find_values(const bert_onnx_context *context, char *const *names, size_t count, const char *what,
                               bert_value ***out, int32_t *out_count, bert_error *error) {
    while (count && *names[count - 1] == '\0') count--;
    bert_value **values = BERT_ARENA_NEW_ARRAY(&context->builder->graph->arena, bert_value *, count);
    if (!values) return bert_fail_memory(error, count * sizeof *values, "a node");
    for (size_t i = 0; i < count; i++) {
        if (*names[i] == '\0') continue;
        values[i] = bert_onnx_find(context->scope, names[i]);
        if (!values[i]) {
            return bert_fail(error, BERT_INVALID_MODEL, "its %s %zu is tensor %.*s, which nothing writes", what, i,
                             BERT_ONNX_SHOWN(names[i]));
        }
        if (values[i] == &bert_onnx_absent) values[i] = NULL;
    }
    while (count && !values[count - 1]) count--;
    *out = values;
    *out_count = (int32_t)count; /* the scan limits fields to far less than 2^31 */
    return BERT_OK;
}

static bert_status make_origins(const bert_onnx_context *context, bert_onnx_node *node, uint32_t index,
                                bert_error *error) {
    bert_arena *arena = &context->builder->graph->arena;
    const bert_onnx_call *call = context->call;
    uint32_t outer = call ? call->origin_count : 0;
    bert_origin *own = BERT_ARENA_NEW(arena, bert_origin);
    node->origins = BERT_ARENA_NEW_ARRAY(arena, const bert_origin *, (size_t)outer + 1);
    if (!own || !node->origins) return bert_fail_memory(error, sizeof *own, "a node");
    const char *name = bert_onnx_node_name(node->proto), *op = bert_onnx_text(node->proto->op_type);
    *own = (bert_origin){.index = index,
                         .name = bert_arena_string(arena, name, strlen(name)),
                         .op_type = bert_arena_string(arena, op, strlen(op))};
    if (!own->name || !own->op_type) return bert_fail_memory(error, sizeof *own, "a node");
    if (outer) memcpy(node->origins, call->origins, outer * sizeof *node->origins);
    node->origins[outer] = own;
    node->origin_count = outer + 1;
    node->name = call ? join(arena, call->name, name) : own->name;
    return node->name ? BERT_OK : bert_fail_memory(error, sizeof *own, "a node");
}

/* Functions could blow a small file up without end. */
static bert_status count_inlined(bert_onnx_builder *builder, bert_error *error) {
    size_t bytes = builder->graph->arena.total_bytes - builder->bytes_before_inlining;
    if (++builder->inlined_nodes <= BERT_ONNX_MAX_INLINED_NODES && bytes <= BERT_ONNX_MAX_INLINED_BYTES) {
        return BERT_OK;
    }
    return bert_fail(error, BERT_UNSUPPORTED, "the model's functions expand to more than %d nodes or %zu bytes",
                     BERT_ONNX_MAX_INLINED_NODES, BERT_ONNX_MAX_INLINED_BYTES);
}

static bert_status build_op(const bert_onnx_context *context, const bert_onnx_node *node, bert_error *error) {
    const char *domain = bert_onnx_domain(node->proto->domain);
    const bert_op *op = bert_op_find(domain, bert_onnx_text(node->proto->op_type));
    if (!op) return bert_fail(error, BERT_INTERNAL, "its operator was there and is gone");
    BERT_TRY(check_arity(node, op, error));
    bert_node_spec spec = {.op = op,
                           .opset = *domain ? context->opsets->microsoft : context->opsets->onnx,
                           .name = node->name,
                           .inputs = node->inputs,
                           .input_count = node->input_count,
                           .outputs = node->outputs,
                           .output_count = node->output_count};
    bert_attribute *attributes = NULL;
    BERT_TRY(bert_onnx_build_attributes(context, node->proto, &attributes, &spec.attribute_count, error));
    spec.attributes = attributes;
    BERT_TRY(bert_op_check_attributes(op, spec.opset, attributes, spec.attribute_count, error));
    bert_node *built = NULL;
    BERT_TRY(bert_graph_add_node(context->block, NULL, &spec, &built, error));
    built->origins = node->origins;
    built->origin_count = node->origin_count;
    return BERT_OK;
}

static bert_status build_node(const bert_onnx_context *context, const BertOnnx__NodeProto *proto, uint32_t index,
                              bert_error *error) {
    bert_onnx_builder *builder = context->builder;
    if (context->call) BERT_TRY(count_inlined(builder, error));
    bert_onnx_function *function = bert_onnx_find_function(builder, proto);
    if (!function && is_constant(proto)) return BERT_OK;
    bert_onnx_node node = {.proto = proto};
    BERT_TRY(make_origins(context, &node, index, error));
    BERT_TRY(find_values(context, proto->input, proto->n_input, "input", &node.inputs, &node.input_count, error));
    BERT_TRY(find_values(context, proto->output, proto->n_output, "output", &node.outputs, &node.output_count, error));
    if (function) return bert_onnx_inline(context, function, &node, error);
    return build_op(context, &node, error);
}

bert_status bert_onnx_fail_in_node(const BertOnnx__NodeProto *node, bert_status status, bert_error *error) {
    const char *name = bert_onnx_node_name(node), *op = bert_onnx_text(node->op_type);
    return bert_fail_in(error, status, "node %.*s (%.*s)", BERT_ONNX_SHOWN(name), BERT_ONNX_SHOWN(op));
}

bert_status bert_onnx_build_nodes(const bert_onnx_context *context, BertOnnx__NodeProto *const *nodes, size_t count,
                                  bert_error *error) {
    for (size_t i = 0; i < count; i++) {
        bert_status status = declare_outputs(context, nodes[i], error);
        if (status != BERT_OK) return bert_onnx_fail_in_node(nodes[i], status, error);
    }
    for (size_t i = 0; i < count; i++) {
        bert_status status = build_node(context, nodes[i], context->first_index + (uint32_t)i, error);
        if (status != BERT_OK) return bert_onnx_fail_in_node(nodes[i], status, error);
    }
    return BERT_OK;
}

/* ---- Branches -----------------------------------------------------------------------------------------------------
 */

static bert_status set_branch_outputs(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                      bert_error *error) {
    bert_value **outputs = BERT_ARENA_NEW_ARRAY(&context->scope->arena, bert_value *, graph->n_output);
    if (!outputs) return bert_fail_memory(error, sizeof *outputs, "the outputs of a branch");
    for (size_t i = 0; i < graph->n_output; i++) {
        const char *name = bert_onnx_text(graph->output[i]->name);
        outputs[i] = bert_onnx_find(context->scope, name);
        if (!outputs[i] || outputs[i] == &bert_onnx_absent) {
            return bert_fail(error, BERT_INVALID_MODEL, "its output %.*s is a tensor that nothing writes",
                             BERT_ONNX_SHOWN(name));
        }
    }
    return bert_block_set_outputs(context->block, outputs, (int32_t)graph->n_output, error);
}

static bert_status fill_branch(const bert_onnx_context *context, const BertOnnx__GraphProto *graph, bert_error *error) {
    BERT_TRY(bert_onnx_build_initializers(context, graph, NULL, error));
    BERT_TRY(bert_onnx_build_nodes(context, graph->node, graph->n_node, error));
    BERT_TRY(bert_onnx_apply_hints(context, graph->value_info, graph->n_value_info, error));
    return set_branch_outputs(context, graph, error);
}

bert_status bert_onnx_build_branch(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                   bert_block **out, bert_error *error) {
    if (graph->n_input) {
        return bert_fail(error, BERT_INVALID_MODEL, "it is a branch with %zu inputs, expected none", graph->n_input);
    }
    bert_onnx_builder *builder = context->builder;
    bert_block *block = BERT_ARENA_NEW(&builder->graph->arena, bert_block);
    if (!block) return bert_fail_memory(error, sizeof *block, "a branch");
    *block = (bert_block){.graph = builder->graph, .parent = context->block};
    bert_onnx_scope scope;
    BERT_TRY(bert_onnx_scope_open(&scope, context->scope, builder->source->allocator, error));
    bert_onnx_context inner = *context;
    inner.block = block;
    inner.scope = &scope;
    inner.first_index = bert_onnx_first_index(builder, graph);
    bert_status status = fill_branch(&inner, graph, error);
    bert_onnx_scope_close(&scope);
    *out = block;
    return status;
}
