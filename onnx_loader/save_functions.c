/*
 * Canonical operators as functions of the file. What a function has to be told apart by is in its name
 * ("Linear_bias_gelu"): which inputs there are, which activation; numbers (epsilon, scale) are attributes of the call.
 *
 * Bodies spell what core/graph/canonical.h says, in the order of its sums, and such that the passes find it again.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/saver.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_INPUTS = 24, MOST_OUTPUTS = 3, MOST_ATTRIBUTES = 4 };

/* A call, and the function that it calls: the same inputs, outputs and attributes by their names inside and outside. */
typedef struct call {
    bert_onnx_saver *saver;
    const bert_node *node;
    char name[192];
    bert_dtype dtype; /* of the floats */
    const char *inner_inputs[MOST_INPUTS], *inputs[MOST_INPUTS];
    size_t input_count;
    size_t inputs_of_node; /* that were given */
    const char *inner_outputs[MOST_OUTPUTS], *outputs[MOST_OUTPUTS];
    size_t output_count;
    const char *attributes[MOST_ATTRIBUTES];
    float numbers[MOST_ATTRIBUTES];
    size_t attribute_count;
    bert_onnx_nodes body;
} call;

static void extend_name(call *c, const char *format, ...) BERT_PRINTF(2, 3);
static void extend_name(call *c, const char *format, ...) {
    size_t length = strlen(c->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->name + length, sizeof c->name - length, format, arguments);
    va_end(arguments);
}

static const bert_value *input_of(const bert_node *node, int32_t index) {
    return index < node->input_count ? node->inputs[index] : NULL;
}

/* Gives the function an input; its name inside, or NULL where the node has none. */
static const char *give_text(call *c, const char *inner, const char *outer) {
    c->inner_inputs[c->input_count] = bert_onnx_save_text(c->saver, inner);
    c->inputs[c->input_count] = outer;
    return c->inner_inputs[c->input_count++];
}

static const char *give(call *c, const char *inner, int32_t index) {
    const bert_value *value = input_of(c->node, index);
    c->inputs_of_node += value != NULL;
    return value ? give_text(c, inner, bert_onnx_save_name(c->saver, value)) : NULL;
}

static void give_number(call *c, const char *name, float number) {
    c->attributes[c->attribute_count] = name;
    c->numbers[c->attribute_count++] = number;
}

static void begin(call *c, bert_onnx_saver *saver, const bert_node *node, const char *name, int32_t float_input) {
    *c = (call){.saver = saver, .node = node};
    const bert_value *value = input_of(node, float_input);
    c->dtype = value ? value->info.dtype : BERT_FLOAT;
    extend_name(c, "%s", name);
}

/* A type that constants of the body depend on. */
static void name_type(call *c) {
    if (c->dtype != BERT_FLOAT) extend_name(c, "_%s", bert_dtype_name(c->dtype));
}

/* What this file does not know must not be lost. */
static bert_status check_attributes(const bert_node *node, const char *const *known, bert_error *error) {
    for (size_t i = 0; i < node->attribute_count; i++) {
        const char *name = node->attributes[i].name;
        size_t k = 0;
        while (known[k] && strcmp(known[k], name) != 0) k++;
        if (!known[k]) {
            return bert_fail(error, BERT_UNSUPPORTED, "its attribute %s has no spelling in ONNX's operators", name);
        }
    }
    return BERT_OK;
}

/* ---- Bodies ----------------------------------------------------------------------------------------------------- */

/* A node of the body; returns `output`. */
static const char *step_in(call *c, const char *domain, const char *op, const char *output, const char *a,
                           const char *b, const char *third, const char *fourth) {
    const char *inputs[] = {a, b, third, fourth};
    bert_onnx_save_node(c->saver, &c->body, domain, op, inputs, 4, &output, 1);
    return output;
}

static const char *step(call *c, const char *op, const char *output, const char *a, const char *b) {
    return step_in(c, "", op, output, a, b, NULL, NULL);
}

static BertOnnx__NodeProto *last(const call *c) {
    return c->body.count ? c->body.items[c->body.count - 1] : NULL;
}

static const char *number(call *c, const char *name, double value) {
    bert_onnx_save_float_constant(c->saver, &c->body, name, c->dtype, value);
    return name;
}

static const char *ints(call *c, const char *name, const int64_t *values, int32_t count) {
    bert_onnx_save_int_constant(c->saver, &c->body, name, values, count);
    return name;
}

static const char *cast_to(call *c, bert_dtype dtype, const char *output, const char *x) {
    step(c, "Cast", output, x, NULL);
    bert_onnx_save_int(c->saver, last(c), "to", (int64_t)dtype);
    return output;
}

/* An attribute of the call as a tensor. */
static const char *given_number(call *c, const char *attribute) {
    char *name = bert_onnx_save_format(c->saver, "%s_value", attribute);
    bert_onnx_save_node(c->saver, &c->body, "", "Constant", NULL, 0, (const char *const *)&name, 1);
    bert_onnx_save_reference(c->saver, last(c), "value_float", BERT_ONNX_FLOAT, attribute);
    if (c->dtype == BERT_FLOAT) return name;
    return cast_to(c, c->dtype, bert_onnx_save_format(c->saver, "%s_cast", attribute), name);
}

static const char *transpose(call *c, const char *output, const char *x, const int64_t *perm, size_t rank) {
    step(c, "Transpose", output, x, NULL);
    bert_onnx_save_ints(c->saver, last(c), "perm", perm, rank);
    return output;
}

