/*
 * A model as nodes and values: what the loader makes, passes rewrite and the runtime binds.
 *
 * Everything of a graph lives in its arena and goes with it. A graph is changed by one thread; once its model is built
 * it is read-only and may be read by many.
 */
#ifndef BERT_GRAPH_GRAPH_H
#define BERT_GRAPH_GRAPH_H

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/graph/symbolic.h"

#include <bert/backend.h>
#include <string.h>

typedef struct bert_graph bert_graph;
typedef struct bert_node bert_node;
typedef struct bert_value bert_value;
typedef struct bert_block bert_block;
typedef struct bert_op bert_op;

/** A shape whose dimensions may be symbolic. rank -1: not known. */
typedef struct bert_shape {
    int32_t rank;
    bert_dim dims[BERT_MAX_RANK];
} bert_shape;

/** Elements of integer tensors are followed symbolically up to this many. */
#define BERT_MAX_TRACKED_ELEMENTS 64

/** What is known of a value: by loading and shape inference, or (concretely) while a plan is bound. */
typedef struct bert_value_info {
    bert_dtype dtype; /**< BERT_DTYPE_UNDEFINED: not known. */
    bert_shape shape;
    const bert_constant
        *constant; /**< The whole content, where it is known; its dtype and shape are `dtype` and `shape`. */
    /** Content of an integer or boolean tensor of rank 0 or 1, element by element; NULL: not followed. */
    const bert_dim *elements;
    int32_t element_count;
} bert_value_info;

/** One place that a value is read: input `input` of `node`. */
typedef struct bert_use {
    bert_node *node;
    int32_t input;
} bert_use;

/** A tensor of the graph: written once, by a node, the caller, or the file. */
struct bert_value {
    uint32_t id;      /**< Index in graph->values. */
    const char *name; /**< The file's, or one made up that is unique; never NULL. */
    bert_value_info info;
    bert_node *producer; /**< NULL for graph inputs and constants. */
    int32_t producer_output;
    bert_use *uses; /**< In no particular order. */
    uint32_t use_count, use_capacity;
    const bert_constant *input_default; /**< Of a graph input: what it holds when the caller gives nothing, or NULL. */
    bool graph_input;
    bool graph_output;
    bool branch_output; /**< Listed in the outputs of a branch of an If. */
};

/** A node of the file that a node came from. */
typedef struct bert_origin {
    uint32_t index;   /**< Position in the file's list of nodes; those of inlined functions come after. */
    const char *name; /**< The node's name, or its first output's when it has none. */
    const char *op_type;
} bert_origin;

/** One operator. `op` says how many inputs and outputs it may have; absent optional ones are NULL. */
struct bert_node {
    uint32_t id; /**< Unique in the graph; grows with creation. */
    const bert_op *op;
    int32_t opset; /**< Version that the model imports of the op's domain. */
    const char *name;
    bert_value **inputs;
    bert_value **outputs;
    int32_t input_count, output_count;
    bert_attribute *attributes;
    size_t attribute_count;
    const bert_origin **origins; /**< Nodes of the file that this one stands for. */
    uint32_t origin_count;
    uint32_t origin_capacity; /**< Of `origins`, where that is this node's own; 0: others may have the same list. */
    bert_block *block;
    bert_node *previous, *next; /**< Of the block, in an order in which every value is written before it is read. */
};

/** A list of nodes: the graph's own, or a branch of an If, whose nodes may read values of the blocks around it. */
struct bert_block {
    bert_graph *graph;
    bert_block *parent; /**< NULL for the graph's own. */
    bert_node *first, *last;
    bert_value **outputs; /**< Of a branch, in the order of the If's outputs; NULL for the graph's own. */
    int32_t output_count;
};

/** One file that constants of a graph lie in. */
typedef struct bert_graph_file {
    bert_file file;
    struct bert_graph_file *next;
} bert_graph_file;

