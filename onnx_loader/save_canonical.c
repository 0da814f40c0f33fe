/* Which canonical operator is written by what. */
#include "core/base/error.h"
#include "onnx_loader/save_call.h"

bert_status bert_onnx_save_canonical(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error) {
    switch (node->op->id) {
    case BERT_OP_BERTC_Linear:
        return bert_onnx_save_linear(saver, node, nodes, error);
    case BERT_OP_BERTC_QuantizedLinear:
        return bert_onnx_save_quantized_linear(saver, node, nodes, error);
    case BERT_OP_BERTC_Attention:
        return bert_onnx_save_attention(saver, node, nodes, error);
    case BERT_OP_BERTC_DisentangledBias:
        return bert_onnx_save_disentangled_bias(saver, node, nodes, error);
    case BERT_OP_BERTC_Embedding:
        return bert_onnx_save_embedding(saver, node, nodes, error);
    case BERT_OP_BERTC_Lookup:
        return bert_onnx_save_lookup(saver, node, nodes, error);
    case BERT_OP_BERTC_QuantizedAdd:
        return bert_onnx_save_quantized_add(saver, node, nodes, error);
    case BERT_OP_BERTC_Pool:
        return bert_onnx_save_pool(saver, node, nodes, error);
    case BERT_OP_BERTC_SkipLayerNormalization:
        return bert_onnx_save_skip_layer_normalization(saver, node, nodes, error);
    default:
        return bert_fail(error, BERT_UNSUPPORTED, "this operator has no spelling in ONNX's");
    }
}
