#include "cli/inspect.h"

static void write_tensors(const bert_model *model, bool inputs, bert_json_out *json) {
    size_t count = inputs ? bert_model_input_count(model) : bert_model_output_count(model);
    bert_json_out_key(json, inputs ? "inputs" : "outputs");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor tensor;
        if ((inputs ? bert_model_input(model, i, &tensor) : bert_model_output(model, i, &tensor)) != BERT_OK) continue;
        bert_json_out_begin(json, '{');
        bert_json_out_key(json, "name");
        bert_json_out_text(json, tensor.name);
        bert_json_out_key(json, "dtype");
        bert_json_out_text(json, bert_dtype_name(tensor.dtype));
        bert_json_out_key(json, "shape");
        if (tensor.rank < 0) bert_json_out_null(json);
        if (tensor.rank >= 0) bert_json_out_begin(json, '[');
        for (int d = 0; d < tensor.rank; d++) {
            if (tensor.dims[d] >= 0) {
                bert_json_out_integer(json, tensor.dims[d]);
            } else {
                bert_json_out_text(json, tensor.dim_names[d]);
            }
        }
        if (tensor.rank >= 0) bert_json_out_end(json, ']');
        if (inputs) {
            bert_json_out_key(json, "optional");
            bert_json_out_boolean(json, tensor.optional);
        }
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void write_count(bert_json_out *json, const char *key, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_integer(json, (int64_t)count);
}

static void write_member(bert_json_out *json, const char *key, const char *text) {
    bert_json_out_key(json, key);
    bert_json_out_text(json, text);
}

static void write_ops(const bert_inspection *inspection, bert_json_out *json) {
    bert_json_out_key(json, "ops");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < inspection->op_count; i++) {
        bert_json_out_begin(json, '{');
        write_member(json, "domain", inspection->ops[i].domain);
        write_member(json, "op", inspection->ops[i].name);
        write_count(json, "count", inspection->ops[i].count);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    bert_json_out_key(json, "weights");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < inspection->weight_count; i++) {
        const bert_weight_count *weights = &inspection->weights[i];
        bert_json_out_begin(json, '{');
        write_member(json, "dtype", bert_dtype_name(weights->dtype));
        write_count(json, "count", weights->count);
        write_count(json, "elements", weights->elements);
        write_count(json, "bytes", weights->bytes);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void write_pass_details(const bert_pass_report *report, bert_json_out *json) {
    bert_json_out_key(json, "rewrites");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < report->rewrite_count; i++) {
        bert_json_out_begin(json, '{');
        write_member(json, "pass", report->rewrites[i].pass);
        write_member(json, "op", report->rewrites[i].op_type);
        write_member(json, "node", report->rewrites[i].node);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    bert_json_out_key(json, "near_misses");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < report->miss_count; i++) {
        bert_json_out_begin(json, '{');
        write_member(json, "pass", report->misses[i].pass);
        write_member(json, "node", report->misses[i].node);
        write_member(json, "reason", report->misses[i].reason);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void write_passes(const bert_inspection *inspection, bert_json_out *json) {
    bert_json_out_key(json, "passes");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < inspection->pass_count; i++) {
        bert_json_out_begin(json, '{');
        write_member(json, "pass", inspection->passes[i].name);
        write_count(json, "rewrites", inspection->passes[i].rewrites);
        write_count(json, "near_misses", inspection->passes[i].misses);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    if (inspection->report && inspection->all_passes) write_pass_details(inspection->report, json);
}

static void write_miss(bert_json_out *json, const bert_pass_miss *miss) {
    write_member(json, "pass", miss ? miss->pass : NULL);
    write_member(json, "stopped_at", miss ? miss->node : NULL);
    write_member(json, "reason", miss ? miss->reason : NULL);
}

static void write_plain(const bert_inspection *inspection, bert_json_out *json) {
    bert_json_out_key(json, "plain");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < inspection->plain_group_count; i++) {
        const bert_plain_group *group = &inspection->plain_groups[i];
        bert_json_out_begin(json, '{');
        write_member(json, "domain", group->first->op->domain);
        write_member(json, "op", group->first->op->name);
        write_count(json, "count", group->count);
        write_miss(json, group->miss);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    if (!inspection->all_passes) return;
    bert_json_out_key(json, "plain_nodes");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < inspection->plain_count; i++) {
        bert_json_out_begin(json, '{');
        write_member(json, "node", bert_node_label(inspection->plain[i].node));
        write_member(json, "op", inspection->plain[i].node->op->name);
        write_miss(json, inspection->plain[i].miss);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void write_storages(const bert_plan *plan, bert_json_out *json) {
    bert_json_out_key(json, "arena");
    bert_json_out_begin(json, '[');
    for (uint32_t i = 0; i < plan->storage_count; i++) {
        const bert_storage *storage = &plan->storages[i];
        const bert_value *value = bert_storage_value(plan, i);
        if (storage->kind != BERT_STORAGE_ARENA || !value) continue;
        bert_json_out_begin(json, '{');
        write_member(json, "tensor", value->name);
        write_count(json, "offset", storage->offset);
        write_count(json, "bytes", storage->bytes);
        write_count(json, "first", (size_t)storage->first);
        write_count(json, "last", (size_t)storage->last);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
    write_count(json, "plan_arena_bytes", plan->arena_bytes);
}

static void write_step(const bert_plan_step *step, bert_json_out *json) {
    bert_json_out_begin(json, '{');
    write_member(json, "node", bert_node_label(step->node));
    write_member(json, "op", step->node->op->name);
    write_member(json, "kernel", step->plan.kernel);
    bert_json_out_key(json, "origins");
    bert_json_out_begin(json, '[');
    for (uint32_t i = 0; i < step->node->origin_count; i++) bert_json_out_text(json, step->node->origins[i]->name);
    bert_json_out_end(json, ']');
    bert_json_out_key(json, "shape");
    bert_json_out_begin(json, '[');
    for (int d = 0; d < step->outputs[0].rank; d++) bert_json_out_integer(json, step->outputs[0].dims[d]);
    bert_json_out_end(json, ']');
    write_count(json, "flops", (size_t)step->flops);
    write_count(json, "workspace_bytes", step->plan.workspace_bytes);
    write_count(json, "workspace_offset", step->workspace_offset);
    bert_json_out_end(json, '}');
}

void bert_inspect_json(const bert_inspection *inspection, bert_json_out *json) {
    const bert_graph *graph = inspection->graph;
    bert_json_out_begin(json, '{');
    write_member(json, "model", inspection->path);
    write_member(json, "producer", graph->producer);
    write_count(json, "ir_version", (size_t)graph->ir_version);
    write_tensors(inspection->model, true, json);
    write_tensors(inspection->model, false, json);
    write_count(json, "file_nodes", graph->file_node_count);
    write_count(json, "nodes", inspection->node_count);
    write_ops(inspection, json);
    write_passes(inspection, json);
    bert_json_out_key(json, "padding");
    bert_json_out_begin(json, '{');
    bert_json_out_key(json, "skipped");
    bert_json_out_boolean(json, !inspection->padding);
    bert_json_out_key(json, "reason");
    if (inspection->padding) {
        bert_json_out_text(json, inspection->padding);
    } else {
        bert_json_out_null(json);
    }
    bert_json_out_end(json, '}');
    write_plain(inspection, json);
    if (inspection->plan) {
        write_member(json, "provider", inspection->provider);
        bert_json_out_key(json, "plan");
        bert_json_out_begin(json, '[');
        for (size_t i = 0; i < inspection->plan->step_count; i++) write_step(&inspection->plan->steps[i], json);
        bert_json_out_end(json, ']');
        write_storages(inspection->plan, json);
        write_count(json, "arena_bytes", inspection->memory.arena_bytes);
        write_count(json, "weight_bytes", inspection->memory.weight_bytes);
        write_count(json, "context_bytes", inspection->memory.context_bytes);
    }
    bert_json_out_end(json, '}');
    bert_json_out_newline(json);
}