struct bert_graph {
    bert_arena arena;
    const bert_allocator *allocator;
    const char *name;     /**< The graph's name in the file. */
    const char *producer; /**< "pytorch 2.2.0", may be "". */
    int64_t ir_version;
    bert_symbols *symbols;
    bert_block body;
    bert_value **values; /**< All, by id; NULL where one was removed. */
    uint32_t value_count, value_capacity;
    bert_value **inputs; /**< What a caller gives: graph inputs that no initializer has a default for come first. */
    bert_value **outputs;
    const char **output_names; /**< What a caller calls them: a pass may put another value in an output's place. */
    int32_t input_count, output_count;
    uint32_t next_node_id;
    uint32_t file_node_count;      /**< Nodes as the file lists them, functions and branches included once each. */
    struct bert_hash *names;       /**< Value by name. */
    struct bert_graph_file *files; /**< Mapped or read, constants lie in them; closed with the graph. */
};

/* ---- Making and freeing --------------------------------------------------------------------------------------------
 */

/** An empty graph; NULL when memory runs out. Free with bert_graph_free. */
bert_graph *bert_graph_create(const bert_allocator *allocator);
void bert_graph_free(bert_graph *graph);

/** Takes the file over (also on failure): it is closed with the graph. The pointer is what bert_constant.file names. */
bert_status bert_graph_adopt_file(bert_graph *graph, bert_file file, const bert_file **out, bert_error *error);

/** A new value. `name` NULL makes one up; a name that is taken is BERT_INVALID_MODEL. Copies the name. */
bert_status bert_graph_add_value(bert_graph *graph, const char *name, bert_value **out, bert_error *error);
/** NULL when there is none. */
bert_value *bert_graph_find_value(const bert_graph *graph, const char *name);

/** A constant over `bytes` bytes that live as long as the graph (arena, adopted file): not copied. Gets a fresh id. */
bert_status bert_graph_add_constant(bert_graph *graph, bert_dtype dtype, int32_t rank, const int64_t *dims,
                                    const void *data, size_t bytes, const bert_file *file, const bert_constant **out,
                                    bert_error *error);
/** A value that is `constant`: its info filled, elements tracked where they are few. */
bert_status bert_graph_add_constant_value(bert_graph *graph, const char *name, const bert_constant *constant,
                                          bert_value **out, bert_error *error);
/** Makes a value without producer (or whose producer the caller removes) the constant, and fills its info. */
bert_status bert_graph_set_constant(bert_graph *graph, bert_value *value, const bert_constant *constant,
                                    bert_error *error);

/** Lists what the caller gives or gets. The arrays are copied; output_names are the values' names. */
bert_status bert_graph_set_inputs(bert_graph *graph, bert_value *const *inputs, int32_t count, bert_error *error);
bert_status bert_graph_set_outputs(bert_graph *graph, bert_value *const *outputs, int32_t count, bert_error *error);
/** More outputs behind those that there are, called by their own names. The caller sees to it that none is listed yet.
 */
bert_status bert_graph_add_outputs(bert_graph *graph, bert_value *const *outputs, int32_t count, bert_error *error);

/** Lists what a branch of an If gives. The array is copied. */
bert_status bert_block_set_outputs(bert_block *block, bert_value *const *outputs, int32_t count, bert_error *error);

/**
 * A new node, put before `before`, or at the end of `block` when that is NULL. Arrays are copied; entries may be NULL
 * (absent). Outputs must have no producer yet. Attributes are copied shallowly: what they point to lives as long as the
 * graph. `name` may be NULL.
 */
typedef struct bert_node_spec {
    const bert_op *op;
    int32_t opset;
    const char *name;
    bert_value *const *inputs;
    int32_t input_count;
    bert_value *const *outputs;
    int32_t output_count;
    const bert_attribute *attributes;
    size_t attribute_count;
} bert_node_spec;
bert_status bert_graph_add_node(bert_block *block, bert_node *before, const bert_node_spec *spec, bert_node **out,
                                bert_error *error);

/** Input or output `index`; NULL when absent. */
static inline bert_value *bert_node_in(const bert_node *node, int32_t index) {
    return index < node->input_count ? node->inputs[index] : NULL;
}
static inline bert_value *bert_node_out(const bert_node *node, int32_t index) {
    return index < node->output_count ? node->outputs[index] : NULL;
}