static const char *gelu(call *c, const char *x, bool by_tanh) {
    if (c->saver->opset >= 20) {
        step(c, "Gelu", "activated", x, NULL);
        if (by_tanh) bert_onnx_save_string(c->saver, last(c), "approximate", "tanh");
        return "activated";
    }
    if (by_tanh) {
        const char *cube = step(c, "Mul", "cube", step(c, "Mul", "square", x, x), x);
        const char *small = step(c, "Mul", "small", cube, number(c, "third", 0.044715));
        const char *sum = step(c, "Add", "inner", x, small);
        step(c, "Tanh", "gate", step(c, "Mul", "scaled", sum, number(c, "root", sqrt(2 / acos(-1)))), NULL);
    } else {
        step(c, "Erf", "gate", step(c, "Div", "scaled", x, number(c, "root", sqrt(2))), NULL);
    }
    const char *factor = step(c, "Add", "factor", "gate", number(c, "one", 1));
    return step(c, "Mul", "activated", step(c, "Mul", "doubled", x, factor), number(c, "half", 0.5));
}

/* NULL for an activation that there is no spelling of. */
static const char *activate(call *c, const char *activation, const char *x) {
    if (strcmp(activation, "none") == 0) return x;
    if (strcmp(activation, "gelu") == 0) return gelu(c, x, false);
    if (strcmp(activation, "gelu_tanh") == 0) return gelu(c, x, true);
    if (strcmp(activation, "tanh") == 0) return step(c, "Tanh", "activated", x, NULL);
    if (strcmp(activation, "relu") == 0) return step(c, "Relu", "activated", x, NULL);
    if (strcmp(activation, "quick_gelu") != 0) return NULL;
    const char *gate = step(c, "Sigmoid", "gate", step(c, "Mul", "scaled", x, number(c, "factor", 1.702)), NULL);
    return step(c, "Mul", "activated", x, gate);
}

static bert_status add_function(call *c, bert_error *error) {
    bert_onnx_saver *saver = c->saver;
    BertOnnx__FunctionProto *function = BERT_ONNX_SAVE_NEW(saver, BertOnnx__FunctionProto, 1);
    BertOnnx__OperatorSetIdProto **imports = BERT_ONNX_SAVE_NEW(saver, BertOnnx__OperatorSetIdProto *, 2);
    char **names = BERT_ONNX_SAVE_NEW(saver, char *, MOST_INPUTS + MOST_OUTPUTS + MOST_ATTRIBUTES);
    if (saver->function_count == saver->function_capacity) {
        size_t capacity = 2 * saver->function_capacity + 16;
        BertOnnx__FunctionProto **grown = BERT_ONNX_SAVE_NEW(saver, BertOnnx__FunctionProto *, capacity);
        if (!grown) return bert_fail_memory(error, capacity * sizeof *grown, "functions of the file");
        if (saver->function_count) memcpy(grown, saver->functions, saver->function_count * sizeof *grown);
        saver->functions = grown;
        saver->function_capacity = capacity;
    }
    if (!function || !imports || !names) return bert_fail_memory(error, sizeof *function, "a function of the file");
    bert_onnx__function_proto__init(function);
    imports[0] = bert_onnx_save_import(saver, "", saver->opset);
    imports[1] = bert_onnx_save_import(saver, "com.microsoft", 1);
    for (size_t i = 0; i < c->input_count; i++) names[i] = (char *)c->inner_inputs[i];
    for (size_t i = 0; i < c->output_count; i++) names[MOST_INPUTS + i] = (char *)c->inner_outputs[i];
    for (size_t i = 0; i < c->attribute_count; i++) names[MOST_INPUTS + MOST_OUTPUTS + i] = (char *)c->attributes[i];
    function->name = bert_onnx_save_text(saver, c->name);
    function->domain = bert_onnx_save_text(saver, BERT_CANONICAL_DOMAIN);
    function->input = names;
    function->n_input = c->input_count;
    function->output = names + MOST_INPUTS;
    function->n_output = c->output_count;
    function->attribute = names + MOST_INPUTS + MOST_OUTPUTS;
    function->n_attribute = c->attribute_count;
    function->node = c->body.items;
    function->n_node = c->body.count;
    function->opset_import = imports;
    function->n_opset_import = 2;
    saver->functions[saver->function_count++] = function;
    if (bert_hash_set(saver->functions_by_name, function->name, strlen(function->name), function)) return BERT_OK;
    return bert_fail_memory(error, sizeof *function, "functions of the file");
}

/* Writes the call; `body` builds what it calls when the file has no such function yet. */
static bert_status finish(call *c, bert_onnx_nodes *nodes, bert_status (*body)(call *c, bert_error *error),
                          bert_error *error) {
    bert_onnx_saver *saver = c->saver;
    size_t present = 0;
    for (int32_t i = 0; i < c->node->input_count; i++) present += c->node->inputs[i] != NULL;
    if (c->inputs_of_node != present)
        return bert_fail(error, BERT_UNSUPPORTED, "not all of its inputs have a spelling");
    const BertOnnx__FunctionProto *known = bert_hash_get(saver->functions_by_name, c->name, strlen(c->name));
    if (!known) {
        BERT_TRY(body(c, error));
        BERT_TRY(add_function(c, error));
    }
    BertOnnx__NodeProto *node = bert_onnx_save_node(saver, nodes, BERT_CANONICAL_DOMAIN, c->name, c->inputs,
                                                    c->input_count, c->outputs, c->output_count);
    bert_onnx_save_node_name(saver, node, c->node->name);
    for (size_t i = 0; i < c->attribute_count; i++) {
        bert_onnx_save_float(saver, node, c->attributes[i], c->numbers[i]);
    }
    return BERT_OK;
}

