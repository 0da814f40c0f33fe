#include "core/runtime/model.h"

#include "core/base/error.h"
#include "core/runtime/options.h"
#include "core/runtime/token_mask.h"
#include "core/runtime/weights.h"

#include <string.h>

void bert_model_describe(const bert_model *model, const char *name, const bert_value *value, bert_model_tensor *out) {
    const bert_value_info *info = &value->info;
    *out = (bert_model_tensor){
        .name = name, .dtype = info->dtype, .rank = info->shape.rank, .optional = value->input_default != NULL};
    for (int32_t i = 0; i < info->shape.rank; i++) {
        out->dims[i] = bert_dim_known(info->shape.dims[i]) ? info->shape.dims[i] : -1;
        out->dim_names[i] = bert_dim_name(model->graph->symbols, info->shape.dims[i]);
    }
}

static bert_status describe_inputs_and_outputs(bert_model *model, const bert_model_options *options,
                                               bert_error *error) {
    const bert_graph *graph = model->graph;
    size_t room = (size_t)graph->output_count + options->extra_output_count;
    model->inputs = BERT_ARENA_NEW_ARRAY(&model->arena, bert_model_tensor, (size_t)graph->input_count);
    model->outputs = BERT_ARENA_NEW_ARRAY(&model->arena, bert_model_tensor, room);
    if (!model->inputs || !model->outputs) {
        return bert_fail_memory(error, sizeof(bert_model_tensor), "the model's inputs and outputs");
    }
    for (int32_t i = 0; i < graph->input_count; i++) {
        bert_model_describe(model, graph->inputs[i]->name, graph->inputs[i], &model->inputs[i]);
    }
    for (int32_t i = 0; i < graph->output_count; i++) {
        bert_model_describe(model, graph->output_names[i], graph->outputs[i], &model->outputs[i]);
    }
    return BERT_OK;
}

/* What a file does not say of its outputs, inference does. */
static void complete_outputs(bert_model *model) {
    for (int32_t i = 0; i < model->graph->output_count; i++) {
        bert_model_tensor *output = &model->outputs[i];
        if (output->dtype != BERT_DTYPE_UNDEFINED && output->rank >= 0) continue;
        bert_model_describe(model, output->name, model->graph->outputs[i], output);
    }
}

/* The tensor of that name, if a caller can be given it; *why says why not. */
static bert_value *find_extra_output(const bert_graph *graph, const char *name, const char **why) {
    bert_value *value = bert_graph_find_value(graph, name);
    *why = "the graph has no tensor of that name";
    if (!value || graph->values[value->id] != value) return NULL;
    if (!value->producer && !value->graph_input && !value->info.constant) return NULL;
    *why = "it is inside a branch of an If";
    return value->producer && value->producer->block != &graph->body ? NULL : value;
}

/* Whether it is one already, or its name is that of one: passes may have put another tensor in an output's place. */
static bool is_output(const bert_graph *graph, const bert_value *value) {
    if (value->graph_output) return true;
    for (int32_t i = 0; i < graph->output_count; i++) {
        if (strcmp(graph->output_names[i], value->name) == 0) return true;
    }
    return false;
}

static bert_status add_extra_outputs(bert_model *model, const bert_model_options *options, bert_error *error) {
    bert_graph *graph = model->graph;
    bert_value **values = BERT_ARENA_NEW_ARRAY(&model->arena, bert_value *, options->extra_output_count);
    if (!values) return bert_fail_memory(error, options->extra_output_count * sizeof *values, "the list of outputs");
    int32_t count = 0;
    for (size_t i = 0; i < options->extra_output_count; i++) {
        const char *why = "it has no name", *name = options->extra_outputs[i];
        bert_value *value = name ? find_extra_output(graph, name, &why) : NULL;
        if (!value && !options->extra_outputs_if_kept) {
            return bert_fail(error, BERT_INVALID_ARGUMENT, "tensor '%s' can't be an output: %s", name ? name : "NULL",
                             why);
        }
        if (!value || is_output(graph, value)) continue;
        value->graph_output = true;
        values[count++] = value;
    }
    return bert_graph_add_outputs(graph, values, count, error);
}

/* Infers the file's graph. What the file says of a tensor's type must be so. */
static bert_status infer_as_declared(bert_model *model, bert_error *error) {
    const bert_graph *graph = model->graph;
    bert_dtype *declared = BERT_ARENA_NEW_ARRAY(&model->arena, bert_dtype, graph->value_count);
    if (!declared) return bert_fail_memory(error, graph->value_count * sizeof *declared, "the types of tensors");
    for (uint32_t i = 0; i < graph->value_count; i++) {
        if (graph->values[i]) declared[i] = graph->values[i]->info.dtype;
    }
    const uint32_t count = graph->value_count;
    BERT_TRY(bert_infer_graph(model->graph, error));
    for (uint32_t i = 0; i < count; i++) {
        const bert_value *value = graph->values[i];
        if (!value || !value->producer || declared[i] == BERT_DTYPE_UNDEFINED || declared[i] == value->info.dtype)
            continue;
        return bert_fail(error, BERT_INVALID_MODEL, "tensor %s is declared as %s, and node %s (%s) makes it %s",
                         value->name, bert_dtype_name(declared[i]), bert_node_label(value->producer),
                         value->producer->op->name, bert_dtype_name(value->info.dtype));
    }
    return BERT_OK;
}

