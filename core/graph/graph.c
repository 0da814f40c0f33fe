#include "core/graph/graph.h"

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/graph/op.h"

#include <inttypes.h>
#include <string.h>

bert_graph *bert_graph_create(const bert_allocator *allocator) {
    bert_graph *graph = bert_allocate(allocator, sizeof *graph, BERT_ALIGNMENT);
    if (!graph) return NULL;
    *graph = (bert_graph){.allocator = allocator, .name = "", .producer = ""};
    bert_arena_init(&graph->arena, allocator);
    graph->body.graph = graph;
    graph->symbols = bert_symbols_create(&graph->arena);
    graph->names = bert_hash_create(&graph->arena);
    if (!graph->symbols || !graph->names) {
        bert_graph_free(graph);
        return NULL;
    }
    return graph;
}

void bert_graph_free(bert_graph *graph) {
    if (!graph) return;
    for (bert_graph_file *file = graph->files; file; file = file->next) bert_file_close(&file->file);
    bert_arena_free(&graph->arena);
    bert_deallocate(graph->allocator, graph, sizeof *graph, BERT_ALIGNMENT);
}

bert_status bert_graph_adopt_file(bert_graph *graph, bert_file file, const bert_file **out, bert_error *error) {
    bert_graph_file *entry = BERT_ARENA_NEW(&graph->arena, bert_graph_file);
    if (!entry) {
        bert_file_close(&file);
        return bert_fail_memory(error, sizeof *entry, "the list of files");
    }
    *entry = (bert_graph_file){.file = file, .next = graph->files};
    graph->files = entry;
    *out = &entry->file;
    return BERT_OK;
}

/* Doubles an arena array. The old one stays in the arena: the sum of all is at most twice the last. */
static bool grow_array(bert_arena *arena, void **array, uint32_t count, uint32_t *capacity, size_t element) {
    if (count < *capacity) return true;
    if (*capacity > UINT32_MAX / 2) return false;
    uint32_t grown = *capacity ? *capacity * 2 : 4;
    void *copy = bert_arena_array(arena, grown, element);
    if (!copy) return false;
    if (count) memcpy(copy, *array, count * element);
    *array = copy;
    *capacity = grown;
    return true;
}

bert_value *bert_graph_find_value(const bert_graph *graph, const char *name) {
    bert_value *value = bert_hash_get(graph->names, name, strlen(name));
    return value && graph->values[value->id] == value ? value : NULL; /* the table keeps removed ones */
}

/* Made-up names start with a character that no exporter uses, and count on until one is free. */
static const char *make_up_name(bert_graph *graph) {
    for (uint32_t number = graph->value_count;; number++) {
        char *name = bert_arena_format(&graph->arena, "#%" PRIu32, number);
        if (!name || !bert_graph_find_value(graph, name)) return name;
    }
}

bert_status bert_graph_add_value(bert_graph *graph, const char *name, bert_value **out, bert_error *error) {
    if (name && bert_graph_find_value(graph, name)) {
        return bert_fail(error, BERT_INVALID_MODEL, "two tensors are named %s", name);
    }
    const char *own_name = name ? bert_arena_string(&graph->arena, name, strlen(name)) : make_up_name(graph);
    bert_value *value = BERT_ARENA_NEW(&graph->arena, bert_value);
    if (!own_name || !value ||
        !grow_array(&graph->arena, (void **)&graph->values, graph->value_count, &graph->value_capacity,
                    sizeof(bert_value *)) ||
        !bert_hash_set(graph->names, own_name, strlen(own_name), value)) {
        return bert_fail_memory(error, sizeof *value, "a tensor of the graph");
    }
    *value = (bert_value){.id = graph->value_count, .name = own_name, .info = {.shape = {.rank = -1}}};
    graph->values[graph->value_count++] = value;
    *out = value;
    return BERT_OK;
}

static bert_status copy_values(bert_graph *graph, bert_value *const *values, int32_t count, bert_value ***out,
                               bert_error *error) {
    bert_value **copy = BERT_ARENA_NEW_ARRAY(&graph->arena, bert_value *, (size_t)count);
    if (!copy) return bert_fail_memory(error, (size_t)count * sizeof(bert_value *), "a list of tensors");
    if (count) memcpy(copy, values, (size_t)count * sizeof(bert_value *));
    *out = copy;
    return BERT_OK;
}

bert_status bert_graph_set_inputs(bert_graph *graph, bert_value *const *inputs, int32_t count, bert_error *error) {
    bert_value **copy = NULL;
    BERT_TRY(copy_values(graph, inputs, count, &copy, error));
    for (int32_t i = 0; i < graph->input_count; i++) graph->inputs[i]->graph_input = false;
    for (int32_t i = 0; i < count; i++) copy[i]->graph_input = true;
    graph->inputs = copy;
    graph->input_count = count;
    return BERT_OK;
}