static void give_output(call *c, const char *outer) {
    c->outputs[c->output_count++] = outer;
}

/* ---- Linear and QuantizedLinear --------------------------------------------------------------------------------- */

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
        if (!is_linear(node) || BERT_NODE_INT(node, "parts", 1) != 3 || input_of(node, BERT_LINEAR_RESIDUAL) ||
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
static void name_optional(call *c, const char *what, int32_t parts, int32_t first, int32_t stride) {
    char which[MOST_INPUTS + 1] = "";
    int32_t present = 0;
    for (int32_t p = 0; p < parts && p < MOST_INPUTS; p++) {
        bool is_there = input_of(c->node, first + stride * p) != NULL;
        which[p] = is_there ? '1' : '0';
        present += is_there;
    }
    if (present == parts) extend_name(c, "_%s", what);
    if (present && present < parts) extend_name(c, "_%s_%s", what, which);
}

static const char *part_name(call *c, const char *name, int32_t part, int32_t parts) {
    return parts == 1 ? name : bert_onnx_save_format(c->saver, "%s_%" PRId32, name, part);
}

/* What a Linear has in common with a QuantizedLinear: after its products are there by name. */
static bert_status end_linear(call *c, const char *const *products, int32_t parts, bert_error *error) {
    if (c->output_count > 1) {
        for (int32_t p = 0; p < parts; p++) c->inner_outputs[p] = products[p];
        return BERT_OK;
    }
    const char *y = products[0];
    if (parts > 1) {
        y = "joined";
        bert_onnx_save_node(c->saver, &c->body, "", "Concat", products, (size_t)parts, &y, 1);
        bert_onnx_save_int(c->saver, last(c), "axis", -1);
    }
    const char *activation = BERT_NODE_STRING(c->node, "activation", "none");
    y = activate(c, activation, y);
    if (!y) return bert_fail(error, BERT_UNSUPPORTED, "its activation %s has no spelling", activation);
    if (input_of(c->node, BERT_LINEAR_RESIDUAL)) y = step(c, "Add", "y", y, "residual");
    c->inner_outputs[0] = y;
    return BERT_OK;
}

static void name_linear(call *c, int32_t parts) {
    const char *activation = BERT_NODE_STRING(c->node, "activation", "none");
    const bert_onnx_parts *split = c->saver->parts[c->node->outputs[0]->id];
    if (strcmp(activation, "none") != 0) extend_name(c, "_%s", activation);
    if (input_of(c->node, BERT_LINEAR_RESIDUAL)) extend_name(c, "_residual");
    if (parts > 1) extend_name(c, split ? "_%" PRId32 "_parts" : "_%" PRId32 "_joined", parts);
    name_type(c);
    for (int32_t p = 0; split && p < parts; p++) give_output(c, split->names[p]);
    if (!split) give_output(c, bert_onnx_save_name(c->saver, c->node->outputs[0]));
}

/* The weight as [K, N]. */
static const char *weight_of(call *c, int32_t part, int32_t parts) {
    static const int64_t swap[] = {1, 0};
    const char *weight = part_name(c, "weight", part, parts);
    if (!BERT_NODE_INT(c->node, "transpose", 0)) return weight;
    return transpose(c, part_name(c, "transposed", part, parts), weight, swap, 2);
}

static const char *add_bias(call *c, const char *product, int32_t part, int32_t parts) {
    return step(c, "Add", part_name(c, "biased", part, parts), product, part_name(c, "bias", part, parts));
}

static bert_status linear_body(call *c, bert_error *error) {
    int32_t parts = (int32_t)BERT_NODE_INT(c->node, "parts", 1);
    bool transposed = BERT_NODE_INT(c->node, "transpose", 0) != 0;
    bool scaled = BERT_NODE_FLOAT(c->node, "alpha", 1) != 1;
    const char *products[MOST_INPUTS] = {NULL};
    for (int32_t p = 0; p < parts; p++) {
        const char *weight = part_name(c, "weight", p, parts);
        const char *product = part_name(c, "product", p, parts);
        if (scaled) {
            step_in(c, "com.microsoft", "FusedMatMul", product, "x", weight, NULL, NULL);
            bert_onnx_save_reference(c->saver, last(c), "alpha", BERT_ONNX_FLOAT, "alpha");
            bert_onnx_save_int(c->saver, last(c), "transB", transposed);
        } else {
            step(c, "MatMul", product, "x", weight_of(c, p, parts));
        }
        products[p] = input_of(c->node, BERT_LINEAR_BIAS(p)) ? add_bias(c, product, p, parts) : product;
    }
    return end_linear(c, products, parts, error);
}

static bert_status save_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                               bert_error *error) {
    static const char *const known[] = {"parts", "transpose", "alpha", "activation", NULL};
    call c;
    begin(&c, saver, node, "Linear", BERT_LINEAR_X);
    BERT_TRY(check_attributes(node, known, error));
    int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1);
    float alpha = BERT_NODE_FLOAT(node, "alpha", 1);
    give(&c, "x", BERT_LINEAR_X);
    for (int32_t p = 0; p < parts; p++) {
        give(&c, part_name(&c, "weight", p, parts), BERT_LINEAR_WEIGHT(p));
        give(&c, part_name(&c, "bias", p, parts), BERT_LINEAR_BIAS(p));
    }
    give(&c, "residual", BERT_LINEAR_RESIDUAL);
    if (BERT_NODE_INT(node, "transpose", 0)) extend_name(&c, "_transposed");
    if (alpha != 1) {
        extend_name(&c, "_scaled");
        give_number(&c, "alpha", alpha);
    }
    name_optional(&c, "bias", parts, BERT_LINEAR_BIAS(0), 2);
    name_linear(&c, parts);
    return finish(&c, nodes, linear_body, error);
}

