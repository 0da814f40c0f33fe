/*
 * The table of operators: everything that a graph may hold is a row of ops.def.
 *
 * A row names the operator, the opsets in which it means what the row says, how many inputs and outputs it has, how
 * types and shapes follow, and a plain reference implementation. The loader refuses what is not a row.
 */
#ifndef BERT_GRAPH_OP_H
#define BERT_GRAPH_OP_H

#include "core/graph/graph.h"

/** Row numbers: BERT_OP_MatMul, BERT_OP_MS_FusedMatMul (com.microsoft), BERT_OP_BERTC_Linear (canonical). */
typedef enum bert_op_id {
#define BERT_OP(id, ...) BERT_OP_##id,
#include "core/graph/ops.def"
#undef BERT_OP
    BERT_OP_COUNT
} bert_op_id;

/** Domain of canonical operators, which passes make and no file holds. */
#define BERT_CANONICAL_DOMAIN "bertc"

/**
 * Type and shape inference of one node. Written once, used twice: while a model is built dimensions may be symbolic,
 * while a plan is bound all are known. inputs[i] is NULL for an absent input. The function fills outputs[i]->dtype and
 * ->shape (and ->elements, where it can follow them) of those outputs that are not NULL; they come as "nothing known".
 * A contradiction (mismatched shapes, a wrong type) is BERT_INVALID_MODEL with a sentence about the shapes; the caller
 * adds which node. What can't be known yet is not an error: leave rank -1, or give bert_dim_fresh().
 */
typedef struct bert_inference {
    const bert_op *op;
    int32_t opset;
    const bert_attribute *attributes;
    size_t attribute_count;
    int32_t input_count, output_count;
    const bert_value_info *const *inputs;
    bert_value_info *const *outputs;
    bert_symbols *symbols;
    bert_arena *arena; /**< For elements. */
    bert_error *error;
} bert_inference;
typedef bert_status (*bert_infer_fn)(const bert_inference *in);

/** One execution of a reference implementation. Tensors are dense host memory; an absent one has BERT_DTYPE_UNDEFINED.
 */
typedef struct bert_reference_call {
    const bert_op *op;
    int32_t opset;
    const bert_attribute *attributes;
    size_t attribute_count;
    int32_t input_count, output_count;
    const bert_tensor *inputs;  /**< Shapes and types are those that inference accepted. */
    const bert_tensor *outputs; /**< Shapes and types are those that inference gave. Never overlap inputs. */
    void *workspace;            /**< What the row's workspace function asked for, aligned to 64. */
    bert_error *error;
} bert_reference_call;

/**
 * Plain loops, written to be read: the definition that every kernel is held to. float32 and double alike (sums are kept
 * in double for both), float16 and bfloat16 through float. Content that a shape can't show to be wrong (an index
 * outside a table, a division by integer zero) is BERT_INVALID_INPUT.
 */
typedef bert_status (*bert_reference_fn)(const bert_reference_call *call);

/** Scratch bytes of a reference implementation for a node whose shapes are known (no -1). */
typedef size_t (*bert_workspace_fn)(const bert_op_node *node);

enum {
    /** Output 0 is input 0 with another shape: no kernel runs, the memory is shared. */
    BERT_OP_VIEW = 1 << 0,
    /** Has state or chance in it: never folded (none so far in BERT). */
    BERT_OP_IMPURE = 1 << 1
};

struct bert_op {
    bert_op_id id;
    const char *domain; /**< "" is ai.onnx. */
    const char *name;
    int32_t since, until;           /**< First and last opset of the domain, both included. */
    int32_t min_inputs, max_inputs; /**< max -1: any number. */
    int32_t min_outputs, max_outputs;
    /** Bit i: shapes of outputs, or the axis of the operator, depend on the content of input i: binding must know it.
     */
    uint32_t shape_inputs;
    uint32_t flags;
    bert_infer_fn infer;
    bert_reference_fn reference; /**< NULL for If alone, whose branches binding chooses. */
    bert_workspace_fn workspace; /**< NULL: none needed. */
};

/**
 * Runs the reference implementation of a node. Tensors: dense host memory, types and shapes as inference has them; an
 * absent one has BERT_DTYPE_UNDEFINED. `workspace`: what the row's workspace function asks for, aligned to 64.
 */
bert_status bert_op_evaluate(const bert_op_node *node, const bert_tensor *inputs, const bert_tensor *outputs,
                             void *workspace, bert_error *error);
/** The same for a node of a graph; takes workspace from `arena`, and outputs' elements where they have no data. */
bert_status bert_node_evaluate(bert_arena *arena, const bert_node *node, const bert_tensor *inputs,
                               bert_tensor *outputs, bert_error *error);

/** The row. */
const bert_op *bert_op_get(bert_op_id id);
/** The row for a node of a file; NULL when there is none. `opset` out of the row's range is found too: check it. */
const bert_op *bert_op_find(const char *domain, const char *name);
/**
 * Checks a file's node against the operator's schema (op_attributes.def): an attribute that the operator does not have
 * in this opset, one of another kind, or the lack of one that it needs is BERT_INVALID_MODEL; the caller adds the node.
 */
bert_status bert_op_check_attributes(const bert_op *op, int32_t opset, const bert_attribute *attributes, size_t count,
                                     bert_error *error);
/** Whether it quantizes a tensor by its own range, so that a sequence's result depends on what else is in the batch. */
bool bert_op_quantizes(const bert_op *op);
/** Whether it works element by element, inputs broadcast to the output. */
bool bert_op_is_elementwise(const bert_op *op);
/** Whether it is a QuantizedLinear whose scale comes from its input. */
bool bert_is_dynamic_linear(const bert_node *node);
/** Whether it is a QuantizedLinear that multiplies one row of each sequence alone: its attribute `place`. */
bool bert_has_place(const bert_node *node);

/**
 * Calls op->infer: checks first that the required inputs are there and sets the outputs to "nothing known", and
 * afterwards that no dimension is negative and that sizes in bytes fit. What binding calls; the caller adds the node to
 * an error.
 */
bert_status bert_infer_outputs(const bert_inference *in);
/**
 * Infers one node's outputs and writes them to their values, the branches of an If first; adds the node to an error.
 * What inference can't tell stays as it was known before (as the file declares it).
 */
bert_status bert_infer_node(bert_graph *graph, bert_node *node, bert_error *error);
/** Infers all nodes in order. */
bert_status bert_infer_graph(bert_graph *graph, bert_error *error);

#endif
