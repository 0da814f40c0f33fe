/* The canonical QuantizedAdd (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"
#include "core/graph/ops/quantized.h"

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* A scale and a zero point, from input `scale` on: both or neither. */
static bert_status infer_scale(const bert_inference *in, int32_t scale, bool *present) {
    *present = bert_infer_input(in, scale) != NULL;
    if (*present != (bert_infer_input(in, scale + 1) != NULL))
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedAdd has a scale without a zero point, or this alone");
    if (!*present) return BERT_OK;
    BERT_TRY(bert_infer_type(in, scale, BERT_TYPE(BERT_FLOAT)));
    BERT_TRY(bert_infer_type(in, scale + 1, BERT_TYPES_BYTE));
    for (int32_t i = scale; i < scale + 2; i++)
        BERT_TRY(bert_infer_equal(in, bert_shape_elements(in, bert_infer_shape(in, i)), 1,
                                  "the elements of a scale or zero point and 1", NULL));
    return BERT_OK;
}

bert_status bert_infer_quantized_add(const bert_inference *in) {
    bool y, y_new, a, a_new;
    bert_shape shape;
    BERT_TRY(bert_infer_type(in, BERT_QUANTIZED_ADD_A, BERT_TYPE(BERT_FLOAT)));
    BERT_TRY(bert_infer_type(in, BERT_QUANTIZED_ADD_B, BERT_TYPE(BERT_FLOAT)));
    BERT_TRY(infer_scale(in, BERT_QUANTIZED_ADD_Y_SCALE, &y));
    BERT_TRY(infer_scale(in, BERT_QUANTIZED_ADD_Y_NEW_SCALE, &y_new));
    BERT_TRY(infer_scale(in, BERT_QUANTIZED_ADD_A_SCALE, &a));
    BERT_TRY(infer_scale(in, BERT_QUANTIZED_ADD_A_NEW_SCALE, &a_new));
    if (y_new && !y)
        return bert_fail(in->error, BERT_INVALID_MODEL, "QuantizedAdd dequantizes a sum that it doesn't quantize");
    if (a != a_new)
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "QuantizedAdd quantizes a without dequantizing it, or the other way");
    if (y_new) BERT_TRY(bert_infer_same_type(in, BERT_QUANTIZED_ADD_Y_ZERO_POINT, BERT_QUANTIZED_ADD_Y_NEW_ZERO_POINT));
    if (a) BERT_TRY(bert_infer_same_type(in, BERT_QUANTIZED_ADD_A_ZERO_POINT, BERT_QUANTIZED_ADD_A_NEW_ZERO_POINT));
    BERT_TRY(bert_infer_broadcast_inputs(in, BERT_QUANTIZED_ADD_A, 2, &shape));
    bert_infer_give(in, 0, y && !y_new ? bert_infer_dtype(in, BERT_QUANTIZED_ADD_Y_ZERO_POINT) : BERT_FLOAT, &shape);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* QuantizeLinear, by the scale and zero point from input `scale` on. */
static int32_t quantize(const bert_reference_call *call, int32_t scale, double value) {
    const bert_tensor *zero = &call->inputs[scale + 1];
    return bert_quantized(bert_quotient_in(BERT_FLOAT, value, bert_load(&call->inputs[scale], 0)),
                          (int64_t)bert_load_integer(zero, 0), zero->dtype);
}

/* DequantizeLinear likewise. */
static double dequantize(const bert_reference_call *call, int32_t scale, int32_t byte) {
    const int64_t zero = (int64_t)bert_load_integer(&call->inputs[scale + 1], 0);
    return bert_product_in(BERT_FLOAT, (double)(byte - zero), bert_load(&call->inputs[scale], 0));
}

bert_status bert_reference_quantized_add(const bert_reference_call *call) {
    const bert_tensor *a = &call->inputs[BERT_QUANTIZED_ADD_A], *b = &call->inputs[BERT_QUANTIZED_ADD_B];
    const bert_tensor *y = &call->outputs[0];
    const bool quantizes_a = bert_call_has_input(call, BERT_QUANTIZED_ADD_A_SCALE);
    const bool quantizes_y = bert_call_has_input(call, BERT_QUANTIZED_ADD_Y_SCALE);
    bert_loop loop = bert_loop_over(y->rank, y->dims);
    bert_loop_add(&loop, a);
    bert_loop_add(&loop, b);
    for (; loop.left; bert_loop_next(&loop)) {
        double value = bert_load(a, loop.offset[0]);
        if (quantizes_a)
            value = dequantize(call, BERT_QUANTIZED_ADD_A_NEW_SCALE, quantize(call, BERT_QUANTIZED_ADD_A_SCALE, value));
        const double sum = bert_rounded(BERT_FLOAT, value + bert_load(b, loop.offset[1]));
        if (!quantizes_y) {
            bert_store(y, loop.position, sum);
            continue;
        }
        const int32_t byte = quantize(call, BERT_QUANTIZED_ADD_Y_SCALE, sum);
        if (y->dtype == BERT_FLOAT)
            bert_store(y, loop.position, dequantize(call, BERT_QUANTIZED_ADD_Y_NEW_SCALE, byte));
        else
            bert_store_integer(y, loop.position, byte);
    }
    return BERT_OK;
}