/* Inference and passes look at weights; until they are prepared none needs to be resident. */
static void release_all_pages(const bert_graph *graph) {
    for (const bert_graph_file *file = graph->files; file; file = file->next) {
        bert_file_release_pages(&file->file, file->file.data, file->file.size);
    }
}

static bert_status build(bert_model *model, const bert_model_source *source, const bert_model_options *options,
                         bert_error *error) {
    bert_model_source own = *source;
    own.read_files = options->read_files;
    own.external_data_folder = options->external_data_folder;
    own.allocator = &model->allocator;
    own.log = &model->log;
    BERT_TRY(model->composition->load(&own, &model->graph, error));
    model->promoted = options->promote_to_double;
    if (model->promoted) BERT_TRY(bert_promote_to_double(model->graph, error));
    if (!options->extra_outputs_if_kept) BERT_TRY(add_extra_outputs(model, options, error));
    BERT_TRY(describe_inputs_and_outputs(model, options, error));
    BERT_TRY(infer_as_declared(model, error));
    complete_outputs(model);
    if (!model->promoted && !options->no_passes) {
        BERT_TRY(model->composition->run_passes(model->graph, &model->log, &model->pass_report, error));
    }
    if (options->extra_outputs_if_kept) {
        int32_t first = model->graph->output_count;
        BERT_TRY(add_extra_outputs(model, options, error));
        for (int32_t i = first; i < model->graph->output_count; i++) {
            bert_model_describe(model, model->graph->output_names[i], model->graph->outputs[i], &model->outputs[i]);
        }
    }
    BERT_TRY(bert_deciders_find(model->graph, &model->arena, &model->deciders, error));
    BERT_TRY(bert_token_mask_find(model->graph, &model->token_mask, error));
    release_all_pages(model->graph);
    return BERT_OK;
}

bert_status bert_model_load_composed(const bert_composition *composition, const bert_model_source *source,
                                     const bert_model_options *options, bert_model **out, bert_error *error) {
    bert_model_options own;
    *out = NULL;
    BERT_TRY(bert_read_options(&own, sizeof own, options, "bert_model_options", error));
    const bert_allocator *allocator = own.allocator ? own.allocator : &bert_default_allocator;
    bert_model *model = bert_allocate(allocator, sizeof *model, _Alignof(bert_model));
    if (!model) return bert_fail_memory(error, sizeof *model, "a model");
    memset(model, 0, sizeof *model);
    atomic_init(&model->holds, 1);
    model->allocator = *allocator;
    if (own.log) model->log = *own.log;
    model->composition = composition;
    bert_arena_init(&model->arena, &model->allocator);
    if (pthread_mutex_init(&model->mutex, NULL) != 0) {
        bert_deallocate(allocator, model, sizeof *model, _Alignof(bert_model));
        return bert_fail(error, BERT_OUT_OF_MEMORY, "could not make the lock of a model");
    }
    bert_status status = BERT_OK;
    if (source->path) {
        model->path = bert_arena_string(&model->arena, source->path, strlen(source->path));
        if (!model->path) status = bert_fail_memory(error, strlen(source->path), "a model's path");
    }
    if (status == BERT_OK) status = build(model, source, &own, error);
    if (status != BERT_OK) {
        bert_model_free(model);
        return status;
    }
    *out = model;
    return BERT_OK;
}

void bert_model_hold(bert_model *model) {
    atomic_fetch_add_explicit(&model->holds, 1, memory_order_relaxed);
}

void bert_model_free(bert_model *model) {
    if (!model || atomic_fetch_sub_explicit(&model->holds, 1, memory_order_acq_rel) != 1) return;
    bert_weights_free_all(model);
    bert_graph_free(model->graph);
    bert_arena_free(&model->arena);
    pthread_mutex_destroy(&model->mutex);
    bert_allocator allocator = model->allocator;
    bert_deallocate(&allocator, model, sizeof *model, _Alignof(bert_model));
}

const bert_graph *bert_model_graph(const bert_model *model) {
    return model->graph;
}

bool bert_model_quantizes(const bert_model *model) {
    BERT_FOR_EACH_NODE (node, &model->graph->body) {
        if (bert_op_quantizes(node->op)) return true;
    }
    return false;
}

const struct bert_pass_report *bert_model_pass_report(const bert_model *model) {
    return model->pass_report;
}

size_t bert_model_input_count(const bert_model *model) {
    return (size_t)model->graph->input_count;
}

size_t bert_model_output_count(const bert_model *model) {
    return (size_t)model->graph->output_count;
}

bert_status bert_model_input(const bert_model *model, size_t index, bert_model_tensor *out) {
    if (index >= bert_model_input_count(model)) return BERT_INVALID_ARGUMENT;
    *out = model->inputs[index];
    return BERT_OK;
}

bert_status bert_model_output(const bert_model *model, size_t index, bert_model_tensor *out) {
    if (index >= bert_model_output_count(model)) return BERT_INVALID_ARGUMENT;
    *out = model->outputs[index];
    return BERT_OK;
}
