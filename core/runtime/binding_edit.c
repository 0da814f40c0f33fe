#include "core/runtime/binding_edit.h"

#include <string.h>

bool bert_binding_copy(const bert_binding *from, uint32_t more, size_t steps, bert_arena *scratch, bert_binding *out) {
    const uint32_t values = from->value_count, capacity = values + more;
    bert_binding made = *from;
    made.value_capacity = capacity;
    made.infos = BERT_ARENA_NEW_ARRAY(scratch, bert_value_info, capacity);
    made.roots = BERT_ARENA_NEW_ARRAY(scratch, const bert_value *, capacity);
    made.sources = BERT_ARENA_NEW_ARRAY(scratch, const bert_constant *, capacity);
    made.row_axes = BERT_ARENA_NEW_ARRAY(scratch, int8_t, capacity);
    made.steps = BERT_ARENA_NEW_ARRAY(scratch, const bert_node *, steps);
    made.step_count = 0;
    if (!made.infos || !made.roots || !made.sources || !made.row_axes || !made.steps) return false;
    memcpy(made.infos, from->infos, values * sizeof *made.infos);
    memcpy(made.roots, from->roots, values * sizeof *made.roots);
    memcpy(made.sources, from->sources, values * sizeof *made.sources);
    memset(made.row_axes, -1, capacity);
    if (from->row_axes) memcpy(made.row_axes, from->row_axes, values * sizeof *made.row_axes);
    *out = made;
    return true;
}

bert_value *bert_binding_add_value(bert_binding *binding, bert_arena *memory, const char *name,
                                   const bert_value_info *info, int8_t row_axis) {
    if (binding->value_count == binding->value_capacity) return NULL;
    bert_value *value = BERT_ARENA_NEW(memory, bert_value);
    if (!value) return NULL;
    value->id = binding->value_count++;
    value->name = name;
    value->info = *info;
    binding->infos[value->id] = *info;
    binding->roots[value->id] = value;
    binding->row_axes[value->id] = row_axis;
    return value;
}

bert_node *bert_node_copy(bert_arena *arena, const bert_node *like, int32_t input_count, int32_t output_count) {
    bert_node *node = BERT_ARENA_NEW(arena, bert_node);
    if (!node) return NULL;
    *node = *like;
    node->input_count = input_count;
    node->output_count = output_count;
    node->inputs = BERT_ARENA_NEW_ARRAY(arena, bert_value *, (size_t)input_count);
    node->outputs = BERT_ARENA_NEW_ARRAY(arena, bert_value *, (size_t)output_count);
    if (!node->inputs || !node->outputs) return NULL;
    for (int32_t i = 0; i < input_count && i < like->input_count; i++) node->inputs[i] = like->inputs[i];
    for (int32_t i = 0; i < output_count && i < like->output_count; i++) node->outputs[i] = like->outputs[i];
    return node;
}

bool bert_node_add_attribute(bert_arena *arena, bert_node *node, const bert_attribute *attribute) {
    bert_attribute *attributes = BERT_ARENA_NEW_ARRAY(arena, bert_attribute, node->attribute_count + 1);
    if (!attributes) return false;
    if (node->attribute_count) memcpy(attributes, node->attributes, node->attribute_count * sizeof *attributes);
    attributes[node->attribute_count++] = *attribute;
    node->attributes = attributes;
    return true;
}
