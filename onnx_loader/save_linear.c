/* Linear and QuantizedLinear as functions of the file. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/save_call.h"

#include <inttypes.h>
#include <string.h>

static bool reads_only_packed(const bert_value *value) {
    if (value->graph_output || value->branch_output) return false;
    for (uint32_t i = 0; i < value->use_count; i++) {
        const bert_node *reader = value->uses[i].node;
        if (reader->op->id != BERT_OP_BERTC_Attention || value->uses[i].input != BERT_ATTENTION_Q ||
            !BERT_NODE_INT(reader, "packed", 0))
            return false;
    }
    return true;
}

static bool is_linear(const bert_node *node) {
    return node->op->id == BERT_OP_BERTC_Linear || node->op->id == BERT_OP_BERTC_QuantizedLinear;
}

void bert_onnx_save_find_parts(bert_onnx_saver *saver, const bert_block *block) {
    static const char *const suffixes[3] = {"query", "key", "value"};
    BERT_FOR_EACH_NODE (node, block) {
        if (!is_linear(node) || BERT_NODE_INT(node, "parts", 1) != 3 || bert_node_in(node, BERT_LINEAR_RESIDUAL) ||
            strcmp(BERT_NODE_STRING(node, "activation", "none"), "none") != 0 || !reads_only_packed(node->outputs[0]))
            continue;
        bert_onnx_parts *parts = BERT_ONNX_SAVE_NEW(saver, bert_onnx_parts, 1);
        if (!parts) return;
        for (int p = 0; p < 3; p++) {
            const char *wish = bert_onnx_save_format(saver, "%s/%s", node->outputs[0]->name, suffixes[p]);
            parts->names[p] = bert_onnx_save_fresh(saver, saver->taken, wish);
        }
        saver->parts[node->outputs[0]->id] = parts;
    }
}

/* "_bias" where every part has that input, "_bias_101" where some do. */
static void name_optional(bert_onnx_saved_call *c, const char *what, int32_t parts, int32_t first, int32_t stride) {
    char which[BERT_ONNX_MOST_SAVED_INPUTS + 1] = "";
    int32_t present = 0;
    for (int32_t p = 0; p < parts && p < BERT_ONNX_MOST_SAVED_INPUTS; p++) {
        bool is_there = bert_node_in(c->node, first + stride * p) != NULL;
        which[p] = is_there ? '1' : '0';
        present += is_there;
    }
    if (present == parts) bert_onnx_save_extend_name(c, "_%s", what);
    if (present && present < parts) bert_onnx_save_extend_name(c, "_%s_%s", what, which);
}

static const char *part_name(bert_onnx_saved_call *c, const char *name, int32_t part, int32_t parts) {
    return parts == 1 ? name : bert_onnx_save_format(c->saver, "%s_%" PRId32, name, part);
}

/* What a Linear has in common with a QuantizedLinear: after its products are there by name. */
static bert_status end_linear(bert_onnx_saved_call *c, const char *const *products, int32_t parts, bert_error *error) {
    if (c->output_count > 1) {
        for (int32_t p = 0; p < parts; p++) c->inner_outputs[p] = products[p];
        return BERT_OK;
    }
    const char *y = products[0];
    if (parts > 1) {
        y = "joined";
        bert_onnx_save_node(c->saver, &c->body, "", "Concat", products, (size_t)parts, &y, 1);
        bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", -1);
    }
    const char *activation = BERT_NODE_STRING(c->node, "activation", "none");
    y = bert_onnx_save_step_activation(c, activation, y);
    if (!y) return bert_fail(error, BERT_UNSUPPORTED, "its activation %s has no spelling", activation);
    if (bert_node_in(c->node, BERT_LINEAR_RESIDUAL)) y = bert_onnx_save_step(c, "Add", "y", y, "residual");
    c->inner_outputs[0] = y;
    return BERT_OK;
}

