#include "cli/inspect.h"

#include "core/base/error.h"
#include "core/runtime/text.h"

#include <stdlib.h>
#include <string.h>

static int by_count(const void *a, const void *b) {
    const bert_op_count *left = a;
    const bert_op_count *right = b;
    if (left->count != right->count) return left->count < right->count ? 1 : -1;
    return strcmp(left->name, right->name);
}

static void count_op(bert_inspection *inspection, const bert_op *op) {
    inspection->node_count++;
    for (size_t i = 0; i < inspection->op_count; i++) {
        bert_op_count *known = &inspection->ops[i];
        if (strcmp(known->name, op->name) == 0 && strcmp(known->domain, op->domain) == 0) {
            known->count++;
            return;
        }
    }
    inspection->ops[inspection->op_count++] = (bert_op_count){op->domain, op->name, 1};
}

static void count_weight(bert_inspection *inspection, const bert_constant *constant) {
    size_t i = 0;
    while (i < inspection->weight_count && inspection->weights[i].dtype != constant->dtype) i++;
    if (i == BERT_MAX_WEIGHT_TYPES) return;
    if (i == inspection->weight_count) inspection->weights[inspection->weight_count++].dtype = constant->dtype;
    inspection->weights[i].count++;
    inspection->weights[i].elements += (size_t)bert_constant_elements(constant);
    inspection->weights[i].bytes += constant->bytes;
}

static int by_id(const void *a, const void *b) {
    const bert_constant *left = *(const bert_constant *const *)a;
    const bert_constant *right = *(const bert_constant *const *)b;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* A constant that several values share counts once. */
static bert_status count_weights(bert_inspection *inspection, bert_arena *arena, bert_error *error) {
    const bert_graph *graph = inspection->graph;
    const bert_constant **constants = BERT_ARENA_NEW_ARRAY(arena, const bert_constant *, graph->value_count + 1);
    if (!constants) return bert_fail_memory(error, graph->value_count * sizeof *constants, "the list of weights");
    size_t count = 0;
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const bert_value *value = graph->values[i];
        if (value && value->info.constant && !value->producer && value->use_count) {
            constants[count++] = value->info.constant;
        }
    }
    qsort(constants, count, sizeof *constants, by_id);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || constants[i]->id != constants[i - 1]->id) count_weight(inspection, constants[i]);
    }
    return BERT_OK;
}

static bert_pass_tally *pass_of(bert_inspection *inspection, const char *name) {
    for (size_t i = 0; i < inspection->pass_count; i++) {
        if (strcmp(inspection->passes[i].name, name) == 0) return &inspection->passes[i];
    }
    inspection->passes[inspection->pass_count] = (bert_pass_tally){.name = name};
    return &inspection->passes[inspection->pass_count++];
}

static void count_nodes(bert_inspection *inspection, const bert_block *block) {
    BERT_FOR_EACH_NODE (node, block) {
        count_op(inspection, node->op);
        for (size_t i = 0; i < node->attribute_count; i++) {
            const bert_attribute *attribute = &node->attributes[i];
            if (attribute->kind == BERT_ATTRIBUTE_GRAPH) count_nodes(inspection, attribute->value.graph);
        }
    }
}

bert_status bert_inspection_count(bert_inspection *inspection, bert_arena *arena, bert_error *error) {
    inspection->ops = BERT_ARENA_NEW_ARRAY(arena, bert_op_count, inspection->graph->next_node_id + 1);
    if (!inspection->ops) return bert_fail_memory(error, sizeof *inspection->ops, "the list of operators");
    count_nodes(inspection, &inspection->graph->body);
    qsort(inspection->ops, inspection->op_count, sizeof *inspection->ops, by_count);
    const bert_pass_report *report = inspection->report;
    if (report) {
        size_t most = report->rewrite_count + report->miss_count;
        inspection->passes = BERT_ARENA_NEW_ARRAY(arena, bert_pass_tally, most + 1);
        if (!inspection->passes)
            return bert_fail_memory(error, most * sizeof *inspection->passes, "the list of passes");
        for (size_t i = 0; i < report->rewrite_count; i++) {
            bert_pass_tally *pass = pass_of(inspection, report->rewrites[i].pass);
            pass->rewrites++;
            pass->removed += report->rewrites[i].node[0] == '\0';
        }
        for (size_t i = 0; i < report->miss_count; i++) pass_of(inspection, report->misses[i].pass)->misses++;
    }
    return count_weights(inspection, arena, error);
}

const bert_value *bert_storage_value(const bert_plan *plan, uint32_t storage) {
    for (size_t i = 0; i < plan->step_count; i++) {
        const bert_plan_step *step = &plan->steps[i];
        for (int32_t o = 0; o < step->node->output_count; o++) {
            if (step->output_storages[o] == storage) return step->node->outputs[o];
        }
    }
    return NULL;
}

const char *bert_model_tensor_text(const bert_model_tensor *tensor, char *out, size_t capacity) {
    out[0] = '\0';
    bert_append_text(out, capacity, "%s[", bert_dtype_name(tensor->dtype));
    if (tensor->rank < 0) bert_append_text(out, capacity, "...");
    for (int d = 0; d < tensor->rank; d++) {
        if (d) bert_append_text(out, capacity, ",");
        if (tensor->dims[d] >= 0) {
            bert_append_text(out, capacity, "%lld", (long long)tensor->dims[d]);
        } else {
            bert_append_text(out, capacity, "%s", tensor->dim_names[d] ? tensor->dim_names[d] : "?");
        }
    }
    bert_append_text(out, capacity, "]");
    return out;
}

const char *bert_value_text(const bert_graph *graph, const bert_value *value, char *out, size_t capacity) {
    const bert_shape *shape = &value->info.shape;
    out[0] = '\0';
    bert_append_text(out, capacity, "%s[", bert_dtype_name(value->info.dtype));
    if (shape->rank < 0) bert_append_text(out, capacity, "...");
    for (int d = 0; d < shape->rank; d++) {
        char dim[128];
        bert_append_text(out, capacity, "%s%s", d ? "," : "",
                         bert_dim_format(graph->symbols, shape->dims[d], dim, sizeof dim));
    }
    bert_append_text(out, capacity, "]");
    return out;
}

const char *bert_domain_prefix(const char *domain) {
    if (strcmp(domain, "bertc") == 0) return "bertc.";
    return strcmp(domain, "com.microsoft") == 0 ? "com.microsoft." : "";
}
