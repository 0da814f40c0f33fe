/*
 * Writing the file: everything but the weights is made as messages in memory and packed by protobuf-c; the graph's
 * initializers follow it in the file, one after the other, each a packed head and then its bytes from where they lie.
 * (Protobuf joins the parts of a message in whatever order they come.)
 */
#include "onnx_loader/save.h"

#include "core/base/error.h"
#include "core/base/file_out.h"
#include "onnx_loader/saver.h"
#include "onnx_loader/wire.h"

#include <bert/version.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_EXTERNAL_BYTES = 1024, /* smaller constants stay in the model's file, where shape inference finds them */
    EXTERNAL_ALIGNMENT = 4096,   /* so that an engine can map each */
    MODEL_GRAPH = 7,             /* field numbers of onnx.proto */
    GRAPH_INITIALIZER = 5,
    TENSOR_RAW_DATA = 9
};

/* ---- Names ------------------------------------------------------------------------------------------------------ */

/* A constant has one name, whichever of the values that are it is asked for. */
static const char *name_constant(bert_onnx_saver *saver, const bert_value *value) {
    const bert_constant *constant = value->info.constant;
    const char *key = bert_onnx_save_format(saver, "%" PRIu64, constant->id);
    bert_onnx_initializer *known = constant->id ? bert_hash_get(saver->by_id, key, strlen(key)) : NULL;
    if (known) return known->name;
    bert_onnx_initializer *initializer = BERT_ONNX_SAVE_NEW(saver, bert_onnx_initializer, 1);
    const char *name = bert_onnx_save_fresh(saver, saver->taken, value->name);
    if (!initializer) return name;
    *initializer = (bert_onnx_initializer){.constant = constant, .name = name};
    *saver->last = initializer;
    saver->last = &initializer->next;
    if (!bert_hash_set(saver->by_id, key, strlen(key), initializer)) saver->exhausted = true;
    return name;
}

const char *bert_onnx_save_name(bert_onnx_saver *saver, const bert_value *value) {
    if (!value) return "";
    const char **name = &saver->names[value->id];
    if (*name) return *name;
    bool constant = value->info.constant && !value->producer && !value->graph_input;
    *name = constant ? name_constant(saver, value) : bert_onnx_save_fresh(saver, saver->taken, value->name);
    return *name;
}

/* What the caller gives and gets keeps its name, before anything else can take it. */
static void name_interface(bert_onnx_saver *saver) {
    const bert_graph *graph = saver->graph;
    for (int32_t i = 0; i < graph->input_count; i++) {
        saver->names[graph->inputs[i]->id] = bert_onnx_save_fresh(saver, saver->taken, graph->inputs[i]->name);
    }
    for (int32_t i = 0; i < graph->output_count; i++) {
        const bert_value *value = graph->outputs[i];
        bert_onnx_save_take(saver, saver->taken, graph->output_names[i]);
        if (value->producer && !saver->names[value->id]) saver->names[value->id] = graph->output_names[i];
    }
}

/* ---- The model without its weights ------------------------------------------------------------------------------ */

static int32_t newest_opset(const bert_block *block, int32_t newest) {
    BERT_FOR_EACH_NODE (node, block) {
        if (*node->op->domain == '\0' && node->opset > newest) newest = node->opset;
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            newest = newest_opset(node->attributes[i].value.graph, newest);
        }
    }
    return newest;
}

/* The IR version that came with the opset; functions need 8. */
static int64_t ir_version(int32_t opset) {
    return opset <= 18 ? 8 : opset <= 20 ? 9 : opset <= 22 ? 10 : 11;
}

static void save_outputs(bert_onnx_saver *saver, bert_onnx_nodes *nodes, BertOnnx__GraphProto *out) {
    const bert_graph *graph = saver->graph;
    BertOnnx__ValueInfoProto **outputs =
        BERT_ONNX_SAVE_NEW(saver, BertOnnx__ValueInfoProto *, (size_t)graph->output_count);
    for (int32_t i = 0; outputs && i < graph->output_count; i++) {
        const char *name = bert_onnx_save_name(saver, graph->outputs[i]), *wanted = graph->output_names[i];
        if (strcmp(name, wanted) != 0) bert_onnx_save_node(saver, nodes, "", "Identity", &name, 1, &wanted, 1);
        outputs[i] = bert_onnx_save_value(saver, &graph->outputs[i]->info, wanted);
    }
    out->output = outputs;
    out->n_output = outputs ? (size_t)graph->output_count : 0;
}