static void name_linear(bert_onnx_saved_call *c, int32_t parts) {
    const char *activation = BERT_NODE_STRING(c->node, "activation", "none");
    const bert_onnx_parts *split = c->saver->parts[c->node->outputs[0]->id];
    if (strcmp(activation, "none") != 0) bert_onnx_save_extend_name(c, "_%s", activation);
    if (bert_node_in(c->node, BERT_LINEAR_RESIDUAL)) bert_onnx_save_extend_name(c, "_residual");
    if (parts > 1) bert_onnx_save_extend_name(c, split ? "_%" PRId32 "_parts" : "_%" PRId32 "_joined", parts);
    bert_onnx_save_name_type(c);
    for (int32_t p = 0; split && p < parts; p++) bert_onnx_save_give_output(c, split->names[p]);
    if (!split) bert_onnx_save_give_output(c, bert_onnx_save_name(c->saver, c->node->outputs[0]));
}

/* The weight as [K, N]. */
static const char *weight_of(bert_onnx_saved_call *c, int32_t part, int32_t parts) {
    static const int64_t swap[] = {1, 0};
    const char *weight = part_name(c, "weight", part, parts);
    if (!BERT_NODE_INT(c->node, "transpose", 0)) return weight;
    return bert_onnx_save_step_transpose(c, part_name(c, "transposed", part, parts), weight, swap, 2);
}

static const char *add_bias(bert_onnx_saved_call *c, const char *product, int32_t part, int32_t parts) {
    return bert_onnx_save_step(c, "Add", part_name(c, "biased", part, parts), product,
                               part_name(c, "bias", part, parts));
}

static bert_status linear_body(bert_onnx_saved_call *c, bert_error *error) {
    int32_t parts = (int32_t)BERT_NODE_INT(c->node, "parts", 1);
    bool transposed = BERT_NODE_INT(c->node, "transpose", 0) != 0;
    bool scaled = BERT_NODE_FLOAT(c->node, "alpha", 1) != 1;
    const char *products[BERT_ONNX_MOST_SAVED_INPUTS] = {NULL};
    for (int32_t p = 0; p < parts; p++) {
        const char *weight = part_name(c, "weight", p, parts);
        const char *product = part_name(c, "product", p, parts);
        if (scaled) {
            bert_onnx_save_step_in(c, "com.microsoft", "FusedMatMul", product, "x", weight, NULL, NULL);
            bert_onnx_save_reference(c->saver, bert_onnx_save_last_step(c), "alpha", BERT_ONNX_FLOAT, "alpha");
            bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "transB", transposed);
        } else {
            bert_onnx_save_step(c, "MatMul", product, "x", weight_of(c, p, parts));
        }
        products[p] = bert_node_in(c->node, BERT_LINEAR_BIAS(p)) ? add_bias(c, product, p, parts) : product;
    }
    return end_linear(c, products, parts, error);
}

bert_status bert_onnx_save_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error) {
    static const char *const known[] = {"parts", "transpose", "alpha", "activation", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "Linear", BERT_LINEAR_X);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1);
    float alpha = BERT_NODE_FLOAT(node, "alpha", 1);
    bert_onnx_save_give(&c, "x", BERT_LINEAR_X);
    for (int32_t p = 0; p < parts; p++) {
        bert_onnx_save_give(&c, part_name(&c, "weight", p, parts), BERT_LINEAR_WEIGHT(p));
        bert_onnx_save_give(&c, part_name(&c, "bias", p, parts), BERT_LINEAR_BIAS(p));
    }
    bert_onnx_save_give(&c, "residual", BERT_LINEAR_RESIDUAL);
    if (BERT_NODE_INT(node, "transpose", 0)) bert_onnx_save_extend_name(&c, "_transposed");
    if (alpha != 1) {
        bert_onnx_save_extend_name(&c, "_scaled");
        bert_onnx_save_give_number(&c, "alpha", alpha);
    }
    name_optional(&c, "bias", parts, BERT_LINEAR_BIAS(0), 2);
    name_linear(&c, parts);
    return bert_onnx_save_finish(&c, nodes, linear_body, error);
}

