/*
 * What passes match with: looking at values and nodes, collecting the nodes of a pattern, and putting one node in their
 * place.
 *
 * A matcher looks backward from the last node of its pattern (the root), so that everything that the new node reads
 * is written before the root. Operand order never matters to the helpers that take "one of two" operands.
 */
#ifndef BERT_PASSES_MATCH_H
#define BERT_PASSES_MATCH_H

#include "core/base/dtypes.h"
#include "core/passes/pass.h"

/* ---- Looking --------------------------------------------------------------------------------------------------------
 */

/** Whether the node is still in its block: a pass may have removed it. */
bool bert_node_linked(const bert_node *node);
static inline bool bert_node_is(const bert_node *node, bert_op_id id) {
    return node && node->op->id == id;
}
/** The node that writes the value, if it is one of operator `id` and this is its first output; else NULL. */
bert_node *bert_value_made_by(const bert_value *value, bert_op_id id);

/** The node that alone reads the value, in one place; NULL when there are more, or it leaves the graph or a branch. */
bert_node *bert_value_sole_reader(const bert_value *value);
/** Whether the value leaves the graph or a branch. */
static inline bool bert_value_leaves(const bert_value *value) {
    return value->graph_output || value->branch_output;
}

/** The value of a constant with one element. */
bool bert_value_scalar(const bert_value *value, double *out);
/** Whether `number` is `expected` as far as the type can hold it. */
bool bert_number_near(double number, double expected, bert_dtype dtype);
/**
 * For a node of two operands of which exactly one is a constant scalar that leaves the other's shape alone: the other
 * one, with the scalar in *scalar. NULL when it isn't so. `right_only`: the scalar must be the second (Div, Sub, Pow).
 */
bert_value *bert_node_beside_scalar(const bert_node *node, bool right_only, double *scalar);
/** What `value` is another shape of, in the same order of elements, where that certainly has this shape; else `value`.
 */
bert_value *bert_value_before_reshaping(bert_value *value, const bert_shape *shape);
/** The operand of a binary node beside `value`; NULL when `value` is none of its two operands. */
bert_value *bert_node_beside(const bert_node *node, const bert_value *value);

/** Elements of a constant integer tensor of rank 0 or 1; false when it is none or has more than `capacity`. */
bool bert_value_ints(const bert_value *value, int64_t *out, int32_t capacity, int32_t *count);
/** `axis` counted from the front; -1 when it is outside. */
int32_t bert_axis_from_front(int64_t axis, int32_t rank);
/** Axes of a Reduce, Squeeze or Unsqueeze from its attribute or its second input, as they stand there; false when
 * neither is a known list. */
bool bert_node_axes(const bert_node *node, int64_t *axes, int32_t *count);
/** The permutation of a Transpose, its default filled in; false when the rank isn't known or it is none. */
bool bert_node_permutation(const bert_node *node, int32_t perm[BERT_MAX_RANK]);

static inline int32_t bert_value_rank(const bert_value *value) {
    return value->info.shape.rank;
}
/** Dimension counted from the front, or from the back when negative. The rank must be known and `axis` inside. */
bert_dim bert_value_dim(const bert_value *value, int32_t axis);
/** Whether both shapes are known and certainly the same. */
bool bert_shapes_equal(const bert_shape *a, const bert_shape *b);
bool bert_same_shape(const bert_value *a, const bert_value *b);
/** Whether `value` is a constant of a float type with this shape: [n]. */
bool bert_is_constant_vector(const bert_value *value, bert_dim n);
/** The name that Linear has for the node's function, if the node is an activation that it has; else NULL. */
const char *bert_activation_of(const bert_node *node);

/* ---- Patterns -------------------------------------------------------------------------------------------------------
 */

#define BERT_PATTERN_CAPACITY 64

