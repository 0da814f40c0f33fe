/* Functions that the model defines are put in place of their calls. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <string.h>

/* The call's attributes, with those that refer to an outer call's put in their place. */
static bert_status give_attributes(const bert_onnx_context *context, const BertOnnx__NodeProto *node, bert_arena *arena,
                                   bert_onnx_call *call, bert_error *error) {
    if (node->n_attribute > BERT_ONNX_MAX_ATTRIBUTES) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has %zu attributes, the most is %d", node->n_attribute,
                         BERT_ONNX_MAX_ATTRIBUTES);
    }
    bert_onnx_given *given = BERT_ARENA_NEW_ARRAY(arena, bert_onnx_given, node->n_attribute);
    if (!given) return bert_fail_memory(error, sizeof *given, "a call");
    for (size_t i = 0; i < node->n_attribute; i++) {
        const BertOnnx__AttributeProto *value = NULL;
        bert_status status = bert_onnx_resolve_attribute(context->call, node->attribute[i], &value, error);
        const char *name = bert_onnx_text(node->attribute[i]->name);
        if (status != BERT_OK) return bert_fail_in(error, status, "attribute %.*s", BERT_ONNX_SHOWN(name));
        if (value) given[call->attribute_count++] = (bert_onnx_given){name, value};
    }
    call->attributes = given;
    return BERT_OK;
}

/* Names of the function's inputs stand for what the call gives, those of its outputs for what the call writes. */
static bert_status bind_values(const bert_onnx_node *node, bert_onnx_scope *scope, bert_onnx_call *call,
                               bert_error *error) {
    const BertOnnx__FunctionProto *function = call->function;
    if ((size_t)node->input_count > function->n_input || (size_t)node->output_count > function->n_output) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it has %" PRId32 " inputs and %" PRId32 " outputs, and the function %zu and %zu",
                         node->input_count, node->output_count, function->n_input, function->n_output);
    }
    for (size_t i = 0; i < function->n_input; i++) {
        bert_value *value = i < (size_t)node->input_count ? node->inputs[i] : NULL;
        BERT_TRY(bert_onnx_declare(scope, function->input[i], value ? value : &bert_onnx_absent, error));
    }
    call->outputs = bert_hash_create(&scope->arena);
    if (!call->outputs) return bert_fail_memory(error, sizeof(void *), "a call");
    for (int32_t i = 0; i < node->output_count; i++) {
        const char *name = function->output[i];
        size_t length = strlen(name);
        if (!node->outputs[i] || bert_hash_get(call->outputs, name, length)) continue;
        if (!bert_hash_set(call->outputs, name, length, node->outputs[i])) {
            return bert_fail_memory(error, length, "a call");
        }
    }
    return BERT_OK;
}

/* An output that is an input of the function, or that the function lists twice, is copied. */
static bert_status copy_output(const bert_onnx_context *inner, const bert_onnx_node *node, int32_t output,
                               bert_error *error) {
    const char *name = inner->call->function->output[output];
    bert_value *from = bert_onnx_find(inner->scope, name), *to = node->outputs[output];
    if (!from || from == &bert_onnx_absent || from == to) {
        return bert_fail(error, BERT_INVALID_MODEL, "output %.*s of the function is a tensor that nothing writes",
                         BERT_ONNX_SHOWN(name));
    }
    const bert_op *identity = bert_op_find("", "Identity");
    if (!identity) return bert_fail(error, BERT_UNSUPPORTED, "bert.c does not have Identity");
    const bert_node_spec spec = {.op = identity,
                                 .opset = inner->opsets->onnx,
                                 .name = node->name,
                                 .inputs = &from,
                                 .input_count = 1,
                                 .outputs = &to,
                                 .output_count = 1};
    bert_node *built = NULL;
    BERT_TRY(bert_graph_add_node(inner->block, NULL, &spec, &built, error));
    built->origins = node->origins;
    built->origin_count = node->origin_count;
    return BERT_OK;
}

static bert_status fill_call(const bert_onnx_context *context, const bert_onnx_function *function,
                             const bert_onnx_node *node, bert_onnx_scope *scope, bert_error *error) {
    bert_onnx_call call = {.name = node->name,
                           .function = function->proto,
                           .origins = node->origins,
                           .origin_count = node->origin_count,
                           .depth = context->call ? context->call->depth + 1 : 1};
    if (call.depth > BERT_ONNX_MAX_CALL_DEPTH) {
        return bert_fail(error, BERT_UNSUPPORTED, "calls of functions are nested deeper than %d",
                         BERT_ONNX_MAX_CALL_DEPTH);
    }
    BERT_TRY(give_attributes(context, node->proto, &scope->arena, &call, error));
    BERT_TRY(bind_values(node, scope, &call, error));
    const bert_onnx_context inner = {.builder = context->builder,
                                     .block = context->block,
                                     .scope = scope,
                                     .call = &call,
                                     .opsets = &function->opsets,
                                     .first_index = function->first_index};
    BERT_TRY(bert_onnx_build_nodes(&inner, function->proto->node, function->proto->n_node, error));
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        if (output && !output->producer && !output->info.constant) BERT_TRY(copy_output(&inner, node, i, error));
    }
    return BERT_OK;
}

bert_status bert_onnx_inline(const bert_onnx_context *context, bert_onnx_function *function, const bert_onnx_node *node,
                             bert_error *error) {
    if (function->open) {
        return bert_fail(error, BERT_INVALID_MODEL, "the function calls itself, which ONNX does not allow");
    }
    bert_onnx_scope scope;
    BERT_TRY(bert_onnx_scope_open(&scope, NULL, context->builder->source->allocator, error));
    function->open = true;
    bert_status status = fill_call(context, function, node, &scope, error);
    function->open = false;
    bert_onnx_scope_close(&scope);
    return status;
}
