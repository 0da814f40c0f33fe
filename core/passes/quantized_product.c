#include "core/passes/quantized_product.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/quantizers.h"

#include <string.h>

bool bert_quantized_miss(const bert_quantized_product *m, const bert_node *node, const char *why) {
    bert_pass_missed(m->pattern.context, node, "%s", why);
    return false;
}

bert_dim bert_quantized_width(const bert_quantized_product *m) {
    return bert_value_dim(m->weight, m->transposed ? 0 : 1);
}

bert_status bert_quantized_per_column(bert_pass_context *context, bert_value *value, bert_dim n, int32_t most_rank,
                                      bert_value **out) {
    *out = NULL;
    const bert_constant *constant = value->info.constant;
    if (!constant || constant->rank > most_rank) return BERT_OK;
    const int64_t elements = bert_constant_elements(constant);
    if (elements == 1) return bert_build_shown(context, value, 0, NULL, out);
    if (elements != n || constant->dims[constant->rank - 1] != n) return BERT_OK;
    return bert_build_shown(context, value, 1, &n, out);
}

/* ---- A scale of x that the file has --------------------------------------------------------------------------------
 */

/* The zero point of uint8: that of int8 is 128 less, as all of its values are. */
static bert_status give_zero_point(bert_quantized_product *m, bert_dtype dtype, bert_value *zero_point) {
    bert_graph *graph = m->pattern.context->graph;
    bert_error *error = m->pattern.context->error;
    if (dtype == BERT_UINT8) {
        return zero_point ? bert_build_shown(m->pattern.context, zero_point, 0, NULL, &m->x_zero_point) : BERT_OK;
    }
    unsigned char *byte = bert_arena_allocate(&graph->arena, 1, 1);
    const bert_constant *constant = NULL;
    if (!byte) return bert_fail_memory(error, 1, "a zero point");
    *byte = (unsigned char)((zero_point ? bert_constant_int(zero_point->info.constant, 0) : 0) + 128);
    BERT_TRY(bert_graph_add_constant(graph, BERT_UINT8, 0, NULL, byte, 1, NULL, &constant, error));
    return bert_graph_add_constant_value(graph, NULL, constant, &m->x_zero_point, error);
}

bert_status bert_quantized_take_x(bert_quantized_product *m, const bert_node *node, bert_value *q, bert_value *scale,
                                  bert_value *zero_point, bool *matched) {
    bert_pass_context *context = m->pattern.context;
    *matched = bert_is_single_constant(scale) && (!zero_point || bert_is_single_constant(zero_point)) &&
               bert_is_byte(q->info.dtype) && (scale->info.dtype == BERT_FLOAT || scale->info.dtype == BERT_DOUBLE);
    if (!*matched) {
        bert_quantized_miss(m, node, "its first operand has no constant scale and zero point of one element");
        return BERT_OK;
    }
    bert_node *maker = bert_quantizer_of(q, scale, zero_point);
    if (maker) {
        m->x = maker->inputs[0];
        bert_pattern_add_shared(&m->pattern, maker);
    } else {
        bert_value *inputs[] = {q, scale, zero_point};
        BERT_TRY(bert_build_op(context, m->pattern.root, BERT_OP_DequantizeLinear, inputs, zero_point ? 3 : 2, &m->x));
    }
    BERT_TRY(give_zero_point(m, q->info.dtype, zero_point));
    return bert_build_shown(context, scale, 0, NULL, &m->x_scale);
}

static double round_to(bert_dtype dtype, double number) {
    return dtype == BERT_DOUBLE ? number : (double)(float)number;
}

bert_status bert_quantized_join_scales(bert_quantized_product *m, float factor, const bert_value *y_scale) {
    bert_graph *graph = m->pattern.context->graph;
    bert_error *error = m->pattern.context->error;
    const bert_constant *scales = m->scale->info.constant, *made = NULL;
    const bert_dtype dtype = scales->dtype;
    const size_t count = (size_t)bert_constant_elements(scales);
    double x_scale = 1, over = 1;
    char *data = bert_arena_allocate(&graph->arena, scales->bytes, BERT_ALIGNMENT);
    if (!data) return bert_fail_memory(error, scales->bytes, "scales");
    bert_value_scalar(m->x_scale, &x_scale);
    if (y_scale) bert_value_scalar(y_scale, &over);
    for (size_t i = 0; i < count; i++) {
        double scale = round_to(dtype, x_scale * bert_constant_double(scales, (int64_t)i));
        if (factor != 1.0F) scale = round_to(dtype, (double)factor * scale);
        if (y_scale) scale = round_to(dtype, scale / over);
        const float narrow = (float)scale;
        if (dtype == BERT_DOUBLE) memcpy(data + i * sizeof scale, &scale, sizeof scale);
        if (dtype == BERT_FLOAT) memcpy(data + i * sizeof narrow, &narrow, sizeof narrow);
    }
    BERT_TRY(
        bert_graph_add_constant(graph, dtype, scales->rank, scales->dims, data, scales->bytes, NULL, &made, error));
    return bert_graph_add_constant_value(graph, NULL, made, &m->scale, error);
}

