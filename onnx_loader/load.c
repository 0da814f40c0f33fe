#include "core/base/error.h"
#include "onnx_loader/builder.h"
#include "onnx_loader/onnx_loader.h"

#include <inttypes.h>

static bert_status check_model(const BertOnnx__ModelProto *model, bert_error *error) {
    if (!model->has_ir_version && !model->graph) {
        return bert_fail(error, BERT_INVALID_MODEL, "not an ONNX model: it has no IR version and no graph");
    }
    if (model->ir_version < BERT_ONNX_FIRST_IR || model->ir_version > BERT_ONNX_LAST_IR) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has ONNX IR version %" PRId64 "; bert.c reads %d to %d",
                         model->ir_version, BERT_ONNX_FIRST_IR, BERT_ONNX_LAST_IR);
    }
    if (!model->graph) return bert_fail(error, BERT_INVALID_MODEL, "not an ONNX model: it has no graph");
    return BERT_OK;
}

static bert_status name_graph(bert_graph *graph, const BertOnnx__ModelProto *model, bert_error *error) {
    const char *version = bert_onnx_text(model->producer_version);
    graph->name = bert_arena_format(&graph->arena, "%s", bert_onnx_text(model->graph->name));
    graph->producer =
        bert_arena_format(&graph->arena, "%s%s%s", bert_onnx_text(model->producer_name), *version ? " " : "", version);
    graph->ir_version = model->ir_version;
    if (graph->name && graph->producer) return BERT_OK;
    graph->name = graph->producer = "";
    return bert_fail_memory(error, sizeof *graph, "the graph's name");
}

static bert_status build_graph(bert_onnx_builder *builder, bert_onnx_scope *scope, bert_error *error) {
    const BertOnnx__GraphProto *graph = builder->model->graph;
    const bert_onnx_context context = {.builder = builder,
                                       .block = &builder->graph->body,
                                       .scope = scope,
                                       .opsets = &builder->opsets,
                                       .first_index = bert_onnx_first_index(builder, graph)};
    BERT_TRY(bert_onnx_build_inputs(&context, graph, error));
    builder->bytes_before_inlining = builder->graph->arena.total_bytes;
    BERT_TRY(bert_onnx_build_nodes(&context, graph->node, graph->n_node, error));
    BERT_TRY(bert_onnx_apply_hints(&context, graph->value_info, graph->n_value_info, error));
    BERT_TRY(bert_onnx_build_outputs(&context, graph, error));
    return bert_graph_sort(builder->graph, error);
}

static bert_status build(bert_onnx_builder *builder, bert_error *error) {
    builder->external = bert_hash_create(&builder->scratch);
    if (!builder->external) return bert_fail_memory(error, sizeof(void *), "the list of external data files");
    BERT_TRY(name_graph(builder->graph, builder->model, error));
    BERT_TRY(bert_onnx_survey(builder, error));
    bert_onnx_scope scope;
    BERT_TRY(bert_onnx_scope_open(&scope, NULL, builder->source->allocator, error));
    bert_status status = build_graph(builder, &scope, error);
    bert_onnx_scope_close(&scope);
    return status;
}

static bert_status make_graph(const bert_model_source *source, bert_onnx_file *file, bert_graph **out,
                              bert_error *error) {
    BERT_TRY(check_model(file->model, error));
    bert_graph *graph = bert_graph_create(source->allocator);
    if (!graph) return bert_fail_memory(error, sizeof *graph, "the graph");
    const bert_file *bytes = NULL;
    bert_file taken = file->bytes;
    file->bytes = (bert_file){0}; /* the graph's from here on, also when adopting fails */
    bert_status status = bert_graph_adopt_file(graph, taken, &bytes, error);
    if (status == BERT_OK) {
        bert_onnx_builder builder = {.source = source, .model = file->model, .bytes = bytes, .graph = graph};
        bert_arena_init(&builder.scratch, source->allocator);
        status = build(&builder, error);
        bert_arena_free(&builder.scratch);
    }
    if (status != BERT_OK) {
        bert_graph_free(graph);
        return status;
    }
    *out = graph;
    return BERT_OK;
}

bert_status bert_onnx_load(const bert_model_source *source, bert_graph **out, bert_error *error) {
    *out = NULL;
    bert_onnx_file file;
    bert_status status = bert_onnx_file_open(source, &file, error);
    if (status == BERT_OK) {
        status = make_graph(source, &file, out, error);
        bert_onnx_file_close(&file);
    } else if (status == BERT_IO_ERROR) {
        return status; /* names the file already */
    }
    if (status == BERT_OK) return BERT_OK;
    return bert_fail_in(error, status, "%s", source->path ? source->path : "the model in memory");
}