/** The nodes that a rewrite replaces. */
typedef struct bert_pattern {
    bert_pass_context *context;
    bert_node *root;
    bert_node *nodes[BERT_PATTERN_CAPACITY];
    bool shared[BERT_PATTERN_CAPACITY]; /**< The node may have other readers; then it stays for them. */
    int count;
    const bert_node *foreign; /**< A node that can't be part of it: in another block, or one too many. */
} bert_pattern;

/** Starts a pattern that ends in `root`, which becomes its first node. */
void bert_pattern_begin(bert_pattern *pattern, bert_pass_context *context, bert_node *root);
/** Adds a node, once. */
void bert_pattern_add(bert_pattern *pattern, bert_node *node);
/** Adds a node that others may read too. */
void bert_pattern_add_shared(bert_pattern *pattern, bert_node *node);
/**
 * Whether nothing outside reads what the nodes write, but for the root's outputs and shared nodes. Records a near miss
 * when something does.
 */
bool bert_pattern_closed(const bert_pattern *pattern);
/**
 * Puts one node in the place of the pattern: it stands before the root, writes the root's first output, has the origins
 * of all nodes and, with `name` NULL, the root's name; the spec says nothing of outputs. Nodes that are not read any
 * more go. Records the rewrite.
 */
bert_status bert_pattern_replace(bert_pattern *pattern, const bert_node_spec *spec, bert_node **out);
/** The same with an existing value in the place of the root's first output: no node is made. */
bert_status bert_pattern_forward(bert_pattern *pattern, bert_value *value);

/* ---- Building -------------------------------------------------------------------------------------------------------
 */

/** A node with one new output before `before`, its shape inferred, with the origins of `from` (may be NULL). */
bert_status bert_build(bert_pass_context *context, bert_node *before, const bert_node_spec *spec, const bert_node *from,
                       bert_value **out);
/** A constant int64 vector, or a scalar when `count` is -1. */
bert_status bert_build_ints(bert_pass_context *context, const int64_t *ints, int32_t count, bert_value **out);
/** Unsqueeze(value, axes) spelled for the opset. */
bert_status bert_build_unsqueeze(bert_pass_context *context, bert_node *before, bert_value *value, const int64_t *axes,
                                 int32_t count, bert_value **out);
/** Transpose(value, perm); `perm`, of the value's rank, is copied. */
bert_status bert_build_transpose(bert_pass_context *context, bert_node *before, bert_value *value, const int64_t *perm,
                                 int32_t rank, bert_value **out);
/** A node of one output without attributes, spelled as in opset 13 or the model's newer one. */
bert_status bert_build_op(bert_pass_context *context, bert_node *before, bert_op_id id, bert_value *const *inputs,
                          int32_t count, bert_value **out);
/** Cast(value) to `to`; `value` itself where it has the type. */
bert_status bert_build_cast(bert_pass_context *context, bert_node *before, bert_value *value, bert_dtype to,
                            bert_value **out);
/** int64 [n] counted up from 0, n being dimension `axis` of `like`. */
bert_status bert_build_range(bert_pass_context *context, bert_node *before, bert_value *like, int32_t axis,
                             bert_value **out);
/** The constant `value` with as many elements in another shape: the same bytes, not copied; itself where it has it. */
bert_status bert_build_shown(bert_pass_context *context, bert_value *value, int32_t rank, const int64_t *dims,
                             bert_value **out);
/** A constant float32 scalar. */
bert_status bert_build_float(bert_pass_context *context, float number, bert_value **out);
/** The opset of ONNX's own domain for a node that a pass makes: that of the model, or `least` where it is older. */
int32_t bert_build_opset(const bert_node *near, int32_t least);

/* ---- Walking --------------------------------------------------------------------------------------------------------
 */

/** Calls `visit` for every node that stood in the graph (branches included) at the call and still does at its turn. */
bert_status bert_pass_each(bert_pass_context *context, bert_status (*visit)(bert_pass_context *, bert_node *));

#endif
