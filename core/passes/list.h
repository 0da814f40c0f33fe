/* The functions of the passes; passes.c puts them in order. What each promises stands in pass.h and over its code. */
#ifndef BERT_PASSES_LIST_H
#define BERT_PASSES_LIST_H

#include "core/passes/pass.h"

bert_status bert_pass_branches(bert_pass_context *context);
bert_status bert_pass_ranges(bert_pass_context *context);
bert_status bert_pass_fold(bert_pass_context *context);
bert_status bert_pass_einsum(bert_pass_context *context);
bert_status bert_pass_shapes(bert_pass_context *context);
bert_status bert_pass_common(bert_pass_context *context);
bert_status bert_pass_fused(bert_pass_context *context);
bert_status bert_pass_fused_attention(bert_pass_context *context);
bert_status bert_pass_layer_norm(bert_pass_context *context);
bert_status bert_pass_gelu(bert_pass_context *context);
bert_status bert_pass_linear(bert_pass_context *context);
bert_status bert_pass_lookup(bert_pass_context *context);
bert_status bert_pass_quantized_linear(bert_pass_context *context);
bert_status bert_pass_dequantized_linear(bert_pass_context *context);
bert_status bert_pass_quantized_add(bert_pass_context *context);
bert_status bert_pass_requantized(bert_pass_context *context);
bert_status bert_pass_embedding(bert_pass_context *context);
bert_status bert_pass_dequantized_rows(bert_pass_context *context);
bert_status bert_pass_attention(bert_pass_context *context);
bert_status bert_pass_qkv(bert_pass_context *context);
bert_status bert_pass_skip_layer_norm(bert_pass_context *context);
bert_status bert_pass_residual(bert_pass_context *context);
bert_status bert_pass_pool(bert_pass_context *context);
bert_status bert_pass_mask(bert_pass_context *context);
bert_status bert_pass_early_gather(bert_pass_context *context);

#endif
