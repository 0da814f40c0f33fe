/*
 * Canonical operators as functions of the file. What a function has to be told apart by is in its name
 * ("Linear_bias_gelu"): which inputs there are, which activation; numbers (epsilon, scale) are attributes of the call.
 *
 * Bodies spell what core/graph/canonical.h says, in the order of its sums, and such that the passes find it again.
 */
#ifndef BERT_ONNX_LOADER_SAVE_CALL_H
#define BERT_ONNX_LOADER_SAVE_CALL_H

#include "onnx_loader/saver.h"

enum { BERT_ONNX_MOST_SAVED_INPUTS = 24, BERT_ONNX_MOST_SAVED_OUTPUTS = 3, BERT_ONNX_MOST_SAVED_ATTRIBUTES = 4 };

/** A call, and the function that it calls: the same inputs, outputs and attributes by their names inside and outside.
 */
typedef struct bert_onnx_saved_call {
    bert_onnx_saver *saver;
    const bert_node *node;
    char name[192];
    bert_dtype dtype; /**< Of the floats. */
    const char *inner_inputs[BERT_ONNX_MOST_SAVED_INPUTS], *inputs[BERT_ONNX_MOST_SAVED_INPUTS];
    size_t input_count;
    size_t inputs_of_node; /**< That were given. */
    const char *inner_outputs[BERT_ONNX_MOST_SAVED_OUTPUTS], *outputs[BERT_ONNX_MOST_SAVED_OUTPUTS];
    size_t output_count;
    const char *attributes[BERT_ONNX_MOST_SAVED_ATTRIBUTES];
    float numbers[BERT_ONNX_MOST_SAVED_ATTRIBUTES];
    size_t attribute_count;
    bert_onnx_nodes body;
} bert_onnx_saved_call;

/** Builds the nodes of the function, and sets `inner_outputs`. */
typedef bert_status (*bert_onnx_body)(bert_onnx_saved_call *c, bert_error *error);

/* save_call.c: the call */

/** What the saver does not know must not be lost: BERT_UNSUPPORTED names an attribute that is not among `known`. */
bert_status bert_onnx_save_check_attributes(const bert_node *node, const char *const *known, bert_error *error);
/** A call of the function `name`, whose floats have the type of the input. */
void bert_onnx_save_begin(bert_onnx_saved_call *c, bert_onnx_saver *saver, const bert_node *node, const char *name,
                          int32_t float_input);
void bert_onnx_save_extend_name(bert_onnx_saved_call *c, const char *format, ...) BERT_PRINTF(2, 3);
/** A type that constants of the body depend on. */
void bert_onnx_save_name_type(bert_onnx_saved_call *c);
/** Gives the function input `index` of the node; its name inside, or NULL where the node has none. */
const char *bert_onnx_save_give(bert_onnx_saved_call *c, const char *inner, int32_t index);
/** The same of a tensor by its name in the file, which `inputs_of_node` does not count. */
const char *bert_onnx_save_give_text(bert_onnx_saved_call *c, const char *inner, const char *outer);
/** An attribute of the call. */
void bert_onnx_save_give_number(bert_onnx_saved_call *c, const char *name, float number);
void bert_onnx_save_give_output(bert_onnx_saved_call *c, const char *outer);
/** Writes the call; `body` builds what it calls when the file has no such function yet. */
bert_status bert_onnx_save_finish(bert_onnx_saved_call *c, bert_onnx_nodes *nodes, bert_onnx_body body,
                                  bert_error *error);

/* save_call.c: the body; what writes one tensor returns its name */

/** A node of the body; returns `output`. */
const char *bert_onnx_save_step_in(bert_onnx_saved_call *c, const char *domain, const char *op, const char *output,
                                   const char *a, const char *b, const char *third, const char *fourth);
const char *bert_onnx_save_step(bert_onnx_saved_call *c, const char *op, const char *output, const char *a,
                                const char *b);
/** The node that was added last, to give it attributes; NULL when memory ran out. */
BertOnnx__NodeProto *bert_onnx_save_last_step(const bert_onnx_saved_call *c);
/** A scalar of the floats' type. */
const char *bert_onnx_save_step_number(bert_onnx_saved_call *c, const char *name, double value);
/** int64 numbers, [count] or with count -1 a scalar. */
const char *bert_onnx_save_step_ints(bert_onnx_saved_call *c, const char *name, const int64_t *values, int32_t count);
const char *bert_onnx_save_step_cast(bert_onnx_saved_call *c, bert_dtype dtype, const char *output, const char *x);
const char *bert_onnx_save_step_transpose(bert_onnx_saved_call *c, const char *output, const char *x,
                                          const int64_t *perm, size_t rank);
/** An attribute of the call as a tensor. */
const char *bert_onnx_save_step_given_number(bert_onnx_saved_call *c, const char *attribute);
/** NULL for an activation that there is no spelling of. */
const char *bert_onnx_save_step_activation(bert_onnx_saved_call *c, const char *activation, const char *x);

/* One operator each. BERT_UNSUPPORTED where ONNX's operators have no spelling of the node. */

/* save_linear.c */

bert_status bert_onnx_save_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error);
bert_status bert_onnx_save_quantized_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                            bert_error *error);

/* save_attention.c */

bert_status bert_onnx_save_attention(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error);
bert_status bert_onnx_save_disentangled_bias(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                             bert_error *error);

/* save_embedding.c */

bert_status bert_onnx_save_embedding(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error);
bert_status bert_onnx_save_skip_layer_normalization(bert_onnx_saver *saver, const bert_node *node,
                                                    bert_onnx_nodes *nodes, bert_error *error);
bert_status bert_onnx_save_lookup(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error);

/* save_quantized_add.c */

bert_status bert_onnx_save_quantized_add(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                         bert_error *error);

/* save_pool.c */

/** The mean of the tokens that a mask counts: passes make no other. */
bert_status bert_onnx_save_pool(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                bert_error *error);

#endif
