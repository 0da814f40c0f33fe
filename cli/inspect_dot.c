#include "cli/inspect.h"
#include "cli/output.h"

#include <inttypes.h>

/* Text inside a quoted string of Graphviz. */
static void print_quoted(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') bert_output_write("\\", 1);
        bert_output_write(text, 1);
    }
}

static void print_node(const bert_node *node) {
    bert_output_print("  n%" PRIu32 " [label=\"%s%s\\n", node->id, bert_domain_prefix(node->op->domain),
                      node->op->name);
    print_quoted(bert_node_label(node));
    bert_output_print("\"%s];\n", node->op->domain[0] ? ", style=filled, fillcolor=lightblue" : "");
}

static void print_edges(const bert_graph *graph, const bert_node *node) {
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *value = node->inputs[i];
        char text[512];
        if (!value || (!value->producer && !value->graph_input)) continue;
        if (value->producer) {
            bert_output_print("  n%" PRIu32 " -> n%" PRIu32, value->producer->id, node->id);
        } else {
            bert_output_print("  v%" PRIu32 " -> n%" PRIu32, value->id, node->id);
        }
        bert_output_print(" [label=\"");
        print_quoted(bert_value_text(graph, value, text, sizeof text));
        bert_output_print("\"];\n");
    }
}

static void print_value(const bert_value *value) {
    bert_output_print("  v%" PRIu32 " [shape=ellipse, label=\"", value->id);
    print_quoted(value->name);
    bert_output_print("\"];\n");
}

void bert_inspect_dot(const bert_inspection *inspection) {
    const bert_graph *graph = inspection->graph;
    bert_output_print("digraph model {\n  node [shape=box];\n");
    for (int32_t i = 0; i < graph->input_count; i++) print_value(graph->inputs[i]);
    BERT_FOR_EACH_NODE (node, &graph->body) {
        print_node(node);
        print_edges(graph, node);
    }
    for (int32_t i = 0; i < graph->output_count; i++) {
        const bert_value *value = graph->outputs[i];
        if (!value->graph_input) print_value(value);
        if (value->producer) bert_output_print("  n%" PRIu32 " -> v%" PRIu32 ";\n", value->producer->id, value->id);
    }
    bert_output_print("}\n");
}
