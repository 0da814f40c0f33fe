/* Nodes that no pass took, and the nearest place where a pass stopped short. */
#include "cli/inspect.h"

#include "core/base/dtypes.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/graph/op.h"

#include <stdlib.h>
#include <string.h>

enum {
    FARTHEST = 6, /* nodes between a plain node and the one that broke a pattern over it */
    MOST_VISITED = 128
};

typedef struct search {
    bert_hash *misses; /* bert_pass_miss by the node's label */
} search;

/* Whether it computes with activations: what a canonical operator would do. The rest is arithmetic on shapes and masks.
 */
static bool works_on_activations(const bert_node *node) {
    const bert_value *value = node->output_count ? node->outputs[0] : NULL;
    return value && value->info.shape.rank >= 3 && bert_dtype_is_float(value->info.dtype);
}

static void visit(const bert_node *node, const bert_node **seen, int *distances, int *count, int distance) {
    for (int i = 0; i < *count; i++) {
        if (seen[i] == node) return;
    }
    if (*count == MOST_VISITED) return;
    seen[*count] = node;
    distances[(*count)++] = distance;
}

/* Outward from the node, along what it reads and what reads it. */
static const bert_pass_miss *nearest_miss(const search *s, const bert_node *node) {
    const bert_node *seen[MOST_VISITED] = {node};
    int distances[MOST_VISITED] = {0}, count = 1;
    int farthest = works_on_activations(node) ? FARTHEST : 0;
    for (int at = 0; at < count; at++) {
        const char *name = bert_node_label(seen[at]);
        const bert_pass_miss *miss = *name ? bert_hash_get(s->misses, name, strlen(name)) : NULL;
        if (miss) return miss;
        if (distances[at] == farthest) continue;
        for (int32_t i = 0; i < seen[at]->input_count; i++) {
            const bert_value *value = seen[at]->inputs[i];
            if (value && value->producer) visit(value->producer, seen, distances, &count, distances[at] + 1);
        }
        for (int32_t o = 0; o < seen[at]->output_count; o++) {
            const bert_value *value = seen[at]->outputs[o];
            for (uint32_t u = 0; value && u < value->use_count; u++) {
                visit(value->uses[u].node, seen, distances, &count, distances[at] + 1);
            }
        }
    }
    return NULL;
}

static bool same_reason(const bert_pass_miss *a, const bert_pass_miss *b) {
    if (!a || !b) return a == b;
    return strcmp(a->pass, b->pass) == 0 && strcmp(a->reason, b->reason) == 0;
}

static void add_to_group(bert_inspection *inspection, const bert_node *node, const bert_pass_miss *miss) {
    for (size_t i = 0; i < inspection->plain_group_count; i++) {
        bert_plain_group *group = &inspection->plain_groups[i];
        if (group->first->op != node->op || !same_reason(group->miss, miss)) continue;
        group->count++;
        return;
    }
    inspection->plain_groups[inspection->plain_group_count++] =
        (bert_plain_group){.first = node, .miss = miss, .count = 1};
}

static void list_plain(bert_inspection *inspection, const search *s, const bert_block *block) {
    BERT_FOR_EACH_NODE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH) {
                list_plain(inspection, s, node->attributes[i].value.graph);
            }
        }
        if (strcmp(node->op->domain, BERT_CANONICAL_DOMAIN) == 0) continue;
        const bert_pass_miss *miss = nearest_miss(s, node);
        inspection->plain[inspection->plain_count++] = (bert_plain_node){node, miss};
        add_to_group(inspection, node, miss);
    }
}

/* Those with a reason first, then the most. */
static int by_reason(const void *a, const void *b) {
    const bert_plain_group *left = a;
    const bert_plain_group *right = b;
    if (!left->miss != !right->miss) return left->miss ? -1 : 1;
    if (left->count != right->count) return left->count < right->count ? 1 : -1;
    return left->first->id < right->first->id ? -1 : left->first->id > right->first->id;
}

bert_status bert_inspection_find_plain(bert_inspection *inspection, bert_arena *arena, bert_error *error) {
    const bert_pass_report *report = inspection->report;
    search s = {.misses = bert_hash_create(arena)};
    inspection->plain = BERT_ARENA_NEW_ARRAY(arena, bert_plain_node, inspection->node_count + 1);
    inspection->plain_groups = BERT_ARENA_NEW_ARRAY(arena, bert_plain_group, inspection->node_count + 1);
    if (!s.misses || !inspection->plain || !inspection->plain_groups) {
        return bert_fail_memory(error, inspection->node_count * sizeof *inspection->plain, "the list of plain nodes");
    }
    for (size_t i = 0; report && i < report->miss_count; i++) {
        bert_pass_miss *miss = &report->misses[i];
        if (!*miss->node || bert_hash_set(s.misses, miss->node, strlen(miss->node), miss)) continue;
        return bert_fail_memory(error, sizeof *miss, "the list of plain nodes");
    }
    list_plain(inspection, &s, &inspection->graph->body);
    qsort(inspection->plain_groups, inspection->plain_group_count, sizeof *inspection->plain_groups, by_reason);
    return BERT_OK;
}
