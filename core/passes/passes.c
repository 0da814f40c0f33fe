#include "core/passes/list.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/passes/match.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * The order matters: shape arithmetic goes before patterns, since a Shape that reads the middle of one would keep it
 * from matching; after the fused operators, whose masks are computed from shapes; what a later pass recognises in the
 * canonical form of an earlier one comes after it.
 */
const bert_pass bert_passes[] = {
    {"branches", "the branch of an If whose condition is known", bert_pass_branches},
    {"fold", "compute what is constant, drop what changes nothing", bert_pass_fold},
    {"ranges", "ranges of floats that were integers as ranges of integers", bert_pass_ranges},
    {"einsum", "products, sums and views from Einsum", bert_pass_einsum},
    {"fused", "com.microsoft's fused operators in other words", bert_pass_fused},
    {"fused_attention", "Attention from operators that are attention already", bert_pass_fused_attention},
    {"fold", "compute what is constant, drop what changes nothing", bert_pass_fold},
    {"shapes", "compute shapes from those of the graph's inputs", bert_pass_shapes},
    {"common", "compute equal things once", bert_pass_common},
    {"layer_norm", "LayerNormalization from means, powers and roots", bert_pass_layer_norm},
    {"gelu", "Gelu from its erf, tanh and sigmoid spellings", bert_pass_gelu},
    {"linear", "Linear from MatMul or Gemm, bias and activation", bert_pass_linear},
    {"lookup", "a table in the place of what becomes of single bytes", bert_pass_lookup},
    {"quantized_linear", "QuantizedLinear from products of integers, their scales, bias and activation",
     bert_pass_quantized_linear},
    {"dequantized_linear", "QuantizedLinear from products with weights that are dequantized",
     bert_pass_dequantized_linear},
    {"requantized", "drop what quantizes bytes to themselves again", bert_pass_requantized},
    {"embedding", "Embedding from Gathers, their sum and its LayerNormalization", bert_pass_embedding},
    {"dequantized_rows", "rows of a constant dequantized, not all of it", bert_pass_dequantized_rows},
    {"attention", "Attention from products, scale, masks and Softmax", bert_pass_attention},
    {"qkv", "one Linear for query, key and value", bert_pass_qkv},
    {"skip_layer_norm", "SkipLayerNormalization from a sum and its LayerNormalization", bert_pass_skip_layer_norm},
    {"residual", "a sum with what a Linear computes, computed by the Linear", bert_pass_residual},
    {"pool", "Pool from masked means over tokens, and what brings them to length 1", bert_pass_pool},
    {"mask", "masks no larger than what they say", bert_pass_mask},
    {"common", "compute equal things once", bert_pass_common},
    {"early_gather", "what is taken of a sequence taken before all of it is computed", bert_pass_early_gather},
    {"quantized_add", "QuantizedAdd from sums between quantizers", bert_pass_quantized_add},
};
const size_t bert_pass_count = sizeof bert_passes / sizeof bert_passes[0];

bert_status bert_passes_run(bert_graph *graph, const bert_log *log, bert_pass_report *report, bert_error *error) {
    bert_pass_context context = {.graph = graph, .log = log, .report = report, .error = error};
    if (report && !report->arena) report->arena = &graph->arena;
    for (size_t i = 0; i < bert_pass_count; i++) {
        context.pass = &bert_passes[i];
        context.changes = 0;
        BERT_TRY(bert_infer_graph(graph, error));
        bert_status status = bert_passes[i].run(&context);
        if (status != BERT_OK) return bert_fail_in(error, status, "pass %s", bert_passes[i].name);
        bert_graph_remove_dead(graph);
        bert_log_write(log, BERT_LOG_DEBUG, "pass %s: %u rewrites", bert_passes[i].name, context.changes);
#ifndef NDEBUG
        BERT_TRY(bert_graph_check(graph, error));
#endif
    }
    return bert_infer_graph(graph, error);
}

/* Room for one more record; NULL when there is no memory. */
static void *append(bert_arena *arena, void **records, size_t *count, size_t *capacity, size_t size) {
    if (*count == *capacity) {
        size_t wanted = *capacity ? 2 * *capacity : 64;
        void *grown = bert_arena_array(arena, wanted, size);
        if (!grown) return NULL;
        if (*count) memcpy(grown, *records, *count * size);
        *records = grown;
        *capacity = wanted;
    }
    return (char *)*records + (*count)++ * size;
}

void bert_pass_rewrote(bert_pass_context *context, const bert_node *node) {
    bert_pass_report *report = context->report;
    context->changes++;
    if (!report) return;
    bert_pass_rewrite *rewrite = append(report->arena, (void **)&report->rewrites, &report->rewrite_count,
                                        &report->rewrite_capacity, sizeof *rewrite);
    if (!rewrite) return;
    *rewrite = (bert_pass_rewrite){context->pass->name, node ? bert_node_label(node) : "", node ? node->op->name : ""};
}

void bert_pass_missed(bert_pass_context *context, const bert_node *node, const char *format, ...) {
    bert_pass_report *report = context->report;
    if (!report) return;
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    const char *copy = bert_arena_string(report->arena, reason, strlen(reason));
    if (!copy) return;
    bert_pass_miss *miss =
        append(report->arena, (void **)&report->misses, &report->miss_count, &report->miss_capacity, sizeof *miss);
    if (miss) *miss = (bert_pass_miss){context->pass->name, bert_node_label(node), copy};
}

/* ---- Walking --------------------------------------------------------------------------------------------------------
 */

static size_t count_nodes(const bert_block *block) {
    size_t count = 0;
    BERT_FOR_EACH_NODE (node, block) {
        count++;
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) count += count_nodes(node->attributes[i].value.graph);
        }
    }
    return count;
}

static bert_node **list_nodes(const bert_block *block, bert_node **out) {
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH)
                out = list_nodes(node->attributes[i].value.graph, out);
        }
        *out++ = node;
    }
    return out;
}

bert_status bert_pass_each(bert_pass_context *context, bert_status (*visit)(bert_pass_context *, bert_node *)) {
    bert_graph *graph = context->graph;
    size_t count = count_nodes(&graph->body), bytes = count * sizeof(bert_node *);
    if (count == 0) return BERT_OK;
    bert_node **nodes = bert_allocate(graph->allocator, bytes, sizeof(void *));
    if (!nodes) return bert_fail_memory(context->error, bytes, "a list of nodes");
    list_nodes(&graph->body, nodes);
    bert_status status = BERT_OK;
    for (size_t i = 0; i < count && status == BERT_OK; i++) {
        if (bert_node_linked(nodes[i])) status = visit(context, nodes[i]);
    }
    bert_deallocate(graph->allocator, nodes, bytes, sizeof(void *));
    return status;
}