static void save_inputs(bert_onnx_saver *saver, BertOnnx__GraphProto *out) {
    const bert_graph *graph = saver->graph;
    BertOnnx__ValueInfoProto **inputs =
        BERT_ONNX_SAVE_NEW(saver, BertOnnx__ValueInfoProto *, (size_t)graph->input_count);
    for (int32_t i = 0; inputs && i < graph->input_count; i++) {
        const bert_value *input = graph->inputs[i];
        const char *name = bert_onnx_save_name(saver, input);
        inputs[i] = bert_onnx_save_value(saver, &input->info, name);
        if (!input->input_default) continue;
        bert_onnx_initializer *given = BERT_ONNX_SAVE_NEW(saver, bert_onnx_initializer, 1);
        if (!given) return;
        *given = (bert_onnx_initializer){.constant = input->input_default, .name = name};
        *saver->last = given;
        saver->last = &given->next;
    }
    out->input = inputs;
    out->n_input = inputs ? (size_t)graph->input_count : 0;
}

static bert_status make_graph(bert_onnx_saver *saver, BertOnnx__GraphProto *out, bert_error *error) {
    bert_onnx__graph_proto__init(out);
    out->name = bert_onnx_save_text(saver, saver->graph->name && *saver->graph->name ? saver->graph->name : "model");
    bert_onnx_nodes nodes = {0};
    BERT_TRY(bert_onnx_save_block(saver, &saver->graph->body, &nodes, error));
    save_inputs(saver, out);
    save_outputs(saver, &nodes, out);
    out->node = nodes.items;
    out->n_node = nodes.count;
    return BERT_OK;
}

static void make_model(bert_onnx_saver *saver, BertOnnx__ModelProto *out) {
    BertOnnx__OperatorSetIdProto **imports = BERT_ONNX_SAVE_NEW(saver, BertOnnx__OperatorSetIdProto *, 3);
    if (!imports) return;
    bert_onnx__model_proto__init(out);
    out->has_ir_version = 1;
    out->ir_version = ir_version(saver->opset);
    out->producer_name = bert_onnx_save_text(saver, "bert.c");
    out->producer_version = bert_onnx_save_text(saver, BERT_VERSION);
    imports[0] = bert_onnx_save_import(saver, "", saver->opset);
    imports[1] = bert_onnx_save_import(saver, "com.microsoft", 1);
    imports[2] = bert_onnx_save_import(saver, BERT_CANONICAL_DOMAIN, 1);
    out->opset_import = imports;
    out->n_opset_import = saver->function_count ? 3 : 2;
    out->functions = saver->functions;
    out->n_functions = saver->function_count;
}

/* ---- Bytes ------------------------------------------------------------------------------------------------------ */

/* The file, and how large its parts are. */
typedef struct writing {
    bert_onnx_saver *saver;
    BertOnnx__GraphProto graph;
    BertOnnx__ModelProto model;
    bool external;
    const char *external_name; /* of the second file, without its folder */
    uint64_t external_size;
    bert_file_out file, data;
} writing;

static size_t varint_bytes(uint64_t number) {
    unsigned char text[BERT_WIRE_VARINT_BYTES];
    return bert_wire_write_varint(text, number);
}

static bool goes_out(const writing *w, const bert_constant *constant) {
    return w->external && constant->bytes >= LEAST_EXTERNAL_BYTES;
}

static uint64_t aligned(uint64_t offset) {
    return (offset + EXTERNAL_ALIGNMENT - 1) / EXTERNAL_ALIGNMENT * EXTERNAL_ALIGNMENT;
}

static void refer(writing *w, const bert_constant *constant, BertOnnx__TensorProto *tensor) {
    bert_onnx_saver *saver = w->saver;
    BertOnnx__StringStringEntryProto *entries = BERT_ONNX_SAVE_NEW(saver, BertOnnx__StringStringEntryProto, 3);
    BertOnnx__StringStringEntryProto **list = BERT_ONNX_SAVE_NEW(saver, BertOnnx__StringStringEntryProto *, 3);
    if (!entries || !list) return;
    for (int i = 0; i < 3; i++) {
        bert_onnx__string_string_entry_proto__init(&entries[i]);
        list[i] = &entries[i];
    }
    entries[0].key = bert_onnx_save_text(saver, "location");
    entries[0].value = bert_onnx_save_text(saver, w->external_name);
    entries[1].key = bert_onnx_save_text(saver, "offset");
    entries[1].value = bert_onnx_save_format(saver, "%" PRIu64, aligned(w->external_size));
    entries[2].key = bert_onnx_save_text(saver, "length");
    entries[2].value = bert_onnx_save_format(saver, "%zu", constant->bytes);
    tensor->external_data = list;
    tensor->n_external_data = 3;
    tensor->has_data_location = 1;
    tensor->data_location = 1;
    w->external_size = aligned(w->external_size) + constant->bytes;
}