static bool has_int_bias(const call *c, int32_t part) {
    const bert_value *bias = input_of(c->node, BERT_QUANTIZED_LINEAR_BIAS(part));
    return bias && bias->info.dtype == BERT_INT32;
}

/* Integers of x and of the weight, multiplied; `x` is x's integers, their scale (NULL: the weight's holds it) and zero
 * point (NULL: none). */
static const char *integer_product(call *c, const char *const x[3], int32_t part, int32_t parts) {
    bool has_zero_point = input_of(c->node, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)) != NULL;
    const char *zero_point = has_zero_point ? part_name(c, "weight_zero_point", part, parts) : NULL;
    const char *sum = step_in(c, "", "MatMulInteger", part_name(c, "sum", part, parts), x[0], weight_of(c, part, parts),
                              x[2], zero_point);
    if (has_int_bias(c, part)) sum = add_bias(c, sum, part, parts);
    const char *cast = cast_to(c, BERT_FLOAT, part_name(c, "cast", part, parts), sum);
    const char *scale = part_name(c, "weight_scale", part, parts);
    if (x[1]) scale = step(c, "Mul", part_name(c, "scale", part, parts), x[1], scale);
    return step(c, "Mul", part_name(c, "product", part, parts), cast, scale);
}

/* x times what the weight's integers stand for. */
static const char *weight_only_product(call *c, int32_t part, int32_t parts) {
    bool has_zero_point = input_of(c->node, BERT_QUANTIZED_LINEAR_ZERO_POINT(part)) != NULL;
    const char *zero_point = has_zero_point ? part_name(c, "weight_zero_point", part, parts) : NULL;
    const char *weight = weight_of(c, part, parts), *scale = part_name(c, "weight_scale", part, parts);
    const char *wide = part_name(c, "dequantized", part, parts);
    if (c->dtype == BERT_FLOAT) {
        step_in(c, "", "DequantizeLinear", wide, weight, scale, zero_point, NULL);
        bert_onnx_save_int(c->saver, last(c), "axis", 1);
    } else {
        const char *number_of = cast_to(c, c->dtype, part_name(c, "weight_cast", part, parts), weight);
        if (zero_point) {
            zero_point = cast_to(c, c->dtype, part_name(c, "zero_point_cast", part, parts), zero_point);
            number_of = step(c, "Sub", part_name(c, "centered", part, parts), number_of, zero_point);
        }
        step(c, "Mul", wide, number_of, scale);
    }
    return step(c, "MatMul", part_name(c, "product", part, parts), "x", wide);
}

/* Of y, which is computed for every row, those that the node has. */
static void take_place(call *c) {
    const int64_t place = BERT_NODE_INT(c->node, "place", BERT_EVERY_PLACE);
    const int32_t count = BERT_NODE_INT(c->node, "keepdims", 0) ? 1 : -1;
    if (place == BERT_EVERY_PLACE) return;
    c->inner_outputs[0] = step(c, "Gather", "rows", c->inner_outputs[0], ints(c, "place", &place, count));
    bert_onnx_save_int(c->saver, last(c), "axis", 1);
}

static bert_status quantized_linear_body(call *c, bert_error *error) {
    int32_t parts = (int32_t)BERT_NODE_INT(c->node, "parts", 1);
    bool weight_only = BERT_NODE_INT(c->node, "weight_only", 0) != 0;
    const char *products[MOST_INPUTS] = {NULL}, *x[3] = {"x_quantized", "x_scale", "x_zero_point"};
    if (!weight_only && !input_of(c->node, BERT_QUANTIZED_LINEAR_X_SCALE)) {
        bert_onnx_save_node(c->saver, &c->body, "", "DynamicQuantizeLinear", &(const char *){"x"}, 1, x, 3);
    } else if (!weight_only) {
        if (!input_of(c->node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT)) x[2] = NULL;
        step_in(c, "", "QuantizeLinear", x[0], "x", x[1], x[2], NULL);
        x[1] = NULL;
    }
    for (int32_t p = 0; p < parts; p++) {
        const char *product = weight_only ? weight_only_product(c, p, parts) : integer_product(c, x, p, parts);
        bool add = input_of(c->node, BERT_QUANTIZED_LINEAR_BIAS(p)) && !has_int_bias(c, p);
        products[p] = add ? add_bias(c, product, p, parts) : product;
    }
    BERT_TRY(end_linear(c, products, parts, error));
    take_place(c);
    return BERT_OK;
}