static bool has_int_bias(const bert_onnx_saved_call *c, int32_t part) {
    const bert_value *bias = bert_node_in(c->node, BERT_QUANTIZED_LINEAR_BIAS(part));
    return bias && bias->info.dtype == BERT_INT32;
}

/* Integers of x and of the weight, multiplied; `x` is x's integers, their scale (NULL: the weight's holds it) and zero
 * point (NULL: none). */
static const char *integer_product(bert_onnx_saved_call *c, const char *const x[3], int32_t part, int32_t parts) {
    bool has_zero_point = bert_node_in(c->node, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)) != NULL;
    const char *zero_point = has_zero_point ? part_name(c, "weight_zero_point", part, parts) : NULL;
    const char *sum = bert_onnx_save_step_in(c, "", "MatMulInteger", part_name(c, "sum", part, parts), x[0],
                                             weight_of(c, part, parts), x[2], zero_point);
    if (has_int_bias(c, part)) sum = add_bias(c, sum, part, parts);
    const char *cast = bert_onnx_save_step_cast(c, BERT_FLOAT, part_name(c, "cast", part, parts), sum);
    const char *scale = part_name(c, "weight_scale", part, parts);
    if (x[1]) scale = bert_onnx_save_step(c, "Mul", part_name(c, "scale", part, parts), x[1], scale);
    return bert_onnx_save_step(c, "Mul", part_name(c, "product", part, parts), cast, scale);
}

/* x times what the weight's integers stand for. */
static const char *weight_only_product(bert_onnx_saved_call *c, int32_t part, int32_t parts) {
    bool has_zero_point = bert_node_in(c->node, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)) != NULL;
    const char *zero_point = has_zero_point ? part_name(c, "weight_zero_point", part, parts) : NULL;
    const char *weight = weight_of(c, part, parts), *scale = part_name(c, "weight_scale", part, parts);
    const char *wide = part_name(c, "dequantized", part, parts);
    if (c->dtype == BERT_FLOAT) {
        bert_onnx_save_step_in(c, "", "DequantizeLinear", wide, weight, scale, zero_point, NULL);
        bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", 1);
    } else {
        const char *number_of = bert_onnx_save_step_cast(c, c->dtype, part_name(c, "weight_cast", part, parts), weight);
        if (zero_point) {
            zero_point =
                bert_onnx_save_step_cast(c, c->dtype, part_name(c, "zero_point_cast", part, parts), zero_point);
            number_of = bert_onnx_save_step(c, "Sub", part_name(c, "centered", part, parts), number_of, zero_point);
        }
        bert_onnx_save_step(c, "Mul", wide, number_of, scale);
    }
    return bert_onnx_save_step(c, "MatMul", part_name(c, "product", part, parts), "x", wide);
}

/* Of y, which is computed for every row, those that the node has. */
static void take_place(bert_onnx_saved_call *c) {
    const int64_t place = BERT_NODE_INT(c->node, "place", BERT_EVERY_PLACE);
    const int32_t count = BERT_NODE_INT(c->node, "keepdims", 0) ? 1 : -1;
    if (place == BERT_EVERY_PLACE) return;
    c->inner_outputs[0] = bert_onnx_save_step(c, "Gather", "rows", c->inner_outputs[0],
                                              bert_onnx_save_step_ints(c, "place", &place, count));
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", 1);
}

