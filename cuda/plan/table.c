/* Which planner and which run an operator has. An operator that is not here has no kernel. */
#include "cuda/ops/elementwise.h"
#include "cuda/ops/reduce.h"
#include "cuda/plan/plan.h"

#include <string.h>

#define ROW(domain, name, plan, run, host_inputs, code)                                                                \
    { domain, name, plan, bert_cuda_run_##run, #run "/cuda", host_inputs, code, NULL }
#define INDEXED(domain, name, plan, run, code, words)                                                                  \
    { domain, name, plan, bert_cuda_run_##run, #run "/cuda", 0, code, &(words) }
#define PLAN(name) bert_cuda_plan_##name

/* What indices are to those that report them. */
static const bert_cuda_index_words table_rows = {"index", "is outside the", "rows of the table", false};
static const bert_cuda_index_words elements = {"index", "is outside the", "elements of its axis", false};
static const bert_cuda_index_words positions = {"index", "is outside the", "positions", false};
static const bert_cuda_index_words ids = {"id", "is outside the", "rows of the table", true};
static const bert_cuda_index_words rotary_rows = {"position id", "is outside the", "rows of the rotary caches", true};
static const bert_cuda_index_words places = {"offset", "is outside the", "places", true};
static const bert_cuda_index_words sequences = {"cumulative length", "doesn't divide the", "tokens into sequences",
                                                true};

static const bert_cuda_op ops[] = {
    ROW("", "Abs", PLAN(elementwise), elementwise, 0, BERT_CUDA_ABS),
    ROW("", "Ceil", PLAN(elementwise), elementwise, 0, BERT_CUDA_CEIL),
    ROW("", "Cos", PLAN(elementwise), elementwise, 0, BERT_CUDA_COS),
    ROW("", "Erf", PLAN(elementwise), elementwise, 0, BERT_CUDA_ERF),
    ROW("", "Exp", PLAN(elementwise), elementwise, 0, BERT_CUDA_EXP),
    ROW("", "Floor", PLAN(elementwise), elementwise, 0, BERT_CUDA_FLOOR),
    ROW("", "Gelu", PLAN(elementwise), elementwise, 0, BERT_CUDA_GELU_OF),
    ROW("", "Log", PLAN(elementwise), elementwise, 0, BERT_CUDA_LOG),
    ROW("", "Mish", PLAN(elementwise), elementwise, 0, BERT_CUDA_MISH),
    ROW("", "Neg", PLAN(elementwise), elementwise, 0, BERT_CUDA_NEG),
    ROW("", "Reciprocal", PLAN(elementwise), elementwise, 0, BERT_CUDA_RECIPROCAL),
    ROW("", "Relu", PLAN(elementwise), elementwise, 0, BERT_CUDA_RELU_OF),
    ROW("", "Round", PLAN(elementwise), elementwise, 0, BERT_CUDA_ROUND),
    ROW("", "Sigmoid", PLAN(elementwise), elementwise, 0, BERT_CUDA_SIGMOID),
    ROW("", "Sign", PLAN(elementwise), elementwise, 0, BERT_CUDA_SIGN),
    ROW("", "Sin", PLAN(elementwise), elementwise, 0, BERT_CUDA_SIN),
    ROW("", "Softplus", PLAN(elementwise), elementwise, 0, BERT_CUDA_SOFTPLUS),
    ROW("", "Sqrt", PLAN(elementwise), elementwise, 0, BERT_CUDA_SQRT),
    ROW("", "Tanh", PLAN(elementwise), elementwise, 0, BERT_CUDA_TANH_OF),
    ROW("", "Not", PLAN(elementwise), elementwise, 0, BERT_CUDA_NOT),
    ROW("", "IsNaN", PLAN(elementwise), elementwise, 0, BERT_CUDA_IS_NAN),
    ROW("", "IsInf", PLAN(elementwise), elementwise, 0, BERT_CUDA_IS_INF),
    ROW("", "Add", PLAN(elementwise), elementwise, 0, BERT_CUDA_ADD),
    ROW("", "Sub", PLAN(elementwise), elementwise, 0, BERT_CUDA_SUB),
    ROW("", "Mul", PLAN(elementwise), elementwise, 0, BERT_CUDA_MUL),
    ROW("", "Pow", PLAN(elementwise), elementwise, 0, BERT_CUDA_POW),
    ROW("", "Equal", PLAN(elementwise), elementwise, 0, BERT_CUDA_EQUAL),
    ROW("", "Greater", PLAN(elementwise), elementwise, 0, BERT_CUDA_GREATER),
    ROW("", "GreaterOrEqual", PLAN(elementwise), elementwise, 0, BERT_CUDA_GREATER_OR_EQUAL),
    ROW("", "Less", PLAN(elementwise), elementwise, 0, BERT_CUDA_LESS),
    ROW("", "LessOrEqual", PLAN(elementwise), elementwise, 0, BERT_CUDA_LESS_OR_EQUAL),
    ROW("", "And", PLAN(elementwise), elementwise, 0, BERT_CUDA_AND),
    ROW("", "Or", PLAN(elementwise), elementwise, 0, BERT_CUDA_OR),
    ROW("", "Xor", PLAN(elementwise), elementwise, 0, BERT_CUDA_XOR),
    ROW("", "Where", PLAN(elementwise), elementwise, 0, BERT_CUDA_WHERE),
    ROW("", "Div", PLAN(divide), elementwise, 0, BERT_CUDA_DIV),
    ROW("", "Mod", PLAN(divide), elementwise, 0, BERT_CUDA_MOD),
    ROW("com.microsoft", "Gelu", PLAN(elementwise), elementwise, 0, BERT_CUDA_GELU_OF),
    ROW("com.microsoft", "QuickGelu", PLAN(elementwise), elementwise, 0, BERT_CUDA_QUICK_GELU_OF),
    ROW("com.microsoft", "BiasGelu", PLAN(elementwise), elementwise, 0, BERT_CUDA_BIAS_GELU),
    ROW("com.microsoft", "FastGelu", PLAN(elementwise), elementwise, 0, BERT_CUDA_BIAS_GELU_TANH),
    ROW("", "Min", PLAN(variadic), variadic, 0, BERT_CUDA_MIN),
    ROW("", "Max", PLAN(variadic), variadic, 0, BERT_CUDA_MAX),
    ROW("", "Cast", PLAN(cast), cast, 0, 0),
    ROW("", "CastLike", PLAN(cast), cast, 0, 0),
    ROW("", "Clip", PLAN(clip), clip, 0, 0),
    ROW("", "Identity", NULL, copy, 0, 0),
    ROW("", "Dropout", NULL, dropout, 0, 0),
    ROW("", "QuantizeLinear", PLAN(quantize), quantize, 0, 0),
    ROW("", "DequantizeLinear", PLAN(quantize), dequantize, 0, 0),
    ROW("com.microsoft", "QuantizeLinear", PLAN(quantize), quantize, 0, 0),
    ROW("com.microsoft", "DequantizeLinear", PLAN(quantize), dequantize, 0, 0),
    ROW("", "DynamicQuantizeLinear", PLAN(dynamic_quantize), dynamic_quantize, 0, 0),
    ROW("", "MatMulInteger", PLAN(matmul_integer), matmul_integer, 0, 0),
    ROW("com.microsoft", "MatMulIntegerToFloat", PLAN(matmul_integer), matmul_integer, 0, 1),
    ROW("", "QLinearMatMul", PLAN(matmul_integer), matmul_integer, 0, 2),
    ROW("com.microsoft", "DynamicQuantizeMatMul", PLAN(matmul_integer), matmul_integer, 0, 3),
    ROW("com.microsoft", "QGemm", PLAN(matmul_integer), matmul_integer, 0, 4),
    ROW("", "Softmax", PLAN(in_place), softmax, 0, 0),
    ROW("", "LogSoftmax", PLAN(in_place), softmax, 0, 1),
    ROW("com.microsoft", "BiasSoftmax", PLAN(in_place), bias_softmax, 0, 0),
    ROW("", "MatMul", PLAN(matmul), matmul, 0, 0),
    ROW("com.microsoft", "FusedMatMul", PLAN(matmul), matmul, 0, 0),
    ROW("com.microsoft", "GemmFastGelu", PLAN(matmul), matmul, 0, 1),
    ROW("", "Conv", NULL, conv, 0, 0),
    ROW("", "Gemm", PLAN(gemm), gemm, 0, 0),
    ROW("com.microsoft", "FusedGemm", PLAN(gemm), gemm, 0, 0),
    ROW("", "LayerNormalization", PLAN(layer_norm), layer_norm, 0, 0),
    ROW("", "RMSNormalization", PLAN(layer_norm), layer_norm, 0, 1),
    ROW("", "SimplifiedLayerNormalization", PLAN(layer_norm), layer_norm, 0, 1),
    ROW("bertc", "SkipLayerNormalization", PLAN(skip_layer_norm), skip_layer_norm, 0, 0),
    ROW("com.microsoft", "SkipLayerNormalization", PLAN(skip_layer_norm), skip_layer_norm, 0, 1),
    ROW("com.microsoft", "SkipSimplifiedLayerNormalization", PLAN(skip_layer_norm), skip_layer_norm, 0, 2),
    INDEXED("bertc", "Embedding", PLAN(embedding), embedding, 0, table_rows),
    ROW("bertc", "Linear", PLAN(linear), linear, 0, 0),
    ROW("bertc", "QuantizedLinear", PLAN(quantized_linear), quantized_linear, 0, 0),
    ROW("bertc", "Lookup", PLAN(in_place), lookup, 0, 0),
    ROW("bertc", "Attention", PLAN(attention), attention, 0, 0),
    INDEXED("bertc", "DisentangledBias", PLAN(disentangled_bias), disentangled_bias, 0, positions),
    ROW("", "Attention", PLAN(onnx_attention), onnx_attention, 0, 0),
    ROW("com.microsoft", "MultiHeadAttention", PLAN(multi_head_attention), multi_head_attention, 0, 0),
    ROW("com.microsoft", "Attention", PLAN(ms_attention), ms_attention, 0, 0),
    ROW("com.microsoft", "QAttention", PLAN(ms_attention), ms_attention, 0, 1),
    INDEXED("com.microsoft", "PackedAttention", PLAN(packed_attention), packed_attention, 0, sequences),
    INDEXED("", "RotaryEmbedding", PLAN(rotary_embedding), rotary_embedding, 0, rotary_rows),
    INDEXED("com.microsoft", "RotaryEmbedding", PLAN(rotary_embedding), rotary_embedding, 1, rotary_rows),
    ROW("com.microsoft", "MatMulNBits", PLAN(matmul_nbits), matmul_nbits, 0, 0),
    INDEXED("com.microsoft", "EmbedLayerNormalization", PLAN(embed_layer_norm), embed_layer_norm, 0, ids),
    INDEXED("com.microsoft", "QEmbedLayerNormalization", PLAN(embed_layer_norm), embed_layer_norm, 1, ids),
    ROW("com.microsoft", "RemovePadding", PLAN(remove_padding), remove_padding, 0x2, 0),
    INDEXED("com.microsoft", "RestorePadding", PLAN(restore_padding), restore_padding, 0, places),
    ROW("bertc", "Pool", PLAN(pool), pool, 0, 0),
    ROW("bertc", "PackTokens", PLAN(keep_wide), pack_tokens, 0, 0),
    ROW("bertc", "UnpackTokens", PLAN(keep_wide), unpack_tokens, 0, 0),
    ROW("", "ReduceL1", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_L1),
    ROW("", "ReduceL2", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_L2),
    ROW("", "ReduceLogSum", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_LOG_SUM),
    ROW("", "ReduceLogSumExp", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_LOG_SUM_EXP),
    ROW("", "ReduceMax", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_MAX),
    ROW("", "ReduceMean", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_MEAN),
    ROW("", "ReduceMin", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_MIN),
    ROW("", "ReduceProd", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_PROD),
    ROW("", "ReduceSum", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_SUM),
    ROW("", "ReduceSumSquare", PLAN(keep_wide), reduce, 0x2, BERT_CUDA_REDUCE_SUM_SQUARE),
    ROW("", "ArgMax", NULL, arg_extreme, 0, 1),
    ROW("", "ArgMin", NULL, arg_extreme, 0, 0),
    ROW("", "CumSum", PLAN(cumulative_sum), cumulative_sum, 0x2, 0),
    ROW("", "TopK", NULL, top_k, 0x2, 0),
    ROW("", "Transpose", NULL, transpose, 0, 0),
    ROW("", "Slice", NULL, slice, 0x1e, 0),
    ROW("", "Split", NULL, split, 0x2, 0),
    ROW("", "Concat", NULL, concat, 0, 0),
    ROW("", "Expand", NULL, expand, 0x2, 0),
    ROW("", "Tile", NULL, tile, 0x2, 0),
    ROW("", "Pad", PLAN(pad), pad, 0xa, 0),
    ROW("", "ConstantOfShape", NULL, constant_of_shape, 0x1, 0),
    INDEXED("", "Gather", PLAN(gather), gather, 0, table_rows),
    INDEXED("", "GatherElements", PLAN(indexed), gather_elements, 0, elements),
    INDEXED("", "GatherND", PLAN(indexed), gather_nd, 0, elements),
    INDEXED("", "Scatter", PLAN(indexed), scatter_elements, 0, elements),
    INDEXED("", "ScatterElements", PLAN(indexed), scatter_elements, 0, elements),
    INDEXED("", "ScatterND", PLAN(indexed), scatter_nd, 0, elements),
    ROW("", "Compress", PLAN(compress), compress, 0x2, 0),
    ROW("", "OneHot", NULL, one_hot, 0x2, 0),
    ROW("", "Trilu", NULL, trilu, 0, 0),
    ROW("", "EyeLike", NULL, eye_like, 0, 0),
    ROW("", "Range", NULL, range, 0x2, 0),
};

const bert_cuda_op *bert_cuda_find_op(const bert_op_node *node) {
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(ops[i].name, node->op_type) == 0 && strcmp(ops[i].domain, node->domain) == 0) return &ops[i];
    }
    return NULL;
}