/* The head of an initializer; *bytes what the whole message takes. */
static BertOnnx__TensorProto *make_head(writing *w, const bert_onnx_initializer *initializer, uint64_t *bytes) {
    const bert_constant *constant = initializer->constant;
    BertOnnx__TensorProto *tensor = bert_onnx_save_tensor(w->saver, constant, initializer->name);
    if (!tensor) return NULL;
    if (goes_out(w, constant)) {
        refer(w, constant, tensor);
        *bytes = bert_onnx__tensor_proto__get_packed_size(tensor);
    } else {
        size_t key = varint_bytes(TENSOR_RAW_DATA << 3 | BERT_WIRE_BYTES);
        *bytes =
            bert_onnx__tensor_proto__get_packed_size(tensor) + key + varint_bytes(constant->bytes) + constant->bytes;
    }
    return tensor;
}

/* What the graph takes in the file. */
static bert_status measure(writing *w, uint64_t *graph_bytes, bert_error *error) {
    uint64_t total = bert_onnx__graph_proto__get_packed_size(&w->graph);
    w->external_size = 0;
    for (const bert_onnx_initializer *i = w->saver->first; i; i = i->next) {
        uint64_t bytes = 0;
        if (!make_head(w, i, &bytes)) return bert_fail_memory(error, sizeof *i, "the list of weights");
        total += varint_bytes(GRAPH_INITIALIZER << 3 | BERT_WIRE_BYTES) + varint_bytes(bytes) + bytes;
    }
    *graph_bytes = total;
    return BERT_OK;
}

static bert_status write_key(bert_file_out *file, unsigned number, uint64_t length, bert_error *error) {
    unsigned char text[2 * BERT_WIRE_VARINT_BYTES];
    size_t at = bert_wire_write_varint(text, (uint64_t)number << 3 | BERT_WIRE_BYTES);
    at += bert_wire_write_varint(text + at, length);
    return bert_file_out_write(file, text, at, error);
}

static bert_status write_message(writing *w, const ProtobufCMessage *message, bert_error *error) {
    size_t size = protobuf_c_message_get_packed_size(message);
    unsigned char *packed = bert_allocate(w->saver->arena.allocator, size, 1);
    if (!packed && size) return bert_fail_memory(error, size, "a part of the file");
    if (size) protobuf_c_message_pack(message, packed);
    bert_status status = bert_file_out_write(&w->file, packed, size, error);
    bert_deallocate(w->saver->arena.allocator, packed, size, 1);
    return status;
}

/* The pages of a mapped weight are given back: a model that is larger than memory can be saved. */
static bert_status write_bytes(bert_file_out *file, const bert_constant *constant, bert_error *error) {
    BERT_TRY(bert_file_out_write(file, constant->data, constant->bytes, error));
    if (constant->file) bert_file_release_pages(constant->file, constant->data, constant->bytes);
    return BERT_OK;
}

static bert_status write_external(writing *w, const bert_constant *constant, bert_error *error) {
    static const unsigned char zeros[EXTERNAL_ALIGNMENT] = {0};
    BERT_TRY(bert_file_out_write(&w->data, zeros, aligned(w->data.position) - w->data.position, error));
    return write_bytes(&w->data, constant, error);
}

static bert_status write_initializer(writing *w, const bert_onnx_initializer *initializer, bert_error *error) {
    const bert_constant *constant = initializer->constant;
    uint64_t bytes = 0;
    BertOnnx__TensorProto *head = make_head(w, initializer, &bytes);
    if (!head) return bert_fail_memory(error, sizeof *head, "a weight");
    BERT_TRY(write_key(&w->file, GRAPH_INITIALIZER, bytes, error));
    BERT_TRY(write_message(w, &head->base, error));
    if (goes_out(w, constant)) return write_external(w, constant, error);
    BERT_TRY(write_key(&w->file, TENSOR_RAW_DATA, constant->bytes, error));
    return write_bytes(&w->file, constant, error);
}