static bert_status quantized_linear_body(bert_onnx_saved_call *c, bert_error *error) {
    int32_t parts = (int32_t)BERT_NODE_INT(c->node, "parts", 1);
    bool weight_only = BERT_NODE_INT(c->node, "weight_only", 0) != 0;
    const char *products[BERT_ONNX_MOST_SAVED_INPUTS] = {NULL}, *x[3] = {"x_quantized", "x_scale", "x_zero_point"};
    if (!weight_only && !bert_node_in(c->node, BERT_QUANTIZED_LINEAR_X_SCALE)) {
        bert_onnx_save_node(c->saver, &c->body, "", "DynamicQuantizeLinear", &(const char *){"x"}, 1, x, 3);
    } else if (!weight_only) {
        if (!bert_node_in(c->node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT)) x[2] = NULL;
        bert_onnx_save_step_in(c, "", "QuantizeLinear", x[0], "x", x[1], x[2], NULL);
        x[1] = NULL;
    }
    for (int32_t p = 0; p < parts; p++) {
        const char *product = weight_only ? weight_only_product(c, p, parts) : integer_product(c, x, p, parts);
        bool add = bert_node_in(c->node, BERT_QUANTIZED_LINEAR_BIAS(p)) && !has_int_bias(c, p);
        products[p] = add ? add_bias(c, product, p, parts) : product;
    }
    BERT_TRY(end_linear(c, products, parts, error));
    take_place(c);
    return BERT_OK;
}

static void name_quantized_linear(bert_onnx_saved_call *c, int32_t parts) {
    const int64_t place = BERT_NODE_INT(c->node, "place", BERT_EVERY_PLACE);
    if (BERT_NODE_INT(c->node, "weight_only", 0)) bert_onnx_save_extend_name(c, "_weight_only");
    if (bert_node_in(c->node, BERT_QUANTIZED_LINEAR_X_SCALE)) bert_onnx_save_extend_name(c, "_static");
    if (bert_node_in(c->node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT)) bert_onnx_save_extend_name(c, "_x_zero_point");
    if (BERT_NODE_INT(c->node, "transpose", 0)) bert_onnx_save_extend_name(c, "_transposed");
    name_optional(c, "zero_point", parts, BERT_QUANTIZED_LINEAR_ZERO_POINT(0), 4);
    name_optional(c, "bias", parts, BERT_QUANTIZED_LINEAR_BIAS(0), 4);
    for (int32_t p = 0; p < parts; p++) {
        if (has_int_bias(c, p)) bert_onnx_save_extend_name(c, "_int_bias_%" PRId32, p);
    }
    if (place != BERT_EVERY_PLACE) {
        bert_onnx_save_extend_name(c, place < 0 ? "_last_%" PRId64 : "_place_%" PRId64, place < 0 ? -place : place);
        if (BERT_NODE_INT(c->node, "keepdims", 0)) bert_onnx_save_extend_name(c, "_keepdims");
    }
    name_linear(c, parts);
}

bert_status bert_onnx_save_quantized_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                            bert_error *error) {
    static const char *const known[] = {"parts", "transpose", "activation", "weight_only", "place", "keepdims", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "QuantizedLinear", BERT_LINEAR_X);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    if (c.dtype != BERT_FLOAT && !BERT_NODE_INT(node, "weight_only", 0)) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "ONNX quantizes float tensors while a model runs, and none of type %s",
                         bert_dtype_name(c.dtype));
    }
    int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1);
    bert_onnx_save_give(&c, "x", BERT_LINEAR_X);
    bert_onnx_save_give(&c, "x_scale", BERT_QUANTIZED_LINEAR_X_SCALE);
    bert_onnx_save_give(&c, "x_zero_point", BERT_QUANTIZED_LINEAR_X_ZERO_POINT);
    for (int32_t p = 0; p < parts; p++) {
        bert_onnx_save_give(&c, part_name(&c, "weight", p, parts), BERT_QUANTIZED_LINEAR_WEIGHT(p));
        bert_onnx_save_give(&c, part_name(&c, "weight_scale", p, parts), BERT_QUANTIZED_LINEAR_SCALE(p));
        bert_onnx_save_give(&c, part_name(&c, "weight_zero_point", p, parts), BERT_QUANTIZED_LINEAR_ZERO_POINT(p));
        bert_onnx_save_give(&c, part_name(&c, "bias", p, parts), BERT_QUANTIZED_LINEAR_BIAS(p));
    }
    bert_onnx_save_give(&c, "residual", BERT_LINEAR_RESIDUAL);
    name_quantized_linear(&c, parts);
    return bert_onnx_save_finish(&c, nodes, quantized_linear_body, error);
}
