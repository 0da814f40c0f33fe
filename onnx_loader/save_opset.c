/* Operators whose form changed between opset 9 and those that files are saved with, as the file's opset has them. */
#include "core/base/error.h"
#include "onnx_loader/saver.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_INPUTS = 8 };

/* A node on its way to another form: inputs by name, which may grow. */
typedef struct upgrade {
    bert_onnx_saver *saver;
    const bert_node *node;
    bert_onnx_nodes *nodes;
    const char *inputs[MOST_INPUTS];
    size_t input_count;
} upgrade;

static const char *output_name(const upgrade *u, int32_t index) {
    return bert_onnx_save_name(u->saver, u->node->outputs[index]);
}

static const char *fresh(const upgrade *u, const char *what) {
    return bert_onnx_save_fresh(u->saver, u->saver->taken,
                                bert_onnx_save_format(u->saver, "%s/%s", output_name(u, 0), what));
}

/* Input `index` is a constant of the integers of an attribute; left out where there is no such attribute. */
static void ints_to_input(upgrade *u, const char *attribute, size_t index) {
    size_t count = 0;
    const int64_t *ints = BERT_NODE_INTS(u->node, attribute, &count);
    if (!bert_attribute_find(u->node->attributes, u->node->attribute_count, attribute)) return;
    const char *name = fresh(u, attribute);
    bert_onnx_save_int_constant(u->saver, u->nodes, name, ints, (int32_t)count);
    u->inputs[index] = name;
    if (u->input_count <= index) u->input_count = index + 1;
}

static void float_to_input(upgrade *u, const char *attribute, size_t index) {
    if (!bert_attribute_find(u->node->attributes, u->node->attribute_count, attribute)) return;
    const char *name = fresh(u, attribute);
    bert_onnx_save_float_constant(u->saver, u->nodes, name, u->node->inputs[0]->info.dtype,
                                  BERT_NODE_FLOAT(u->node, attribute, 0));
    u->inputs[index] = name;
    if (u->input_count <= index) u->input_count = index + 1;
}

/* The node with the inputs so far and its attributes but those of `without`. */
static bert_status write(upgrade *u, const char *op_type, const char *const *without, bert_error *error) {
    const char **outputs = BERT_ONNX_SAVE_NEW(u->saver, const char *, (size_t)u->node->output_count);
    if (!outputs) return bert_fail_memory(error, sizeof *outputs, "a node");
    for (int32_t i = 0; i < u->node->output_count; i++) outputs[i] = output_name(u, i);
    BertOnnx__NodeProto *node = bert_onnx_save_node(u->saver, u->nodes, "", op_type, u->inputs, u->input_count, outputs,
                                                    (size_t)u->node->output_count);
    if (!node) return bert_fail_memory(error, sizeof *node, "a node");
    bert_onnx_save_node_name(u->saver, node, u->node->name);
    return bert_onnx_save_attributes(u->saver, u->node, without, node, error);
}

/* Before opset 13 Softmax takes everything from its axis on as one dimension. */
static bert_status write_flat_softmax(upgrade *u, bert_error *error) {
    static const char *const axis[] = {"axis", NULL};
    bert_onnx_saver *saver = u->saver;
    const bert_value *x = u->node->inputs[0];
    int64_t first = BERT_NODE_INT(u->node, "axis", 1);
    int32_t rank = x->info.shape.rank;
    const char *op = u->node->op->name;
    if (rank < 0) return bert_fail(error, BERT_UNSUPPORTED, "the rank of its input is not known");
    if (first < 0) first += rank;
    if (first == rank - 1) {
        BERT_TRY(write(u, op, axis, error));
        bert_onnx_save_int(saver, u->nodes->items[u->nodes->count - 1], "axis", -1);
        return BERT_OK;
    }
    const char *shape = fresh(u, "shape"), *flat = fresh(u, "flat"), *result = fresh(u, "result");
    const char *out = output_name(u, 0);
    bert_onnx_save_node(saver, u->nodes, "", "Shape", u->inputs, 1, &shape, 1);
    BertOnnx__NodeProto *node = bert_onnx_save_node(saver, u->nodes, "", "Flatten", u->inputs, 1, &flat, 1);
    bert_onnx_save_int(saver, node, "axis", first);
    node = bert_onnx_save_node(saver, u->nodes, "", op, &flat, 1, &result, 1);
    bert_onnx_save_int(saver, node, "axis", -1);
    bert_onnx_save_node_name(saver, node, u->node->name);
    bert_onnx_save_node(saver, u->nodes, "", "Reshape", (const char *[]){result, shape}, 2, &out, 1);
    return BERT_OK;
}

