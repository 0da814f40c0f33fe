/* QuantizedAdd as a function of the file. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/save_call.h"

/* By a scale and a zero point; their types, int8 or uint8, are the inputs' own and in no name. */
static const char *quantize(bert_onnx_saved_call *c, const char *output, const char *x, const char *scale,
                            const char *zero_point) {
    return bert_onnx_save_step_in(c, "", "QuantizeLinear", output, x, scale, zero_point, NULL);
}

static const char *dequantize(bert_onnx_saved_call *c, const char *output, const char *x, const char *scale,
                              const char *zero_point) {
    return bert_onnx_save_step_in(c, "", "DequantizeLinear", output, x, scale, zero_point, NULL);
}

static bert_status quantized_add_body(bert_onnx_saved_call *c, bert_error *error) {
    const char *a = "a";
    if (bert_node_in(c->node, BERT_QUANTIZED_ADD_A_SCALE)) {
        a = quantize(c, "a_quantized", a, "a_scale", "a_zero_point");
        a = dequantize(c, "a_dequantized", a, "a_new_scale", "a_new_zero_point");
    }
    const char *sum = bert_onnx_save_step(c, "Add", "sum", a, "b");
    const char *y = sum;
    if (bert_node_in(c->node, BERT_QUANTIZED_ADD_Y_SCALE))
        y = quantize(c, "y_quantized", sum, "y_scale", "y_zero_point");
    if (bert_node_in(c->node, BERT_QUANTIZED_ADD_Y_NEW_SCALE))
        y = dequantize(c, "y", y, "y_new_scale", "y_new_zero_point");
    c->inner_outputs[0] = y;
    return BERT_OK;
}

bert_status bert_onnx_save_quantized_add(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                         bert_error *error) {
    static const char *const known[] = {NULL};
    static const char *const inputs[BERT_QUANTIZED_ADD_INPUTS] = {
        [BERT_QUANTIZED_ADD_A] = "a",
        [BERT_QUANTIZED_ADD_B] = "b",
        [BERT_QUANTIZED_ADD_Y_SCALE] = "y_scale",
        [BERT_QUANTIZED_ADD_Y_ZERO_POINT] = "y_zero_point",
        [BERT_QUANTIZED_ADD_Y_NEW_SCALE] = "y_new_scale",
        [BERT_QUANTIZED_ADD_Y_NEW_ZERO_POINT] = "y_new_zero_point",
        [BERT_QUANTIZED_ADD_A_SCALE] = "a_scale",
        [BERT_QUANTIZED_ADD_A_ZERO_POINT] = "a_zero_point",
        [BERT_QUANTIZED_ADD_A_NEW_SCALE] = "a_new_scale",
        [BERT_QUANTIZED_ADD_A_NEW_ZERO_POINT] = "a_new_zero_point",
    };
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "QuantizedAdd", BERT_QUANTIZED_ADD_A);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    for (int32_t i = 0; i < BERT_QUANTIZED_ADD_INPUTS; i++) bert_onnx_save_give(&c, inputs[i], i);
    if (bert_node_in(node, BERT_QUANTIZED_ADD_A_SCALE)) bert_onnx_save_extend_name(&c, "_of_quantized");
    if (bert_node_in(node, BERT_QUANTIZED_ADD_Y_NEW_SCALE)) bert_onnx_save_extend_name(&c, "_dequantized");
    if (!bert_node_in(node, BERT_QUANTIZED_ADD_Y_SCALE)) bert_onnx_save_extend_name(&c, "_in_floats");
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, quantized_add_body, error);
}
