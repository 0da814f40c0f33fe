/*
 * From the decoded file to a graph: what the parts of the loader share.
 *
 * Names are looked up lexically: a branch sees what is around it, an inlined function only its own. Within a block
 * every output is declared before any node is built, so the order of nodes in the file does not matter.
 */
#ifndef BERT_ONNX_LOADER_BUILDER_H
#define BERT_ONNX_LOADER_BUILDER_H

#include "core/base/hash.h"
#include "core/graph/op.h"
#include "onnx_loader/onnx_file.h"

/** AttributeProto.type. */
typedef enum bert_onnx_attribute_type {
    BERT_ONNX_FLOAT = 1,
    BERT_ONNX_INT = 2,
    BERT_ONNX_STRING = 3,
    BERT_ONNX_TENSOR = 4,
    BERT_ONNX_GRAPH = 5,
    BERT_ONNX_FLOATS = 6,
    BERT_ONNX_INTS = 7,
    BERT_ONNX_STRINGS = 8
} bert_onnx_attribute_type;

enum {
    BERT_ONNX_FIRST_IR = 3,
    BERT_ONNX_LAST_IR = 12,
    BERT_ONNX_FIRST_OPSET = 9,
    BERT_ONNX_LAST_OPSET = 23,
    BERT_ONNX_MAX_IMPORTS = 256,          /**< Operator sets that a model or function imports. */
    BERT_ONNX_MAX_ATTRIBUTES = 256,       /**< Of a node. */
    BERT_ONNX_COMPOSED_OVERLOAD = 40,     /**< Bytes of bert_onnx_composed_overload. */
    BERT_ONNX_MAX_CALL_DEPTH = 32,        /**< Functions in functions. */
    BERT_ONNX_MAX_INLINED_NODES = 1 << 18 /**< Nodes that functions are expanded to, calls included. */
};
/** What inlined functions may take of the graph's memory. */
#define BERT_ONNX_MAX_INLINED_BYTES ((size_t)1 << 28)

/** Versions of operator sets that a model or function imports; 0: not imported. */
typedef struct bert_onnx_opsets {
    int32_t onnx, microsoft;
    BertOnnx__OperatorSetIdProto *const *imports;
    size_t import_count;
} bert_onnx_opsets;

/** A function that the model defines, or that one of its operators is. */
typedef struct bert_onnx_function {
    const BertOnnx__FunctionProto *proto;
    bert_onnx_opsets opsets;
    uint32_t first_index; /**< bert_origin.index of its first node. */
    bool surveyed;        /**< Its nodes are numbered and, if it is called, looked through for missing operators. */
    bool open;            /**< It is being inlined: a call of it now is a recursion. */
} bert_onnx_function;

/** An attribute that a call gives: `value` is never a reference. */
typedef struct bert_onnx_given {
    const char *name;
    const BertOnnx__AttributeProto *value;
} bert_onnx_given;

/** A function being inlined. */
typedef struct bert_onnx_call {
    const char *name; /**< Of the calling node: "encoder/layer_0". */
    const bert_onnx_given *attributes;
    size_t attribute_count;
    const BertOnnx__FunctionProto *function;
    const bert_origin **origins; /**< Of the calling node. */
    uint32_t origin_count;
    int depth;
    bert_hash *outputs; /**< Value of the caller by name of the function's output. */
} bert_onnx_call;

/** Names that nodes of a block may read. */
typedef struct bert_onnx_scope {
    const struct bert_onnx_scope *outer; /**< NULL for the graph's own and for functions. */
    bert_arena arena;
    bert_hash *values; /**< To bert_value, or to bert_onnx_absent. */
} bert_onnx_scope;

typedef struct bert_onnx_builder {
    const bert_model_source *source;
    const BertOnnx__ModelProto *model;
    const bert_file *bytes; /**< Of the model's file, owned by the graph. */
    bert_graph *graph;
    bert_arena scratch; /**< Until loading ends. */
    bert_onnx_opsets opsets;
    bert_hash *functions;     /**< bert_onnx_function by "domain, name, overload", see bert_onnx_find_function. */
    bert_hash *first_indices; /**< uint32_t by address of GraphProto. */
    bert_hash *external;      /**< Open external data files by location. */
    uint32_t rename_count;
    uint32_t inlined_nodes;
    size_t bytes_before_inlining;
} bert_onnx_builder;

/** Where nodes are built. */
typedef struct bert_onnx_context {
    bert_onnx_builder *builder;
    bert_block *block;
    bert_onnx_scope *scope;
    const bert_onnx_call *call; /**< NULL outside functions. */
    const bert_onnx_opsets *opsets;
    uint32_t first_index; /**< bert_origin.index of the first node of the list. */
} bert_onnx_context;

/** What a name stands for when the caller of a function gives nothing for that input. */
extern bert_value bert_onnx_absent;

/** NULL is "", and so is "ai.onnx". */
const char *bert_onnx_domain(const char *domain);
/** NULL is "". */
static inline const char *bert_onnx_text(const char *text) {
    return text ? text : "";
}

/** Bytes of a name of the file that a sentence shows: 120, less what would cut a character. */
int bert_onnx_shown(const char *text);
/** A name for %.*s, so that one of a megabyte does not drown the reason. */
#define BERT_ONNX_SHOWN(text) bert_onnx_shown(text), (text)

/* survey.c */

/** Reads the imports of a model or function; `what` names it. */
bert_status bert_onnx_read_opsets(BertOnnx__OperatorSetIdProto *const *imports, size_t count, const char *what,
                                  bert_onnx_opsets *out, bert_error *error);