static void name_quantized_linear(call *c, int32_t parts) {
    const int64_t place = BERT_NODE_INT(c->node, "place", BERT_EVERY_PLACE);
    if (BERT_NODE_INT(c->node, "weight_only", 0)) extend_name(c, "_weight_only");
    if (input_of(c->node, BERT_QUANTIZED_LINEAR_X_SCALE)) extend_name(c, "_static");
    if (input_of(c->node, BERT_QUANTIZED_LINEAR_X_ZERO_POINT)) extend_name(c, "_x_zero_point");
    if (BERT_NODE_INT(c->node, "transpose", 0)) extend_name(c, "_transposed");
    name_optional(c, "zero_point", parts, BERT_QUANTIZED_LINEAR_ZERO_POINT(0), 4);
    name_optional(c, "bias", parts, BERT_QUANTIZED_LINEAR_BIAS(0), 4);
    for (int32_t p = 0; p < parts; p++) {
        if (has_int_bias(c, p)) extend_name(c, "_int_bias_%" PRId32, p);
    }
    if (place != BERT_EVERY_PLACE) {
        extend_name(c, place < 0 ? "_last_%" PRId64 : "_place_%" PRId64, place < 0 ? -place : place);
        if (BERT_NODE_INT(c->node, "keepdims", 0)) extend_name(c, "_keepdims");
    }
    name_linear(c, parts);
}

static bert_status save_quantized_linear(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                         bert_error *error) {
    static const char *const known[] = {"parts", "transpose", "activation", "weight_only", "place", "keepdims", NULL};
    call c;
    begin(&c, saver, node, "QuantizedLinear", BERT_LINEAR_X);
    BERT_TRY(check_attributes(node, known, error));
    if (c.dtype != BERT_FLOAT && !BERT_NODE_INT(node, "weight_only", 0)) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "ONNX quantizes float tensors while a model runs, and none of type %s",
                         bert_dtype_name(c.dtype));
    }
    int32_t parts = (int32_t)BERT_NODE_INT(node, "parts", 1);
    give(&c, "x", BERT_LINEAR_X);
    give(&c, "x_scale", BERT_QUANTIZED_LINEAR_X_SCALE);
    give(&c, "x_zero_point", BERT_QUANTIZED_LINEAR_X_ZERO_POINT);
    for (int32_t p = 0; p < parts; p++) {
        give(&c, part_name(&c, "weight", p, parts), BERT_QUANTIZED_LINEAR_WEIGHT(p));
        give(&c, part_name(&c, "weight_scale", p, parts), BERT_QUANTIZED_LINEAR_SCALE(p));
        give(&c, part_name(&c, "weight_zero_point", p, parts), BERT_QUANTIZED_LINEAR_ZERO_POINT(p));
        give(&c, part_name(&c, "bias", p, parts), BERT_QUANTIZED_LINEAR_BIAS(p));
    }
    give(&c, "residual", BERT_LINEAR_RESIDUAL);
    name_quantized_linear(&c, parts);
    return finish(&c, nodes, quantized_linear_body, error);
}

/* ---- Attention -------------------------------------------------------------------------------------------------- */

/* Elements of a head; -1: not known. */
static int64_t head_size(const bert_node *node) {
    const bert_shape *shape = &node->outputs[0]->info.shape;
    int64_t heads = BERT_NODE_INT(node, "heads", 1);
    bool is_known = shape->rank == 3 && bert_dim_known(shape->dims[2]) && heads > 0;
    return is_known ? shape->dims[2] / heads : -1;
}

static const char *head_view(call *c, const char *of, const int64_t perm[4]) {
    const char *split = step(c, "Reshape", bert_onnx_save_format(c->saver, "%s_split", of), of, "heads_shape");
    return transpose(c, bert_onnx_save_format(c->saver, "%s_heads", of), split, perm, 4);
}

static const char *softmax(call *c, const char *scores) {
    const char *p = step(c, "Softmax", "probabilities", scores, NULL);
    bert_onnx_save_int(c->saver, last(c), "axis", -1);
    if (strcmp(BERT_NODE_STRING(c->node, "masked_rows", "nan"), "zero") != 0) return p;
    return step_in(c, "", "Where", "guarded", step(c, "IsNaN", "is_nan", p, NULL), number(c, "zero", 0), p, NULL);
}

static bert_status attention_body(call *c, bert_error *error) {
    static const int64_t bhsd[4] = {0, 2, 1, 3}, bhds[4] = {0, 2, 3, 1};
    int64_t heads = BERT_NODE_INT(c->node, "heads", 1), size = head_size(c->node);
    if (strcmp(c->inner_inputs[0], "packed") == 0) {
        static const char *const parts[] = {"query", "key", "value"};
        bert_onnx_save_node(c->saver, &c->body, "", "Split", &(const char *){"packed"}, 1, parts, 3);
        bert_onnx_save_int(c->saver, last(c), "axis", -1);
        if (c->saver->opset >= 18) bert_onnx_save_int(c->saver, last(c), "num_outputs", 3);
    }
    ints(c, "heads_shape", (int64_t[]){0, 0, heads, size}, 4);
    const char *query = head_view(c, "query", bhsd), *key = head_view(c, "key", bhds);
    const char *value = head_view(c, "value", bhsd);
    const char *product = step(c, "MatMul", "product", query, key);
    const char *scores = step(c, "Mul", "scores", product, given_number(c, "scale"));
    if (input_of(c->node, BERT_ATTENTION_BIAS)) scores = step(c, "Add", "biased", scores, "bias");
    if (input_of(c->node, BERT_ATTENTION_MASK)) {
        scores = step_in(c, "", "Where", "masked", "mask", scores, given_number(c, "mask_value"), NULL);
    }
    const char *context = step(c, "MatMul", "context", softmax(c, scores), value);
    ints(c, "shape", (int64_t[]){0, 0, size < 0 ? -1 : heads * size}, 3);
    c->inner_outputs[0] = step(c, "Reshape", "y", transpose(c, "side_by_side", context, bhsd, 4), "shape");
    return BERT_OK;
}

