/* Which planner an operator has. An operator that is not here is the fallback backend's. */
#include "cpu/ops/ops.h"

#include "core/graph/op.h"

static const bert_cpu_plan_fn planners[BERT_OP_COUNT] = {
    [BERT_OP_Abs] = bert_cpu_plan_unary,
    [BERT_OP_Add] = bert_cpu_plan_binary,
    [BERT_OP_BERTC_Attention] = bert_cpu_plan_attention,
    [BERT_OP_BERTC_DisentangledBias] = bert_cpu_plan_disentangled_bias,
    [BERT_OP_BERTC_Embedding] = bert_cpu_plan_embedding,
    [BERT_OP_BERTC_Linear] = bert_cpu_plan_linear,
    [BERT_OP_BERTC_Lookup] = bert_cpu_plan_lookup,
    [BERT_OP_BERTC_PackTokens] = bert_cpu_plan_pack_tokens,
    [BERT_OP_BERTC_Pool] = bert_cpu_plan_pool,
    [BERT_OP_BERTC_QuantizedLinear] = bert_cpu_plan_quantized_linear,
    [BERT_OP_BERTC_SkipLayerNormalization] = bert_cpu_plan_skip_layer_norm,
    [BERT_OP_Concat] = bert_cpu_plan_concat,
    [BERT_OP_Conv] = bert_cpu_plan_conv,
    [BERT_OP_DequantizeLinear] = bert_cpu_plan_dequantize,
    [BERT_OP_BERTC_UnpackTokens] = bert_cpu_plan_unpack_tokens,
    [BERT_OP_Div] = bert_cpu_plan_binary,
    [BERT_OP_Erf] = bert_cpu_plan_unary,
    [BERT_OP_Exp] = bert_cpu_plan_unary,
    [BERT_OP_Expand] = bert_cpu_plan_expand,
    [BERT_OP_Gather] = bert_cpu_plan_gather,
    [BERT_OP_GatherElements] = bert_cpu_plan_gather_elements,
    [BERT_OP_Gelu] = bert_cpu_plan_unary,
    [BERT_OP_Gemm] = bert_cpu_plan_gemm,
    [BERT_OP_IsNaN] = bert_cpu_plan_is_nan,
    [BERT_OP_LayerNormalization] = bert_cpu_plan_layer_norm,
    [BERT_OP_MS_DequantizeLinear] = bert_cpu_plan_dequantize,
    [BERT_OP_MS_Gelu] = bert_cpu_plan_unary,
    [BERT_OP_MS_QuantizeLinear] = bert_cpu_plan_quantize,
    [BERT_OP_MS_SkipLayerNormalization] = bert_cpu_plan_skip_layer_norm,
    [BERT_OP_MS_MatMulNBits] = bert_cpu_plan_matmul_nbits,
    [BERT_OP_MatMul] = bert_cpu_plan_matmul,
    [BERT_OP_MatMulInteger] = bert_cpu_plan_integer_matmul,
    [BERT_OP_Mul] = bert_cpu_plan_binary,
    [BERT_OP_Neg] = bert_cpu_plan_unary,
    [BERT_OP_QLinearMatMul] = bert_cpu_plan_integer_matmul,
    [BERT_OP_QuantizeLinear] = bert_cpu_plan_quantize,
    [BERT_OP_Reciprocal] = bert_cpu_plan_unary,
    [BERT_OP_Relu] = bert_cpu_plan_unary,
    [BERT_OP_Sigmoid] = bert_cpu_plan_unary,
    [BERT_OP_Slice] = bert_cpu_plan_slice,
    [BERT_OP_Softmax] = bert_cpu_plan_softmax,
    [BERT_OP_Split] = bert_cpu_plan_split,
    [BERT_OP_Sqrt] = bert_cpu_plan_unary,
    [BERT_OP_Sub] = bert_cpu_plan_binary,
    [BERT_OP_Tanh] = bert_cpu_plan_unary,
    [BERT_OP_Tile] = bert_cpu_plan_tile,
    [BERT_OP_Transpose] = bert_cpu_plan_transpose,
    [BERT_OP_Where] = bert_cpu_plan_where,
};

bert_cpu_plan_fn bert_cpu_find_planner(uint32_t op_id) {
    return op_id < BERT_OP_COUNT ? planners[op_id] : NULL;
}