/* ---- What follows a product ----------------------------------------------------------------------------------------
 */

bert_node *bert_quantized_next(const bert_quantized_product *m) {
    bert_node *reader = bert_value_sole_reader(m->pattern.root->outputs[0]);
    return reader && reader->block == m->pattern.root->block ? reader : NULL;
}

void bert_quantized_extend(bert_quantized_product *m, bert_node *node) {
    bert_node *old = m->pattern.root;
    m->pattern.nodes[0] = m->pattern.root = node;
    bert_pattern_add(&m->pattern, old);
}

static bert_status match_added_bias(bert_quantized_product *m) {
    bert_node *add = bert_quantized_next(m);
    if (m->bias || !bert_node_is(add, BERT_OP_Add)) return BERT_OK;
    bert_value *other = bert_node_beside(add, m->pattern.root->outputs[0]), *bias = NULL;
    const bert_dim width = bert_quantized_width(m);
    if (!other || other->info.dtype != m->x->info.dtype || !other->info.constant || other->info.constant->rank < 1 ||
        bert_constant_elements(other->info.constant) != width || bert_value_dim(other, -1) != width ||
        bert_value_rank(other) > bert_value_rank(m->x))
        return BERT_OK;
    BERT_TRY(bert_build_shown(m->pattern.context, other, 1, &width, &bias));
    m->bias = bias;
    bert_quantized_extend(m, add);
    return BERT_OK;
}

static void match_activation(bert_quantized_product *m) {
    bert_node *node = bert_quantized_next(m);
    const char *activation = node && node->input_count == 1 ? bert_activation_of(node) : NULL;
    if (!activation) return;
    m->activation = activation;
    bert_quantized_extend(m, node);
}

/* ---- The rewrite ---------------------------------------------------------------------------------------------------
 */

/* In units of 1 what the product gives is what its bytes are, less the zero point, before they are rounded. */
static bert_status requantize(bert_quantized_product *m, const bert_node_spec *spec) {
    bert_pass_context *context = m->pattern.context;
    bert_value *inputs[3] = {NULL, NULL, m->y_zero_point};
    BERT_TRY(bert_build(context, m->pattern.root, spec, m->pattern.root, &inputs[0]));
    BERT_TRY(bert_build_float(context, 1, &inputs[1]));
    BERT_TRY(bert_build_shown(context, m->y_zero_point, 0, NULL, &inputs[2]));
    return bert_pattern_replace(&m->pattern,
                                &(bert_node_spec){.op = bert_op_get(BERT_OP_QuantizeLinear),
                                                  .opset = bert_build_opset(m->pattern.root, 13),
                                                  .inputs = inputs,
                                                  .input_count = 3},
                                NULL);
}

bert_status bert_quantized_finish(bert_quantized_product *m) {
    if (!m->y_zero_point) {
        BERT_TRY(match_added_bias(m));
        match_activation(m);
    }
    if (!bert_pattern_closed(&m->pattern)) return BERT_OK;
    bert_value *inputs[] = {[BERT_LINEAR_X] = m->x,
                            [BERT_QUANTIZED_LINEAR_X_SCALE] = m->x_scale,
                            [BERT_QUANTIZED_LINEAR_X_ZERO_POINT] = m->x_zero_point,
                            [BERT_QUANTIZED_LINEAR_WEIGHT(0)] = m->weight,
                            [BERT_QUANTIZED_LINEAR_SCALE(0)] = m->scale,
                            [BERT_QUANTIZED_LINEAR_ZERO_POINT(0)] = m->zero_point,
                            [BERT_QUANTIZED_LINEAR_BIAS(0)] = m->bias};
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("parts", 1), BERT_INT_ATTRIBUTE("transpose", m->transposed),
                                   BERT_INT_ATTRIBUTE("weight_only", m->weight_only),
                                   BERT_STRING_ATTRIBUTE("activation", m->activation)};
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_BERTC_QuantizedLinear),
                                 .opset = 1,
                                 .inputs = inputs,
                                 .input_count = sizeof inputs / sizeof *inputs,
                                 .attributes = attributes,
                                 .attribute_count = 4};
    return m->y_zero_point ? requantize(m, &spec) : bert_pattern_replace(&m->pattern, &spec, NULL);
}
