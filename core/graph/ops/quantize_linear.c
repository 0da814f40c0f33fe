/* QuantizeLinear, DequantizeLinear (of either domain) and DynamicQuantizeLinear. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/quantized.h"

#include <inttypes.h>

/* ---- Which scale belongs to which element ---------------------------------------------------------------------------
 */

/* com.microsoft's operators are per tensor unless they have an axis; ONNX's axis is 1 when not given. */
static int64_t axis_attribute(const bert_attribute *attributes, size_t count) {
    return bert_attribute_int(attributes, count, "axis", 1);
}

static bert_status infer_scale(const bert_inference *in) {
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *scale = bert_infer_shape(in, 1);
    if (bert_infer_input(in, 2)) {
        BERT_TRY(bert_infer_equal(in, bert_shape_elements(in, bert_infer_shape(in, 2)), bert_shape_elements(in, scale),
                                  "the elements of zero point and scale", NULL));
    }
    if (x->rank < 0 || scale->rank < 0 || bert_shape_elements(in, scale) == 1) return BERT_OK;
    int32_t axis = 0;
    BERT_TRY(bert_infer_axis(in, axis_attribute(in->attributes, in->attribute_count), x->rank, &axis));
    int64_t block = BERT_INFER_INT(in, "block_size", 0);
    if (block == 0) {
        BERT_TRY(bert_infer_rank(in, 1, 1, 1));
        return bert_infer_equal(in, scale->dims[0], x->dims[axis], "the scales and the dimension along the axis", NULL);
    }
    if (block < 0) return bert_fail(in->error, BERT_INVALID_MODEL, "block_size is %" PRId64, block);
    BERT_TRY(bert_infer_rank(in, 1, x->rank, x->rank));
    for (int32_t i = 0; i < x->rank; i++) {
        bert_dim blocks = x->dims[i];
        if (i == axis) {
            blocks = bert_dim_divide(in->symbols, bert_dim_add(in->symbols, blocks, block - 1), block, true);
        }
        BERT_TRY(bert_infer_equal(in, scale->dims[i], blocks, "the scales and the blocks along a dimension", NULL));
    }
    return BERT_OK;
}

/* Steps from an element's position to its scale's. */
typedef struct granularity {
    bool single;
    int64_t inner, length, block, blocks;
} granularity;

static granularity granularity_of(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    granularity g = {.single = bert_tensor_elements(&call->inputs[1]) == 1};
    if (g.single) return g;
    int32_t axis = bert_call_axis(axis_attribute(call->attributes, call->attribute_count), x->rank);
    int64_t block = BERT_CALL_INT(call, "block_size", 0);
    g.inner = bert_dims_product(x, axis + 1, x->rank);
    g.length = x->dims[axis];
    g.block = block;
    g.blocks = block ? (g.length + block - 1) / block : 0;
    return g;
}

static int64_t scale_index(const granularity *g, int64_t position) {
    if (g->single) return 0;
    int64_t along = position / g->inner % g->length;
    if (!g->block) return along;
    int64_t outer = position / g->inner / g->length;
    return (outer * g->blocks + along / g->block) * g->inner + position % g->inner;
}

static int64_t zero_point_at(const bert_reference_call *call, int64_t index) {
    const bert_tensor *zero = bert_call_input(call, 2);
    return zero ? (int64_t)bert_load_integer(zero, index) : 0;
}

/* ---- QuantizeLinear -------------------------------------------------------------------------------------------------
 */

#define QUANTIZED_TYPES (BERT_TYPES_BYTE | BERT_TYPE(BERT_UINT16) | BERT_TYPE(BERT_INT16))

bert_status bert_infer_quantize_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_FLOAT | BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_FLOAT | BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, 2, QUANTIZED_TYPES));
    BERT_TRY(infer_scale(in));
    int64_t wanted = BERT_INFER_INT(in, "output_dtype", 0);
    if (wanted < 0 || wanted > BERT_BFLOAT16 || (wanted && !(QUANTIZED_TYPES & BERT_TYPE(wanted)))) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "QuantizeLinear to element type %" PRId64, wanted);
    }
    bert_dtype dtype = wanted ? (bert_dtype)wanted : BERT_UINT8;
    if (bert_infer_input(in, 2)) dtype = bert_infer_dtype(in, 2);
    bert_infer_give(in, 0, dtype, bert_infer_shape(in, 0));
    return BERT_OK;
}

bert_status bert_reference_quantize_linear(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    granularity g = granularity_of(call);
    int64_t count = bert_tensor_elements(y);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = scale_index(&g, i);
        double value = bert_quotient_in(x->dtype, bert_load(x, i), bert_load(&call->inputs[1], at));
        bert_store_integer(y, i, bert_quantized(value, zero_point_at(call, at), y->dtype));
    }
    return BERT_OK;
}

/* ---- DequantizeLinear -----------------------------------------------------------------------------------------------
 */

bert_status bert_infer_dequantize_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, QUANTIZED_TYPES | BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_type(in, 1, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_same_type(in, 0, 2));
    BERT_TRY(infer_scale(in));
    int64_t wanted = BERT_INFER_INT(in, "output_dtype", 0);
    if (wanted < 0 || wanted > BERT_BFLOAT16 || (wanted && !(BERT_TYPES_FLOAT & BERT_TYPE(wanted)))) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "DequantizeLinear to element type %" PRId64, wanted);
    }
    bert_infer_give(in, 0, wanted ? (bert_dtype)wanted : bert_infer_dtype(in, 1), bert_infer_shape(in, 0));
    return BERT_OK;
}

bert_status bert_reference_dequantize_linear(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *scale = &call->inputs[1];
    granularity g = granularity_of(call);
    int64_t count = bert_tensor_elements(x);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = scale_index(&g, i);
        int64_t difference = (int64_t)bert_load_integer(x, i) - zero_point_at(call, at);
        bert_store(&call->outputs[0], i, bert_product_in(scale->dtype, (double)difference, bert_load(scale, at)));
    }
    return BERT_OK;
}

/* ---- DynamicQuantizeLinear ------------------------------------------------------------------------------------------
 */

bert_status bert_infer_dynamic_quantize_linear(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPE(BERT_FLOAT) | BERT_TYPE(BERT_DOUBLE)));
    bert_shape scalar = bert_shape_scalar();
    bert_infer_give(in, 0, BERT_UINT8, bert_infer_shape(in, 0));
    bert_infer_give(in, 1, bert_infer_dtype(in, 0), &scalar);
    bert_infer_give(in, 2, BERT_UINT8, &scalar);
    return BERT_OK;
}

bert_status bert_reference_dynamic_quantize_linear(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = bert_call_output(call, 0);
    const bert_tensor *scale = bert_call_output(call, 1);
    const bert_tensor *zero_point = bert_call_output(call, 2);
    int64_t count = bert_tensor_elements(x);
    bert_quantization q = bert_dynamic_quantization(x, 0, count);
    for (int64_t i = 0; y && i < count; i++) {
        double value = bert_quotient_in(x->dtype, bert_load(x, i), q.scale);
        bert_store_integer(y, i, bert_quantized(value, q.zero_point, BERT_UINT8));
    }
    if (scale) bert_store(scale, 0, q.scale);
    if (zero_point) bert_store_integer(zero_point, 0, q.zero_point);
    return BERT_OK;
}