static bert_status save_attention(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error) {
    static const char *const known[] = {"heads", "scale", "packed", "mask_value", "masked_rows", NULL};
    call c;
    begin(&c, saver, node, "Attention", BERT_ATTENTION_Q);
    BERT_TRY(check_attributes(node, known, error));
    extend_name(&c, "_%" PRId64 "_heads", BERT_NODE_INT(node, "heads", 1));
    if (head_size(node) >= 0) extend_name(&c, "_of_%" PRId64, head_size(node));
    const bert_onnx_parts *parts = saver->parts[node->inputs[BERT_ATTENTION_Q]->id];
    static const char *const inner[] = {"query", "key", "value"};
    bool packed = BERT_NODE_INT(node, "packed", 0) && !parts;
    if (packed) {
        give(&c, "packed", BERT_ATTENTION_Q);
        extend_name(&c, "_packed");
    }
    for (int p = 0; p < 3 && !packed; p++) {
        if (parts) {
            c.inputs_of_node += p == 0;
            give_text(&c, inner[p], parts->names[p]);
        } else {
            give(&c, inner[p], p);
        }
    }
    if (give(&c, "bias", BERT_ATTENTION_BIAS)) extend_name(&c, "_bias");
    give_number(&c, "scale", BERT_NODE_FLOAT(node, "scale", 1));
    if (give(&c, "mask", BERT_ATTENTION_MASK)) {
        extend_name(&c, "_mask");
        give_number(&c, "mask_value", BERT_NODE_FLOAT(node, "mask_value", -INFINITY));
    }
    if (strcmp(BERT_NODE_STRING(node, "masked_rows", "nan"), "zero") == 0) extend_name(&c, "_guarded");
    name_type(&c);
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return finish(&c, nodes, attention_body, error);
}

/* One term of DisentangledBias: heads of `content` times those of `positions`, at the `indices`. */
static const char *position_term(call *c, const char *content, const char *positions, const char *indices) {
    static const int64_t bhsd[4] = {0, 2, 1, 3}, bhds[4] = {0, 2, 3, 1};
    bert_onnx_saver *saver = c->saver;
    const char *heads = head_view(c, content, bhsd), *rows = head_view(c, positions, bhds);
    const char *product = step(c, "MatMul", bert_onnx_save_format(saver, "%s_products", positions), heads, rows);
    const char *all = step(c, "Shape", bert_onnx_save_format(saver, "%s_shape", product), product, NULL);
    const char *first = step(c, "Gather", bert_onnx_save_format(saver, "%s_first", all), all, "first_two");
    const char *last_two = step(c, "Shape", bert_onnx_save_format(saver, "%s_shape", indices), indices, NULL);
    const char *shape = step(c, "Concat", bert_onnx_save_format(saver, "%s_expanded_shape", indices), first, last_two);
    bert_onnx_save_int(saver, last(c), "axis", 0);
    const char *by = step(c, "Expand", bert_onnx_save_format(saver, "%s_expanded", indices), indices, shape);
    step(c, "GatherElements", bert_onnx_save_format(saver, "%s_gathered", positions), product, by);
    bert_onnx_save_int(saver, last(c), "axis", -1);
    return bert_onnx_save_format(saver, "%s_gathered", positions);
}

static bert_status disentangled_bias_body(call *c, bert_error *error) {
    static const int64_t turn[4] = {0, 1, 3, 2};
    const int64_t heads = BERT_NODE_INT(c->node, "heads", 1);
    const bert_dim width = input_of(c->node, BERT_DISENTANGLED_Q)->info.shape.dims[2];
    const char *keys = NULL, *queries = NULL;
    ints(c, "heads_shape", (int64_t[]){0, 0, heads, width / heads}, 4);
    ints(c, "first_two", (int64_t[]){0, 1}, 2);
    if (input_of(c->node, BERT_DISENTANGLED_KEYS))
        keys = position_term(c, "query", "position_keys", "content_to_position");
    if (input_of(c->node, BERT_DISENTANGLED_QUERIES)) {
        queries = position_term(c, "key", "position_queries", "position_to_content");
        queries = transpose(c, "turned", queries, turn, 4);
    }
    const char *sum = keys && queries ? step(c, "Add", "sum", keys, queries) : keys ? keys : queries;
    c->inner_outputs[0] = step(c, "Mul", "y", sum, given_number(c, "scale"));
    return BERT_OK;
}

static bert_status save_disentangled_bias(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                          bert_error *error) {
    static const char *const known[] = {"heads", "scale", NULL};
    const int64_t heads = BERT_NODE_INT(node, "heads", 1);
    const bert_shape *q = &node->inputs[BERT_DISENTANGLED_Q]->info.shape;
    call c;
    begin(&c, saver, node, "DisentangledBias", BERT_DISENTANGLED_Q);
    BERT_TRY(check_attributes(node, known, error));
    if (q->rank != 3 || !bert_dim_known(q->dims[2]) ||
        (!input_of(node, BERT_DISENTANGLED_KEYS) && !input_of(node, BERT_DISENTANGLED_QUERIES)))
        return bert_fail(error, BERT_UNSUPPORTED, "it has no positions, or heads whose size isn't known");
    extend_name(&c, "_%" PRId64 "_heads_of_%" PRId64, heads, q->dims[2] / heads);
    give(&c, "query", BERT_DISENTANGLED_Q);
    give(&c, "key", BERT_DISENTANGLED_K);
    if (give(&c, "position_keys", BERT_DISENTANGLED_KEYS)) extend_name(&c, "_keys");
    give(&c, "content_to_position", BERT_DISENTANGLED_C2P);
    if (give(&c, "position_queries", BERT_DISENTANGLED_QUERIES)) extend_name(&c, "_queries");
    give(&c, "position_to_content", BERT_DISENTANGLED_P2C);
    give_number(&c, "scale", BERT_NODE_FLOAT(node, "scale", 1));
    name_type(&c);
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return finish(&c, nodes, disentangled_bias_body, error);
}

