#include "core/runtime/model_end.h"

#include "core/base/dtypes.h"
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/graph/op.h"
#include "core/runtime/token_mask.h"

#include <string.h>

/* `what`: what output `name` has to be, float and of rank 3. */
static bert_status find_output(const bert_model *model, const char *name, const char *what, bert_value **out,
                               bert_error *error) {
    const bert_graph *graph = model->graph;
    int32_t i = 0;
    while (i < graph->output_count && strcmp(model->outputs[i].name, name) != 0) i++;
    if (i == graph->output_count) return bert_fail(error, BERT_INVALID_ARGUMENT, "the model has no output '%s'", name);
    *out = graph->outputs[i];
    const bert_value_info *info = &(*out)->info;
    if ((info->dtype == BERT_DTYPE_UNDEFINED || bert_dtype_is_float(info->dtype)) &&
        (info->shape.rank < 0 || info->shape.rank == 3))
        return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED, "output '%s' is %s of rank %d, but %s", name,
                     bert_dtype_name(info->dtype), (int)info->shape.rank, what);
}

/* *out NULL: there is none. */
static bert_status find_mask(const bert_model *model, const char *name, bert_value **out, bert_error *error) {
    const bert_graph *graph = model->graph;
    *out = NULL;
    for (int32_t i = 0; i < graph->input_count && !*out; i++) {
        if (strcmp(model->inputs[i].name, name) == 0) *out = graph->inputs[i];
    }
    if (!*out) return BERT_OK;
    const bert_value_info *info = &(*out)->info;
    if ((info->dtype == BERT_INT32 || info->dtype == BERT_INT64) && (info->shape.rank == 2 || info->shape.rank < 0))
        return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED,
                     "input '%s' is %s of rank %d, but tokens are pooled by int32 or int64 of [batch, sequence]", name,
                     bert_dtype_name(info->dtype), (int)info->shape.rank);
}

/* A new input behind those that a run has to give. The graph may have another use for the name. */
static bert_status add_input(bert_model *model, const char *name, const bert_value_info *info, bert_value **out,
                             bert_error *error) {
    bert_graph *graph = model->graph;
    const size_t count = (size_t)graph->input_count + 1;
    bert_value **values = BERT_ARENA_NEW_ARRAY(&model->arena, bert_value *, count);
    bert_model_tensor *inputs = BERT_ARENA_NEW_ARRAY(&model->arena, bert_model_tensor, count);
    const char *own_name = bert_arena_string(&model->arena, name, strlen(name));
    if (!values || !inputs || !own_name) return bert_fail_memory(error, count * sizeof *inputs, "the model's inputs");
    BERT_TRY(bert_graph_add_value(graph, NULL, out, error));
    (*out)->info = *info;
    size_t at = 0;
    while (at + 1 < count && !model->inputs[at].optional) at++;
    for (size_t i = 0; i < count; i++) {
        const size_t from = i < at ? i : i - 1;
        if (i != at) values[i] = graph->inputs[from];
        if (i != at) inputs[i] = model->inputs[from];
    }
    values[at] = *out;
    bert_model_describe(model, own_name, *out, &inputs[at]);
    model->inputs = inputs;
    return bert_graph_set_inputs(graph, values, (int32_t)count, error);
}

/* An input for the tokens of `states`. */
static bert_status add_mask(bert_model *model, const char *name, const bert_value *states, bert_value **out,
                            bert_error *error) {
    bert_value_info info = {.dtype = BERT_INT64, .shape = {.rank = 2}};
    for (int i = 0; i < 2; i++) {
        info.shape.dims[i] =
            states->info.shape.rank == 3 ? states->info.shape.dims[i] : bert_dim_fresh(model->graph->symbols);
    }
    return add_input(model, name, &info, out, error);
}

/* A node of one new output behind all others. */
static bert_status add_node(bert_graph *graph, const bert_node_spec *spec, bert_value **out, bert_error *error) {
    bert_node_spec own = *spec;
    bert_node *node;
    BERT_TRY(bert_graph_add_value(graph, NULL, out, error));
    own.outputs = out;
    own.output_count = 1;
    BERT_TRY(bert_graph_add_node(&graph->body, NULL, &own, &node, error));
    return bert_infer_node(graph, node, error);
}