bert_status bert_graph_set_outputs(bert_graph *graph, bert_value *const *outputs, int32_t count, bert_error *error) {
    bert_value **copy = NULL;
    const char **names = BERT_ARENA_NEW_ARRAY(&graph->arena, const char *, (size_t)count);
    if (!names) return bert_fail_memory(error, (size_t)count * sizeof *names, "a list of names");
    BERT_TRY(copy_values(graph, outputs, count, &copy, error));
    for (int32_t i = 0; i < graph->output_count; i++) graph->outputs[i]->graph_output = false;
    for (int32_t i = 0; i < count; i++) {
        copy[i]->graph_output = true;
        names[i] = copy[i]->name;
    }
    graph->outputs = copy;
    graph->output_names = names;
    graph->output_count = count;
    return BERT_OK;
}

bert_status bert_graph_add_outputs(bert_graph *graph, bert_value *const *outputs, int32_t count, bert_error *error) {
    size_t before = (size_t)graph->output_count, total = before + (size_t)count;
    bert_value **values = BERT_ARENA_NEW_ARRAY(&graph->arena, bert_value *, total);
    const char **names = BERT_ARENA_NEW_ARRAY(&graph->arena, const char *, total);
    if (!values || !names) return bert_fail_memory(error, total * sizeof *values, "a list of tensors");
    if (before) {
        memcpy(values, graph->outputs, before * sizeof *values);
        memcpy(names, graph->output_names, before * sizeof *names);
    }
    for (int32_t i = 0; i < count; i++) {
        values[before + (size_t)i] = outputs[i];
        names[before + (size_t)i] = outputs[i]->name;
        outputs[i]->graph_output = true;
    }
    graph->outputs = values;
    graph->output_names = names;
    graph->output_count += count;
    return BERT_OK;
}

bert_status bert_block_set_outputs(bert_block *block, bert_value *const *outputs, int32_t count, bert_error *error) {
    BERT_TRY(copy_values(block->graph, outputs, count, &block->outputs, error));
    for (int32_t i = 0; i < count; i++) block->outputs[i]->branch_output = true;
    block->output_count = count;
    return BERT_OK;
}

bert_status bert_value_add_use(bert_graph *graph, bert_value *value, bert_node *node, int32_t input,
                               bert_error *error) {
    if (!grow_array(&graph->arena, (void **)&value->uses, value->use_count, &value->use_capacity, sizeof(bert_use))) {
        return bert_fail_memory(error, sizeof(bert_use), "the readers of a tensor");
    }
    value->uses[value->use_count++] = (bert_use){node, input};
    return BERT_OK;
}

void bert_value_drop_use(bert_value *value, const bert_node *node, int32_t input) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        if (value->uses[i].node != node || value->uses[i].input != input) continue;
        value->uses[i] = value->uses[--value->use_count];
        return;
    }
}

static void link_node(bert_block *block, bert_node *before, bert_node *node) {
    node->block = block;
    node->next = before;
    node->previous = before ? before->previous : block->last;
    *(node->previous ? &node->previous->next : &block->first) = node;
    *(before ? &before->previous : &block->last) = node;
}

bert_status bert_graph_add_node(bert_block *block, bert_node *before, const bert_node_spec *spec, bert_node **out,
                                bert_error *error) {
    bert_graph *graph = block->graph;
    bert_node *node = BERT_ARENA_NEW(&graph->arena, bert_node);
    const char *name = spec->name ? bert_arena_string(&graph->arena, spec->name, strlen(spec->name)) : "";
    bert_attribute *attributes = BERT_ARENA_NEW_ARRAY(&graph->arena, bert_attribute, spec->attribute_count);
    if (!node || !name || !attributes) return bert_fail_memory(error, sizeof *node, "a node");
    if (spec->attribute_count) memcpy(attributes, spec->attributes, spec->attribute_count * sizeof *attributes);
    *node = (bert_node){.id = graph->next_node_id++,
                        .op = spec->op,
                        .opset = spec->opset,
                        .name = name,
                        .input_count = spec->input_count,
                        .output_count = spec->output_count,
                        .attributes = attributes,
                        .attribute_count = spec->attribute_count};
    BERT_TRY(copy_values(graph, spec->inputs, spec->input_count, &node->inputs, error));
    BERT_TRY(copy_values(graph, spec->outputs, spec->output_count, &node->outputs, error));
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        if (!output || (!output->producer && !output->graph_input && !output->info.constant)) continue;
        return bert_fail(error, BERT_INVALID_MODEL, "tensor %s is written twice", output->name);
    }
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        bert_status status = bert_value_add_use(graph, node->inputs[i], node, i, error);
        if (status != BERT_OK) {
            while (i-- > 0) {
                if (node->inputs[i]) bert_value_drop_use(node->inputs[i], node, i);
            }
            return status;
        }
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        node->outputs[i]->producer = node;
        node->outputs[i]->producer_output = i;
    }
    link_node(block, before, node);
    *out = node;
    return BERT_OK;
}
