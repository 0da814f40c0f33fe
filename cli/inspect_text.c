#include "cli/inspect.h"
#include "cli/output.h"
#include "cli/tensor_file.h"

#include <inttypes.h>
#include <string.h>

static void print_tensors(const bert_model *model, bool inputs) {
    size_t count = inputs ? bert_model_input_count(model) : bert_model_output_count(model);
    bert_output_print("\n%s\n", inputs ? "Inputs" : "Outputs");
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor tensor;
        char text[512];
        if ((inputs ? bert_model_input(model, i, &tensor) : bert_model_output(model, i, &tensor)) != BERT_OK) continue;
        bert_output_print("  %-24s %s%s\n", tensor.name, bert_model_tensor_text(&tensor, text, sizeof text),
                          tensor.optional ? " (has a default)" : "");
    }
}

static void print_ops(const bert_inspection *inspection) {
    bert_output_print("\nOperators: %zu nodes, of %" PRIu32 " in the file\n", inspection->node_count,
                      inspection->graph->file_node_count);
    for (size_t i = 0; i < inspection->op_count; i++) {
        const bert_op_count *op = &inspection->ops[i];
        bert_output_print("  %6zu  %s%s\n", op->count, bert_domain_prefix(op->domain), op->name);
    }
}

static void print_weights(const bert_inspection *inspection) {
    bert_output_print("\nWeights\n");
    for (size_t i = 0; i < inspection->weight_count; i++) {
        const bert_weight_count *weights = &inspection->weights[i];
        bert_output_print("  %6zu  %s, %zu elements, %.2f MiB\n", weights->count, bert_dtype_name(weights->dtype),
                          weights->elements, (double)weights->bytes / (1 << 20));
    }
}

static void print_passes(const bert_inspection *inspection) {
    const bert_pass_report *report = inspection->report;
    bert_output_print("\nPasses\n");
    if (!report) bert_output_print("  none ran\n");
    for (size_t i = 0; i < inspection->pass_count; i++) {
        const bert_pass_tally *pass = &inspection->passes[i];
        bert_output_print("  %-24s %zu rewrites, %zu near misses", pass->name, pass->rewrites, pass->misses);
        if (pass->removed) bert_output_print("; %zu of the rewrites made nothing new", pass->removed);
        bert_output_print("\n");
    }
    if (!report || !inspection->all_passes) return;
    bert_output_print("\nRewrites\n");
    for (size_t i = 0; i < report->rewrite_count; i++) {
        const bert_pass_rewrite *rewrite = &report->rewrites[i];
        if (*rewrite->node) bert_output_print("  %-24s %s %s\n", rewrite->pass, rewrite->op_type, rewrite->node);
    }
    bert_output_print("\nNear misses\n");
    for (size_t i = 0; i < report->miss_count; i++) {
        const bert_pass_miss *miss = &report->misses[i];
        bert_output_print("  %-24s %s: %s\n", miss->pass, miss->node, miss->reason);
    }
}

static void print_plain(const bert_inspection *inspection) {
    bert_output_print("\nLeft plain: %zu of %zu nodes\n", inspection->plain_count, inspection->node_count);
    for (size_t i = 0; i < inspection->plain_group_count; i++) {
        const bert_plain_group *group = &inspection->plain_groups[i];
        const bert_op *op = group->first->op;
        bert_output_print("  %6zu  %s%s", group->count, bert_domain_prefix(op->domain), op->name);
        if (group->miss) {
            bert_output_print(": %s stopped at %s: %s", group->miss->pass, group->miss->node, group->miss->reason);
        }
        bert_output_print("\n");
    }
}

/* What lies in the arena, and between which kernels. */
static void print_arena(const bert_plan *plan) {
    bert_output_print("\nArena: %.2f MiB of activations and workspace\n", (double)plan->arena_bytes / (1 << 20));
    for (uint32_t i = 0; i < plan->storage_count; i++) {
        const bert_storage *storage = &plan->storages[i];
        const bert_value *value = bert_storage_value(plan, i);
        if (storage->kind != BERT_STORAGE_ARENA || !value) continue;
        bert_output_print("  at %10zu  %10zu bytes  kernels %4" PRId32 " to %4" PRId32 "  %s\n", storage->offset,
                          storage->bytes, storage->first, storage->last, value->name);
    }
}

static void print_memory(const bert_session_memory *memory) {
    bert_output_print("\nMemory\n  activations and workspace  %.2f MiB\n  prepared weights           %.2f MiB\n",
                      (double)memory->arena_bytes / (1 << 20), (double)memory->weight_bytes / (1 << 20));
    if (memory->context_bytes)
        bert_output_print("  the provider's own         %.2f MiB\n", (double)memory->context_bytes / (1 << 20));
}

static void print_plan(const bert_inspection *inspection) {
    const bert_plan *plan = inspection->plan;
    bert_output_print("\nPlan on %s: %zu kernels\n", inspection->provider, plan->step_count);
    int64_t flops = 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        const bert_plan_step *step = &plan->steps[i];
        char shape[BERT_SHAPE_TEXT_BYTES];
        const bert_tensor *output = &step->outputs[0];
        flops += step->flops;
        bert_output_print("  %4zu  %-28s %-20s %9.3f MFLOP %9.1f KiB workspace  %s\n", i, step->plan.kernel,
                          bert_shape_text(output->dims, output->rank, shape), (double)step->flops * 1e-6,
                          (double)step->plan.workspace_bytes / 1024, bert_node_label(step->node));
    }
    print_arena(plan);
    print_memory(&inspection->memory);
    bert_output_print("Arithmetic\n  %.3f GFLOP a run\n", (double)flops * 1e-9);
}

void bert_inspect_print(const bert_inspection *inspection) {
    const bert_graph *graph = inspection->graph;
    bert_output_print("%s\n  made by %s, IR version %" PRId64 "\n", inspection->path,
                      graph->producer[0] ? graph->producer : "an unnamed producer", graph->ir_version);
    print_tensors(inspection->model, true);
    print_tensors(inspection->model, false);
    print_ops(inspection);
    print_weights(inspection);
    print_passes(inspection);
    if (inspection->report) print_plain(inspection);
    if (inspection->padding) {
        bert_output_print("\nPadding: computed, since it can't be skipped: %s\n", inspection->padding);
    } else {
        bert_output_print("\nPadding: skipped by text tasks\n");
    }
    if (inspection->plan) print_plan(inspection);
}