/* The first token of each sequence, as sequences of one. */
static bert_status take_first(bert_graph *graph, bert_value *states, bert_value **out, bert_error *error) {
    static const int64_t one = 1, first[] = {0};
    const bert_constant *constant = NULL;
    bert_value *inputs[] = {states, NULL};
    const bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
    BERT_TRY(bert_graph_add_constant(graph, BERT_INT64, 1, &one, first, sizeof first, NULL, &constant, error));
    BERT_TRY(bert_graph_add_constant_value(graph, NULL, constant, &inputs[1], error));
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_Gather),
                                 .opset = 13,
                                 .name = "first token",
                                 .inputs = inputs,
                                 .input_count = 2,
                                 .attributes = &axis,
                                 .attribute_count = 1};
    return add_node(graph, &spec, out, error);
}

/* `mask` NULL: every token counts. */
static bert_status add_pool(bert_graph *graph, const bert_pooled_output *wanted, bert_value *states, bert_value *mask,
                            bert_value **out, bert_error *error) {
    const char *pooling = bert_arena_string(&graph->arena, wanted->pooling, strlen(wanted->pooling));
    if (!pooling) return bert_fail_memory(error, strlen(wanted->pooling), "an attribute");
    const bert_attribute attributes[] = {BERT_STRING_ATTRIBUTE("pooling", pooling),
                                         BERT_INT_ATTRIBUTE("normalize", wanted->normalize)};
    bert_value *inputs[] = {[BERT_POOL_X] = states, [BERT_POOL_MASK] = mask};
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_BERTC_Pool),
                                 .opset = 1,
                                 .name = "pooling",
                                 .inputs = inputs,
                                 .input_count = mask ? 2 : 1,
                                 .attributes = attributes,
                                 .attribute_count = 2};
    return add_node(graph, &spec, out, error);
}

static bert_status pool(bert_model *model, const bert_pooled_output *wanted, bert_value *states, bert_value **out,
                        bert_error *error) {
    bert_value *mask = NULL;
    if (wanted->begins_at_0 && strcmp(wanted->pooling, "first") == 0) {
        BERT_TRY(take_first(model->graph, states, &states, error));
    } else {
        BERT_TRY(find_mask(model, wanted->mask, &mask, error));
        if (!mask) BERT_TRY(add_mask(model, wanted->mask, states, &mask, error));
    }
    return add_pool(model->graph, wanted, states, mask, out, error);
}

/* The model's only output from now on, by *name_out. */
static bert_status end_in(bert_model *model, bert_value *value, const char **name_out, bert_error *error) {
    const struct bert_pass_report *report = NULL;
    bert_model_tensor *output = BERT_ARENA_NEW(&model->arena, bert_model_tensor);
    if (!output) return bert_fail_memory(error, sizeof *output, "the model's outputs");
    bert_model_describe(model, value->name, value, output);
    model->outputs = output;
    BERT_TRY(bert_graph_set_outputs(model->graph, &value, 1, error));
    /* model->pass_report stays that of the file's graph. */
    if (model->pass_report) BERT_TRY(model->composition->run_passes(model->graph, &model->log, &report, error));
    BERT_TRY(bert_deciders_find(model->graph, &model->arena, &model->deciders, error));
    BERT_TRY(bert_token_mask_find(model->graph, &model->token_mask, error));
    *name_out = output->name;
    return BERT_OK;
}

bert_status bert_model_end_in_pool(bert_model *model, const bert_pooled_output *wanted, const char **name_out,
                                   bert_error *error) {
    bert_value *states = NULL, *pooled = NULL;
    BERT_TRY(find_output(model, wanted->hidden_states,
                         "what is pooled are float hidden states of [batch, sequence, hidden]", &states, error));
    BERT_TRY(pool(model, wanted, states, &pooled, error));
    return end_in(model, pooled, name_out, error);
}

bert_status bert_model_end_in_tokens(bert_model *model, const char *output, const char *tokens, const char **name_out,
                                     bert_error *error) {
    bert_graph *graph = model->graph;
    const bert_value_info info = {.dtype = BERT_INT32, .shape = {.rank = 1, .dims = {bert_dim_fresh(graph->symbols)}}};
    bert_value *inputs[2] = {NULL}, *taken = NULL;
    BERT_TRY(find_output(model, output, "tokens are taken of floats of [batch, sequence, size]", &inputs[BERT_PACK_X],
                         error));
    BERT_TRY(add_input(model, tokens, &info, &inputs[BERT_PACK_TOKENS], error));
    const bert_node_spec spec = {
        .op = bert_op_get(BERT_OP_BERTC_PackTokens), .opset = 1, .name = "tokens", .inputs = inputs, .input_count = 2};
    BERT_TRY(add_node(graph, &spec, &taken, error));
    return end_in(model, taken, name_out, error);
}