/* ---- Embedding and SkipLayerNormalization ----------------------------------------------------------------------- */

static const char *normalize(call *c, const char *x, const char *beta) {
    bool simplified = BERT_NODE_INT(c->node, "simplified", 0) != 0;
    const char *op = !simplified             ? "LayerNormalization"
                     : c->saver->opset >= 23 ? "RMSNormalization"
                                             : "SimplifiedLayerNormalization";
    step_in(c, "", op, "y", x, "gamma", beta, NULL);
    bert_onnx_save_int(c->saver, last(c), "axis", -1);
    bert_onnx_save_reference(c->saver, last(c), "epsilon", BERT_ONNX_FLOAT, "epsilon");
    return "y";
}

/* One of the tables: what its inputs are called, and where it stands among the node's. */
typedef struct table {
    const char *name;
    int32_t ids, rows;
} table;

static const table tables[] = {{"word", BERT_EMBEDDING_WORD_IDS, BERT_EMBEDDING_WORD_TABLE},
                               {"type", BERT_EMBEDDING_TYPE_IDS, BERT_EMBEDDING_TYPE_TABLE},
                               {"position", BERT_EMBEDDING_POSITION_IDS, BERT_EMBEDDING_POSITION_TABLE}};
enum { TABLES = sizeof tables / sizeof tables[0] };

static const char *table_text(call *c, const table *t, const char *what) {
    return bert_onnx_save_format(c->saver, "%s_%s", t->name, what);
}

/* The table as floats. */
static const char *float_table(call *c, const table *t) {
    const char *rows = table_text(c, t, "table");
    if (!input_of(c->node, BERT_EMBEDDING_SCALE(t->rows))) return rows;
    rows = cast_to(c, c->dtype, table_text(c, t, "cast"), rows);
    if (input_of(c->node, BERT_EMBEDDING_ZERO_POINT(t->rows))) {
        const char *zero = cast_to(c, c->dtype, table_text(c, t, "zero_cast"), table_text(c, t, "zero_point"));
        rows = step(c, "Sub", table_text(c, t, "centered"), rows, zero);
    }
    return step(c, "Mul", table_text(c, t, "floats"), rows, table_text(c, t, "scale"));
}

static bert_status embedding_body(call *c, bert_error *error) {
    const char *sum = NULL;
    for (int i = 0; i < TABLES; i++) {
        const table *t = &tables[i];
        if (!input_of(c->node, t->ids)) continue;
        const char *rows = step(c, "Gather", table_text(c, t, "rows"), float_table(c, t), table_text(c, t, "ids"));
        sum = sum ? step(c, "Add", table_text(c, t, "sum"), sum, rows) : rows;
    }
    if (input_of(c->node, BERT_EMBEDDING_GAMMA)) {
        sum = normalize(c, sum, input_of(c->node, BERT_EMBEDDING_BETA) ? "beta" : NULL);
    }
    c->inner_outputs[0] = sum;
    return BERT_OK;
}

static void give_table(call *c, const table *t) {
    if (!give(c, table_text(c, t, "ids"), t->ids)) return;
    give(c, table_text(c, t, "table"), t->rows);
    bool bytes = give(c, table_text(c, t, "scale"), BERT_EMBEDDING_SCALE(t->rows)) != NULL;
    bool centered = give(c, table_text(c, t, "zero_point"), BERT_EMBEDDING_ZERO_POINT(t->rows)) != NULL;
    extend_name(c, "_%s%s%s", t->name, bytes ? "_bytes" : "", centered ? "_zero_point" : "");
}

static bert_status save_embedding(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error) {
    static const char *const known[] = {"epsilon", NULL};
    call c;
    begin(&c, saver, node, "Embedding", BERT_EMBEDDING_WORD_TABLE);
    BERT_TRY(check_attributes(node, known, error));
    c.dtype = node->outputs[0]->info.dtype;
    for (int i = 0; i < TABLES; i++) give_table(&c, &tables[i]);
    if (give(&c, "gamma", BERT_EMBEDDING_GAMMA)) {
        extend_name(&c, "_normalized");
        give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-5F));
        if (!give(&c, "beta", BERT_EMBEDDING_BETA)) extend_name(&c, "_no_beta");
    }
    name_type(&c);
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return finish(&c, nodes, embedding_body, error);
}

static bert_status skip_layer_normalization_body(call *c, bert_error *error) {
    const char *x = "x";
    if (input_of(c->node, BERT_SKIP_BIAS)) x = step(c, "Add", "biased", x, "bias");
    const char *sum = step(c, "Add", "sum", x, "skip");
    c->inner_outputs[0] = normalize(c, sum, input_of(c->node, BERT_SKIP_BETA) ? "beta" : NULL);
    if (c->output_count > 1) c->inner_outputs[1] = sum;
    return BERT_OK;
}