/** Keeping a value's list of readers: for this module, everyone else uses what follows. */
bert_status bert_value_add_use(bert_graph *graph, bert_value *value, bert_node *node, int32_t input, bert_error *error);
void bert_value_drop_use(bert_value *value, const bert_node *node, int32_t input);

/* ---- Rewriting -----------------------------------------------------------------------------------------------------
 */

/** Input `input` of the node reads `value` (NULL: nothing) from now on; uses are kept right. */
bert_status bert_node_set_input(bert_node *node, int32_t input, bert_value *value, bert_error *error);
/**
 * Every use of `from`, and its place among graph outputs and a branch's outputs, becomes one of `to`. The caller's name
 * of an output (graph->output_names) stays.
 */
bert_status bert_graph_replace_value(bert_graph *graph, bert_value *from, bert_value *to, bert_error *error);
/** Moves output `output` of `from` to be output `to_output` of `to`: how a pass lets a new node write an old value. */
void bert_node_take_output(bert_node *to, int32_t to_output, bert_node *from, int32_t output);
/** Unlinks a node. Its outputs lose their producer: they must be unread, or written by another node afterwards. */
void bert_graph_remove_node(bert_node *node);
/** What reports and errors call a node: its name, else that of a node of the file that it stands for, else its
 * output's. */
const char *bert_node_label(const bert_node *node);
/** The origins of `from` are added to those of `node` (each once). */
bert_status bert_node_add_origins(bert_node *node, const bert_node *from, bert_error *error);
/** Removes nodes whose outputs nobody reads, values that then stand alone included. Returns how many nodes went. */
uint32_t bert_graph_remove_dead(bert_graph *graph);
/** Sorts every block so that writers come before readers (stable). BERT_INVALID_MODEL names a node on a cycle. */
bert_status bert_graph_sort(bert_graph *graph, bert_error *error);
/** Checks every invariant of this header (links, uses, order, arity): for tests and after passes in debug builds. */
bert_status bert_graph_check(const bert_graph *graph, bert_error *error);

#define BERT_FOR_EACH_NODE(node, block) for (bert_node *node = (block)->first; node; node = node->next)
/** The node may be removed inside the loop. */
#define BERT_FOR_EACH_NODE_SAFE(node, block)                                                                           \
    for (bert_node *node = (block)->first, *node##_next = node ? node->next : NULL; node;                              \
         node = node##_next, node##_next = node ? node->next : NULL)

/* ---- Attributes -----------------------------------------------------------------------------------------------------
 */

/** For bert_node_spec; a text is not copied. bert/backend.h has what reads them. */
#define BERT_INT_ATTRIBUTE(attribute_name, number)                                                                     \
    ((bert_attribute){.name = (attribute_name), .kind = BERT_ATTRIBUTE_INT, .count = 1, .value = {.i = (number)}})
#define BERT_FLOAT_ATTRIBUTE(attribute_name, number)                                                                   \
    ((bert_attribute){.name = (attribute_name), .kind = BERT_ATTRIBUTE_FLOAT, .count = 1, .value = {.f = (number)}})
#define BERT_STRING_ATTRIBUTE(attribute_name, text)                                                                    \
    ((bert_attribute){                                                                                                 \
        .name = (attribute_name), .kind = BERT_ATTRIBUTE_STRING, .count = strlen(text), .value = {.s = (text)}})

/* ---- Constants ------------------------------------------------------------------------------------------------------
 */

/** What is known of a value that is `constant`; its elements, where they are followed, lie in `arena`. */
bert_status bert_constant_describe(bert_arena *arena, const bert_constant *constant, bert_value_info *out,
                                   bert_error *error);
/** Elements of a constant. */
int64_t bert_constant_elements(const bert_constant *constant);
/** Element `index` of an integer or boolean constant; of a float one, rounded toward zero. The caller checks the range.
 */
int64_t bert_constant_int(const bert_constant *constant, int64_t index);
/** Element `index` of a constant of any numeric type. */
double bert_constant_double(const bert_constant *constant, int64_t index);
/** Whether it has one element, of a numeric type; then *out is its value. NULL is not. */
bool bert_constant_scalar(const bert_constant *constant, double *out);

#endif