static bert_status write_split(upgrade *u, bert_error *error) {
    static const char *const split[] = {"split", NULL};
    if (u->node->opset < 13) ints_to_input(u, "split", 1);
    BERT_TRY(write(u, "Split", split, error));
    bool listed = u->input_count > 1 && *u->inputs[1];
    if (u->saver->opset >= 18 && !listed) {
        bert_onnx_save_int(u->saver, u->nodes->items[u->nodes->count - 1], "num_outputs", u->node->output_count);
    }
    return BERT_OK;
}

static bert_status write_slice(upgrade *u, bert_error *error) {
    static const char *const without[] = {"starts", "ends", "axes", NULL};
    ints_to_input(u, "starts", 1);
    ints_to_input(u, "ends", 2);
    ints_to_input(u, "axes", 3);
    return write(u, "Slice", without, error);
}

static bert_status write_top_k(upgrade *u, bert_error *error) {
    static const char *const without[] = {"k", NULL};
    const char *name = fresh(u, "k");
    bert_onnx_save_int_constant(u->saver, u->nodes, name, &(int64_t){BERT_NODE_INT(u->node, "k", 1)}, 1);
    u->inputs[1] = name;
    u->input_count = 2;
    return write(u, "TopK", without, error);
}

static bert_status write_axes(upgrade *u, bert_error *error) {
    static const char *const without[] = {"axes", NULL};
    ints_to_input(u, "axes", 1);
    return write(u, u->node->op->name, without, error);
}

static bert_status write_clip(upgrade *u, bert_error *error) {
    static const char *const without[] = {"min", "max", NULL};
    float_to_input(u, "min", 1);
    float_to_input(u, "max", 2);
    return write(u, "Clip", without, error);
}

static bert_status write_pad(upgrade *u, bert_error *error) {
    static const char *const without[] = {"pads", "value", NULL};
    ints_to_input(u, "pads", 1);
    float_to_input(u, "value", 2);
    return write(u, "Pad", without, error);
}

static bert_status write_dropout(upgrade *u, bert_error *error) {
    static const char *const without[] = {"ratio", NULL};
    return write(u, "Dropout", without, error);
}

static bert_status write_scatter(upgrade *u, bert_error *error) {
    return write(u, "ScatterElements", NULL, error);
}

typedef bert_status (*upgrade_fn)(upgrade *u, bert_error *error);

/* Operators that are written otherwise from opset `since` on. */
static const struct {
    bert_op_id id;
    int32_t since;
    upgrade_fn write;
} changes[] = {{BERT_OP_Slice, 10, write_slice},
               {BERT_OP_TopK, 10, write_top_k},
               {BERT_OP_Clip, 11, write_clip},
               {BERT_OP_Pad, 11, write_pad},
               {BERT_OP_Scatter, 11, write_scatter},
               {BERT_OP_Dropout, 12, write_dropout},
               {BERT_OP_Squeeze, 13, write_axes},
               {BERT_OP_Unsqueeze, 13, write_axes},
               {BERT_OP_ReduceSum, 13, write_axes},
               {BERT_OP_Softmax, 13, write_flat_softmax},
               {BERT_OP_LogSoftmax, 13, write_flat_softmax},
               {BERT_OP_Split, 18, write_split}, /* and 13 */
               {BERT_OP_ReduceL1, 18, write_axes},
               {BERT_OP_ReduceL2, 18, write_axes},
               {BERT_OP_ReduceLogSum, 18, write_axes},
               {BERT_OP_ReduceLogSumExp, 18, write_axes},
               {BERT_OP_ReduceMax, 18, write_axes},
               {BERT_OP_ReduceMean, 18, write_axes},
               {BERT_OP_ReduceMin, 18, write_axes},
               {BERT_OP_ReduceProd, 18, write_axes},
               {BERT_OP_ReduceSumSquare, 18, write_axes}};

static bool changed(const bert_onnx_saver *saver, const bert_node *node, int32_t since) {
    return node->opset < since && saver->opset >= since;
}

bert_status bert_onnx_save_upgraded(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes, bool *done,
                                    bert_error *error) {
    *done = false;
    upgrade_fn function = NULL;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        if (changes[i].id == node->op->id && changed(saver, node, changes[i].since)) function = changes[i].write;
    }
    if (node->op->id == BERT_OP_Split && changed(saver, node, 13)) function = write_split;
    if (!function) return BERT_OK;
    if (node->input_count > MOST_INPUTS) return bert_fail(error, BERT_INTERNAL, "it has too many inputs");
    upgrade u = {.saver = saver, .node = node, .nodes = nodes, .input_count = (size_t)node->input_count};
    for (int32_t i = 0; i < node->input_count; i++) u.inputs[i] = bert_onnx_save_name(saver, node->inputs[i]);
    *done = true;
    return function(&u, error);
}