/** Collects the model's functions, numbers all nodes, and lists all operators that are missing in one sentence. */
bert_status bert_onnx_survey(bert_onnx_builder *builder, bert_error *error);
/** The function that the node calls, of the model or of bert_onnx_compose; NULL when it is no call. */
bert_onnx_function *bert_onnx_find_function(bert_onnx_builder *builder, const BertOnnx__NodeProto *node);
/** bert_origin.index of the graph's first node. */
uint32_t bert_onnx_first_index(const bert_onnx_builder *builder, const BertOnnx__GraphProto *graph);

/* composed.c */

/** Whether the node is of an operator that is a function of others without the model's defining it. */
bool bert_onnx_is_composed(const BertOnnx__NodeProto *node);
/** The overload by which that function is found, since there is one for each number of inputs. */
void bert_onnx_composed_overload(const BertOnnx__NodeProto *node, char out[BERT_ONNX_COMPOSED_OVERLOAD]);
/** Whether that function stands for this node: BERT_INVALID_MODEL or BERT_UNSUPPORTED where its inputs or attributes
 * are wrong. */
bert_status bert_onnx_check_composed(const BertOnnx__NodeProto *node, bert_error *error);
/** That function, of as many inputs as the node has, which bert_onnx_check_composed has seen. */
bert_status bert_onnx_compose(bert_arena *arena, const BertOnnx__NodeProto *node, const BertOnnx__FunctionProto **out,
                              bert_error *error);

/* tensor.c, external.c */

/** Makes a constant of a tensor: a view of the file where it can be one. */
bert_status bert_onnx_make_constant(bert_onnx_builder *builder, const BertOnnx__TensorProto *tensor,
                                    const bert_constant **out, bert_error *error);
/** The bytes of a tensor of `bytes` bytes that lies in another file. */
bert_status bert_onnx_external_data(bert_onnx_builder *builder, const BertOnnx__TensorProto *tensor, size_t bytes,
                                    const unsigned char **data, const bert_file **file, bert_error *error);

/* interface.c */

/** Dtype and shape that a value is declared with. */
bert_status bert_onnx_read_type(bert_onnx_builder *builder, const BertOnnx__TypeProto *type, bert_value_info *out,
                                bert_error *error);
/** Inputs and initializers of the graph. */
bert_status bert_onnx_build_inputs(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                   bert_error *error);
bert_status bert_onnx_build_outputs(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                    bert_error *error);
/** Constants of the initializers, but not of those whose name is in `defaults` (NULL: none is). */
bert_status bert_onnx_build_initializers(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                         const bert_hash *defaults, bert_error *error);
/** Notes what the file says of values whose type inference may not tell. */
bert_status bert_onnx_apply_hints(const bert_onnx_context *context, BertOnnx__ValueInfoProto *const *infos,
                                  size_t count, bert_error *error);

/* attribute.c */

/** Attributes of a node as the graph has them; branches are built. `name` is the node's, for sentences. */
bert_status bert_onnx_build_attributes(const bert_onnx_context *context, const BertOnnx__NodeProto *node,
                                       bert_attribute **out, size_t *count, bert_error *error);
/** The attribute that stands behind one that may be a reference; NULL: the call gives none and there is no default. */
bert_status bert_onnx_resolve_attribute(const bert_onnx_call *call, const BertOnnx__AttributeProto *attribute,
                                        const BertOnnx__AttributeProto **out, bert_error *error);
/** Its type, found from what is filled in when it does not say. */
bert_status bert_onnx_attribute_type_of(const BertOnnx__AttributeProto *attribute, bert_onnx_attribute_type *out,
                                        bert_error *error);
/** The constant that a Constant node gives. */
bert_status bert_onnx_constant_of_node(const bert_onnx_context *context, const BertOnnx__NodeProto *node,
                                       const bert_constant **out, bert_error *error);

/* block.c */

bert_status bert_onnx_scope_open(bert_onnx_scope *scope, const bert_onnx_scope *outer, const bert_allocator *allocator,
                                 bert_error *error);
void bert_onnx_scope_close(bert_onnx_scope *scope);
/** A second declaration of a name in the same scope is BERT_INVALID_MODEL. */
bert_status bert_onnx_declare(bert_onnx_scope *scope, const char *name, bert_value *value, bert_error *error);
/** NULL when nothing in sight has the name. */
bert_value *bert_onnx_find(const bert_onnx_scope *scope, const char *name);
/** A value of the graph for `name`: with that name where it is free, else with one made of it. */
bert_status bert_onnx_new_value(const bert_onnx_context *context, const char *name, bert_value **out,
                                bert_error *error);
/** Declares what the nodes write, then builds them. */
bert_status bert_onnx_build_nodes(const bert_onnx_context *context, BertOnnx__NodeProto *const *nodes, size_t count,
                                  bert_error *error);
/** The branch of an If, in the arena. */
bert_status bert_onnx_build_branch(const bert_onnx_context *context, const BertOnnx__GraphProto *graph,
                                   bert_block **out, bert_error *error);
/** The name by which sentences call a node: its own, or its first output's. */
const char *bert_onnx_node_name(const BertOnnx__NodeProto *node);
/** Adds the node to an error's sentence; gives the status. */
bert_status bert_onnx_fail_in_node(const BertOnnx__NodeProto *node, bert_status status, bert_error *error);

/** A node about to be built: its values, its name in the graph, and where it comes from. */
typedef struct bert_onnx_node {
    const BertOnnx__NodeProto *proto;
    const char *name;
    bert_value **inputs, **outputs;
    int32_t input_count, output_count;
    const bert_origin **origins;
    uint32_t origin_count;
} bert_onnx_node;

/* function.c */

/** Puts the function's nodes where the call stands. */
bert_status bert_onnx_inline(const bert_onnx_context *context, bert_onnx_function *function, const bert_onnx_node *node,
                             bert_error *error);

#endif
