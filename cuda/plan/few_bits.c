/* com.microsoft's MatMulNBits: the weight as floats, a product, a bias. */
#include "cuda/ops/few_bits.h"

#include "cuda/plan/plan.h"

enum { A, B, SCALES, ZERO_POINTS, BIAS = 5 };

bert_status bert_cuda_plan_matmul_nbits(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    BERT_CUDA_TRY(bert_cuda_want_float(planner, A));
    BERT_CUDA_TRY(bert_cuda_keep_floats(planner, SCALES));
    BERT_CUDA_TRY(bert_cuda_keep_floats(planner, ZERO_POINTS));
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    return bert_cuda_reserve(planner, bert_cuda_times(BERT_NODE_INT(node, "N", 0), BERT_NODE_INT(node, "K", 0)),
                             bert_cuda_dtype_size(bert_cuda_stored(planner->prepared, node->inputs[A].dtype)));
}

bert_status bert_cuda_run_matmul_nbits(const bert_cuda_call *call) {
    const bert_op_node *node = &call->node->node;
    const bert_tensor *a = &call->inputs[A], scales = bert_cuda_kept_floats(call, SCALES);
    bert_tensor zero_points = {.dtype = BERT_DTYPE_UNDEFINED};
    if (bert_cuda_input(call, ZERO_POINTS)) zero_points = bert_cuda_kept_floats(call, ZERO_POINTS);
    const bert_cuda_few_bits_args weight = {.dtype = a->dtype,
                                            .bits = (int32_t)BERT_NODE_INT(node, "bits", 4),
                                            .columns = BERT_NODE_INT(node, "N", 0),
                                            .depth = BERT_NODE_INT(node, "K", 0),
                                            .block = BERT_NODE_INT(node, "block_size", 0),
                                            .x = call->inputs[B].data,
                                            .scales = scales.data,
                                            .scale_type = scales.dtype,
                                            .zero_points = zero_points.data,
                                            .zero_type = zero_points.dtype,
                                            .y = call->workspace};
    bert_cuda_gemm_args product =
        bert_cuda_product_of_rows(call, a, weight.y, true, weight.columns, call->outputs[0].data);
    if (product.m == 0) return BERT_OK;
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_few_bits(&weight, call->context->stream), "few_bits"));
    return bert_cuda_multiply_biased(call, &product, a->dtype, bert_cuda_input_data(call, BIAS));
}