static bert_status save_skip_layer_normalization(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                                 bert_error *error) {
    static const char *const known[] = {"epsilon", "simplified", NULL};
    call c;
    begin(&c, saver, node, "SkipLayerNormalization", BERT_SKIP_X);
    BERT_TRY(check_attributes(node, known, error));
    give(&c, "x", BERT_SKIP_X);
    give(&c, "skip", BERT_SKIP_SKIP);
    give(&c, "gamma", BERT_SKIP_GAMMA);
    if (!give(&c, "beta", BERT_SKIP_BETA)) extend_name(&c, "_no_beta");
    if (give(&c, "bias", BERT_SKIP_BIAS)) extend_name(&c, "_bias");
    if (BERT_NODE_INT(node, "simplified", 0)) extend_name(&c, "_simplified");
    give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-5F));
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    if (node->output_count > 1 && node->outputs[1]) {
        extend_name(&c, "_sum");
        give_output(&c, bert_onnx_save_name(saver, node->outputs[1]));
    }
    return finish(&c, nodes, skip_layer_normalization_body, error);
}

/* ---- Pool ------------------------------------------------------------------------------------------------------- */

/* A reduction of x [.., ..] over dimension 1. */
static const char *reduce(call *c, const char *op, const char *output, const char *x, bool by_input, bool keep) {
    static const int64_t one[] = {1};
    step(c, op, output, x, by_input ? "axis" : NULL);
    if (!by_input) bert_onnx_save_ints(c->saver, last(c), "axes", one, 1);
    bert_onnx_save_int(c->saver, last(c), "keepdims", keep);
    return output;
}

static bert_status pool_body(call *c, bert_error *error) {
    ints(c, "axis", (int64_t[]){1}, 1);
    ints(c, "last", (int64_t[]){2}, 1);
    const char *weights = step(c, "Unsqueeze", "rows", "mask", "last");
    if (input_of(c->node, BERT_POOL_MASK)->info.dtype != c->dtype) weights = cast_to(c, c->dtype, "weights", weights);
    const char *sum = reduce(c, "ReduceSum", "sum", step(c, "Mul", "counted", "x", weights), true, false);
    const char *count = reduce(c, "ReduceSum", "count", weights, true, false);
    const char *divisor = step(c, "Max", "divisor", count, given_number(c, "epsilon"));
    c->inner_outputs[0] = step(c, "Div", "mean", sum, divisor);
    if (!BERT_NODE_INT(c->node, "normalize", 0)) return BERT_OK;
    const char *length = reduce(c, "ReduceL2", "length", "mean", c->saver->opset >= 18, true);
    c->inner_outputs[0] = step(c, "Div", "y", "mean", step(c, "Max", "bounded", length, number(c, "least", 1e-12)));
    return BERT_OK;
}

/* The mean of the tokens that a mask counts: passes make no other. */
static bert_status save_pool(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes, bert_error *error) {
    static const char *const known[] = {"pooling", "epsilon", "normalize", NULL};
    call c;
    begin(&c, saver, node, "Pool", BERT_POOL_X);
    BERT_TRY(check_attributes(node, known, error));
    const bert_value *mask = input_of(node, BERT_POOL_MASK);
    if (strcmp(BERT_NODE_STRING(node, "pooling", ""), "mean") != 0 || !mask) {
        return bert_fail(error, BERT_UNSUPPORTED, "only the mean by a mask has a spelling in ONNX's operators");
    }
    give(&c, "x", BERT_POOL_X);
    give(&c, "mask", BERT_POOL_MASK);
    extend_name(&c, "_mean_%s", mask->info.dtype == c.dtype ? "weights" : "mask");
    give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-9F));
    if (BERT_NODE_INT(node, "normalize", 0)) extend_name(&c, "_normalized");
    name_type(&c);
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return finish(&c, nodes, pool_body, error);
}

/* ---- Lookup ----------------------------------------------------------------------------------------------------- */

static bert_status lookup_body(call *c, bert_error *error) {
    c->inner_outputs[0] = step(c, "Gather", "y", "table", cast_to(c, BERT_INT32, "places", "x"));
    return BERT_OK;
}

static bert_status save_lookup(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                               bert_error *error) {
    call c;
    begin(&c, saver, node, "Lookup", BERT_LOOKUP_X);
    give(&c, "x", BERT_LOOKUP_X);
    give(&c, "table", BERT_LOOKUP_TABLE);
    give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return finish(&c, nodes, lookup_body, error);
}

/* ---- All -------------------------------------------------------------------------------------------------------- */

bert_status bert_onnx_save_canonical(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error) {
    switch (node->op->id) {
    case BERT_OP_BERTC_Linear:
        return save_linear(saver, node, nodes, error);
    case BERT_OP_BERTC_QuantizedLinear:
        return save_quantized_linear(saver, node, nodes, error);
    case BERT_OP_BERTC_Attention:
        return save_attention(saver, node, nodes, error);
    case BERT_OP_BERTC_DisentangledBias:
        return save_disentangled_bias(saver, node, nodes, error);
    case BERT_OP_BERTC_Embedding:
        return save_embedding(saver, node, nodes, error);
    case BERT_OP_BERTC_Lookup:
        return save_lookup(saver, node, nodes, error);
    case BERT_OP_BERTC_Pool:
        return save_pool(saver, node, nodes, error);
    case BERT_OP_BERTC_SkipLayerNormalization:
        return save_skip_layer_normalization(saver, node, nodes, error);
    default:
        return bert_fail(error, BERT_UNSUPPORTED, "this operator has no spelling in ONNX's");
    }
}