static bert_status write_all(writing *w, uint64_t graph_bytes, bert_error *error) {
    BERT_TRY(write_message(w, &w->model.base, error));
    BERT_TRY(write_key(&w->file, MODEL_GRAPH, graph_bytes, error));
    BERT_TRY(write_message(w, &w->graph.base, error));
    w->external_size = 0;
    for (const bert_onnx_initializer *i = w->saver->first; i; i = i->next) BERT_TRY(write_initializer(w, i, error));
    return BERT_OK;
}

static bert_status open_and_write(writing *w, const char *path, uint64_t graph_bytes, bert_error *error) {
    const char *slash = strrchr(path, '/');
    const char *data_path = bert_onnx_save_format(w->saver, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path,
                                                  w->external ? w->external_name : "");
    BERT_TRY(bert_file_out_open(path, &w->file, error));
    if (w->external) BERT_TRY(bert_file_out_open(data_path, &w->data, error));
    BERT_TRY(write_all(w, graph_bytes, error));
    /* The weights first: a model whose weights are missing must not be seen. */
    if (w->external) BERT_TRY(bert_file_out_close(&w->data, error));
    return bert_file_out_close(&w->file, error);
}

static bert_status write_file(bert_onnx_saver *saver, const char *path, const bert_onnx_save_options *options,
                              bert_error *error) {
    const char *slash = strrchr(path, '/');
    uint64_t most = options->most_bytes ? options->most_bytes : BERT_ONNX_MOST_BYTES;
    uint64_t graph_bytes = 0;
    writing w = {.saver = saver, .external = options->external_data};
    BERT_TRY(make_graph(saver, &w.graph, error));
    make_model(saver, &w.model);
    w.external_name = bert_onnx_save_format(saver, "%s.data", slash ? slash + 1 : path);
    if (saver->exhausted) return bert_fail_memory(error, saver->arena.total_bytes, "the file's structure");
    uint64_t rest = bert_onnx__model_proto__get_packed_size(&w.model) + 2 * BERT_WIRE_VARINT_BYTES;
    BERT_TRY(measure(&w, &graph_bytes, error));
    if (graph_bytes + rest > most && !w.external) {
        w.external = true;
        BERT_TRY(measure(&w, &graph_bytes, error));
    }
    if (graph_bytes + rest > most) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "the model's structure takes %" PRIu64 " bytes, a file can hold %" PRIu64, graph_bytes + rest,
                         most);
    }
    bert_status status = open_and_write(&w, path, graph_bytes, error);
    bert_file_out_abandon(&w.file);
    bert_file_out_abandon(&w.data);
    return status;
}

static bert_status save_with(bert_onnx_saver *saver, const char *path, const bert_onnx_save_options *options,
                             bert_error *error) {
    const bert_graph *graph = saver->graph;
    saver->last = &saver->first;
    saver->opset = newest_opset(&graph->body, BERT_ONNX_LEAST_SAVED_OPSET);
    saver->taken = bert_hash_create(&saver->arena);
    saver->taken_by_nodes = bert_hash_create(&saver->arena);
    saver->by_id = bert_hash_create(&saver->arena);
    saver->functions_by_name = bert_hash_create(&saver->arena);
    saver->names = BERT_ONNX_SAVE_NEW(saver, const char *, graph->value_count);
    saver->parts = BERT_ONNX_SAVE_NEW(saver, bert_onnx_parts *, graph->value_count);
    if (!saver->taken || !saver->taken_by_nodes || !saver->by_id || !saver->functions_by_name || !saver->names ||
        !saver->parts) {
        return bert_fail_memory(error, graph->value_count * sizeof(void *), "the names of tensors");
    }
    name_interface(saver);
    return write_file(saver, path, options, error);
}

bert_status bert_onnx_save(const bert_graph *graph, const char *path, const bert_onnx_save_options *options,
                           bert_error *error) {
    const bert_onnx_save_options defaults = {0};
    bert_onnx_saver saver = {.graph = graph};
    bert_arena_init(&saver.arena, graph->allocator);
    bert_status status = save_with(&saver, path, options ? options : &defaults, error);
    bert_arena_free(&saver.arena);
    return status;
}
