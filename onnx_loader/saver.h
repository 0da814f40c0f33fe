/*
 * From a graph to messages of a file: what the parts of the saver share.
 *
 * Messages are made in an arena. Making one never fails where it is made: when memory runs out, `exhausted` is set,
 * what is returned must not be used for more than making further messages, and saving ends with BERT_OUT_OF_MEMORY.
 */
#ifndef BERT_ONNX_LOADER_SAVER_H
#define BERT_ONNX_LOADER_SAVER_H

#include "core/base/hash.h"
#include "core/graph/op.h"
#include "onnx_loader/builder.h"
#include "onnx_loader/save.h"

enum {
    BERT_ONNX_LEAST_SAVED_OPSET = 17 /**< The first one with LayerNormalization. */
};

/** Nodes of a graph, a branch or a function, in order. */
typedef struct bert_onnx_nodes {
    BertOnnx__NodeProto **items;
    size_t count, capacity;
} bert_onnx_nodes;

/** A constant to be written, and its name in the file. */
typedef struct bert_onnx_initializer {
    const bert_constant *constant;
    const char *name;
    struct bert_onnx_initializer *next;
} bert_onnx_initializer;

/** A canonical Linear whose parts are read one by one. */
typedef struct bert_onnx_parts {
    const char *names[3];
} bert_onnx_parts;

typedef struct bert_onnx_saver {
    const bert_graph *graph;
    bert_arena arena;
    bool exhausted;
    int32_t opset;    /**< That the file imports of ai.onnx. */
    bert_hash *taken; /**< Names of tensors in the file. */
    bert_hash *taken_by_nodes;
    const char **names;      /**< By value id; NULL: has none yet. */
    bert_hash *by_id;        /**< bert_onnx_initializer by constant's id. */
    bert_onnx_parts **parts; /**< By value id; NULL: the value is whole. */
    bert_onnx_initializer *first, **last;
    bert_hash *functions_by_name;
    BertOnnx__FunctionProto **functions;
    size_t function_count, function_capacity;
} bert_onnx_saver;

/* save_message.c: single messages */

void *bert_onnx_save_memory(bert_onnx_saver *saver, size_t count, size_t size);
#define BERT_ONNX_SAVE_NEW(saver, type, count) ((type *)bert_onnx_save_memory((saver), (count), sizeof(type)))
/** A copy; never NULL. */
char *bert_onnx_save_text(bert_onnx_saver *saver, const char *text);
/** A formatted string; never NULL. */
char *bert_onnx_save_format(bert_onnx_saver *saver, const char *format, ...) BERT_PRINTF(2, 3);
/** Puts a name among those that are taken; false when it is one of them. The name lives as long as the saver. */
bool bert_onnx_save_take(bert_onnx_saver *saver, bert_hash *taken, const char *name);
/** A name that is not taken, `wish` or one made of it, and takes it. */
char *bert_onnx_save_fresh(bert_onnx_saver *saver, bert_hash *taken, const char *wish);
BertOnnx__OperatorSetIdProto *bert_onnx_save_import(bert_onnx_saver *saver, const char *domain, int64_t version);
/** Dimensions and type of a constant, without its content. */
BertOnnx__TensorProto *bert_onnx_save_tensor(bert_onnx_saver *saver, const bert_constant *constant, const char *name);
BertOnnx__ValueInfoProto *bert_onnx_save_value(bert_onnx_saver *saver, const bert_value_info *info, const char *name);

/** The node's name: `wish`, or one made of it where another node has that. None where it is "". */
void bert_onnx_save_node_name(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *wish);
/** A node at the end of the list; names are copied, trailing NULLs of `inputs` dropped and others made "". */
BertOnnx__NodeProto *bert_onnx_save_node(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *domain,
                                         const char *op_type, const char *const *inputs, size_t input_count,
                                         const char *const *outputs, size_t output_count);
BertOnnx__AttributeProto *bert_onnx_save_attribute(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name,
                                                   bert_onnx_attribute_type type);
void bert_onnx_save_int(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, int64_t value);
void bert_onnx_save_float(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, float value);
void bert_onnx_save_string(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, const char *text);
void bert_onnx_save_ints(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name, const int64_t *ints,
                         size_t count);
/** The value of an attribute of the function that the node is in. */
void bert_onnx_save_reference(bert_onnx_saver *saver, BertOnnx__NodeProto *node, const char *name,
                              bert_onnx_attribute_type type, const char *of_function);
/** A Constant of int64 numbers, [count] or with count -1 a scalar. */
void bert_onnx_save_int_constant(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *name, const int64_t *ints,
                                 int32_t count);
/** A Constant of one number of a float type, a scalar. */
void bert_onnx_save_float_constant(bert_onnx_saver *saver, bert_onnx_nodes *nodes, const char *name, bert_dtype dtype,
                                   double number);

/* save.c: names */

/** What the value is called in the file; "" for NULL. */
const char *bert_onnx_save_name(bert_onnx_saver *saver, const bert_value *value);

/* save_nodes.c */

/** Nodes of a block, appended. BERT_UNSUPPORTED names one that can't be written. */
bert_status bert_onnx_save_block(bert_onnx_saver *saver, const bert_block *block, bert_onnx_nodes *nodes,
                                 bert_error *error);

/* save_opset.c */

/**
 * A node of an operator whose form changed up to the file's opset, spelled as that one has it. *done is false where the
 * form is the same, and nothing was written.
 */
bert_status bert_onnx_save_upgraded(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes, bool *done,
                                    bert_error *error);
/** Attributes of a node, but for those named in `without` (NULL-terminated; may be NULL). */
bert_status bert_onnx_save_attributes(bert_onnx_saver *saver, const bert_node *node, const char *const *without,
                                      BertOnnx__NodeProto *out, bert_error *error);

/* save_canonical.c */

/** A call of the function that a canonical node is; the function is made where the file has none like it yet. */
bert_status bert_onnx_save_canonical(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error);

/* save_linear.c */

/** Finds the Linears whose parts can be read one by one, because packed Attentions alone read them. */
void bert_onnx_save_find_parts(bert_onnx_saver *saver, const bert_block *block);

#endif
