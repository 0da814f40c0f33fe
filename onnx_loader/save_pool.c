/* Pool as a function of the file. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/save_call.h"

#include <string.h>

/* A reduction of x [.., ..] over dimension 1. */
static const char *reduce(bert_onnx_saved_call *c, const char *op, const char *output, const char *x, bool by_input,
                          bool keep) {
    static const int64_t one[] = {1};
    bert_onnx_save_step(c, op, output, x, by_input ? "axis" : NULL);
    if (!by_input) bert_onnx_save_ints(c->saver, bert_onnx_save_last_step(c), "axes", one, 1);
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "keepdims", keep);
    return output;
}

static bert_status pool_body(bert_onnx_saved_call *c, bert_error *error) {
    bert_onnx_save_step_ints(c, "axis", (int64_t[]){1}, 1);
    bert_onnx_save_step_ints(c, "last", (int64_t[]){2}, 1);
    const char *weights = bert_onnx_save_step(c, "Unsqueeze", "rows", "mask", "last");
    if (bert_node_in(c->node, BERT_POOL_MASK)->info.dtype != c->dtype)
        weights = bert_onnx_save_step_cast(c, c->dtype, "weights", weights);
    const char *sum =
        reduce(c, "ReduceSum", "sum", bert_onnx_save_step(c, "Mul", "counted", "x", weights), true, false);
    const char *count = reduce(c, "ReduceSum", "count", weights, true, false);
    const char *divisor =
        bert_onnx_save_step(c, "Max", "divisor", count, bert_onnx_save_step_given_number(c, "epsilon"));
    c->inner_outputs[0] = bert_onnx_save_step(c, "Div", "mean", sum, divisor);
    if (!BERT_NODE_INT(c->node, "normalize", 0)) return BERT_OK;
    const char *length = reduce(c, "ReduceL2", "length", "mean", c->saver->opset >= 18, true);
    const char *least = bert_onnx_save_step_number(c, "least", 1e-12);
    const char *bounded = bert_onnx_save_step(c, "Max", "bounded", length, least);
    c->inner_outputs[0] = bert_onnx_save_step(c, "Div", "y", "mean", bounded);
    return BERT_OK;
}

bert_status bert_onnx_save_pool(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                bert_error *error) {
    static const char *const known[] = {"pooling", "epsilon", "normalize", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "Pool", BERT_POOL_X);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    const bert_value *mask = bert_node_in(node, BERT_POOL_MASK);
    if (strcmp(BERT_NODE_STRING(node, "pooling", ""), "mean") != 0 || !mask) {
        return bert_fail(error, BERT_UNSUPPORTED, "only the mean by a mask has a spelling in ONNX's operators");
    }
    bert_onnx_save_give(&c, "x", BERT_POOL_X);
    bert_onnx_save_give(&c, "mask", BERT_POOL_MASK);
    bert_onnx_save_extend_name(&c, "_mean_%s", mask->info.dtype == c.dtype ? "weights" : "mask");
    bert_onnx_save_give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", BERT_POOL_EPSILON));
    if (BERT_NODE_INT(node, "normalize", 0)) bert_onnx_save_extend_name(&c, "_normalized");
    bert_onnx_save_name_type(&c);
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, pool_body, error);
}
