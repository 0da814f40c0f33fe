/* What `bertc inspect` shows, in each of its formats. */
#ifndef BERT_CLI_INSPECT_H
#define BERT_CLI_INSPECT_H

#include "cli/json_out.h"
#include "core/base/memory.h"
#include "core/graph/graph.h"
#include "core/passes/pass.h"
#include "core/runtime/plan.h"

#include <bert/model.h>

/** Nodes of one operator. */
typedef struct bert_op_count {
    const char *domain, *name;
    size_t count;
} bert_op_count;

/** Weights of one type. */
typedef struct bert_weight_count {
    bert_dtype dtype;
    size_t count, elements, bytes;
} bert_weight_count;

/** Rewrites by one pass. */
typedef struct bert_pass_tally {
    const char *name;
    size_t rewrites, misses;
    size_t removed; /**< Of the rewrites: nodes only went, or a value took another's place. */
} bert_pass_tally;

/** A node that is not canonical, and the nearest place where a pass stopped short. */
typedef struct bert_plain_node {
    const bert_node *node;
    const bert_pass_miss *miss; /**< NULL: no pass came near it. */
} bert_plain_node;

/** Such nodes of one operator that are left for one reason. */
typedef struct bert_plain_group {
    const bert_node *first;
    const bert_pass_miss *miss; /**< That of `first`. */
    size_t count;
} bert_plain_group;

#define BERT_MAX_WEIGHT_TYPES 16

/** Everything that is shown. Pointers are the model's, or the arena's of bert_inspection_make. */
typedef struct bert_inspection {
    const char *path;
    const bert_model *model;
    const bert_graph *graph;
    const bert_pass_report *report; /**< NULL when no pass ran. */
    bool all_passes;                /**< Every rewrite and near miss, not only their numbers. */
    bert_op_count *ops;
    size_t op_count, node_count;
    bert_weight_count weights[BERT_MAX_WEIGHT_TYPES];
    size_t weight_count;
    bert_pass_tally *passes;
    size_t pass_count;
    const char *padding; /**< Why text tasks compute padding; NULL where they skip it. */
    bert_plain_node *plain;
    size_t plain_count;
    bert_plain_group *plain_groups;
    size_t plain_group_count;
    /* With --shape. */
    const bert_plan *plan; /**< NULL without. */
    const char *provider;
    bert_session_memory memory;
} bert_inspection;

/** Fills in the counts for the graph and report that `inspection` has. BERT_OUT_OF_MEMORY. */
bert_status bert_inspection_count(bert_inspection *inspection, bert_arena *arena, bert_error *error);

/** Fills in what no pass took, after bert_inspection_count. BERT_OUT_OF_MEMORY. */
bert_status bert_inspection_find_plain(bert_inspection *inspection, bert_arena *arena, bert_error *error);

/** What a plan lays out in its arena: the tensor that first lies there, NULL when it is none of a kernel's. */
const bert_value *bert_storage_value(const bert_plan *plan, uint32_t storage);

/** "int64[batch,sequence]" into `out`; returns it. */
const char *bert_model_tensor_text(const bert_model_tensor *tensor, char *out, size_t capacity);
/** "float[2,16,128]" of a value of the graph. */
const char *bert_value_text(const bert_graph *graph, const bert_value *value, char *out, size_t capacity);
/** "bertc." and the like before the name of an operator that is not ONNX's own; "" for those. */
const char *bert_domain_prefix(const char *domain);

void bert_inspect_print(const bert_inspection *inspection);
void bert_inspect_json(const bert_inspection *inspection, bert_json_out *json);
void bert_inspect_dot(const bert_inspection *inspection);

#endif
