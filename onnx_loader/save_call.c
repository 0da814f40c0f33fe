/* Calls of functions of the file, and the bodies of these functions. */
#include "onnx_loader/save_call.h"

#include "core/base/error.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void bert_onnx_save_extend_name(bert_onnx_saved_call *c, const char *format, ...) {
    size_t length = strlen(c->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->name + length, sizeof c->name - length, format, arguments);
    va_end(arguments);
}

const char *bert_onnx_save_give_text(bert_onnx_saved_call *c, const char *inner, const char *outer) {
    c->inner_inputs[c->input_count] = bert_onnx_save_text(c->saver, inner);
    c->inputs[c->input_count] = outer;
    return c->inner_inputs[c->input_count++];
}

const char *bert_onnx_save_give(bert_onnx_saved_call *c, const char *inner, int32_t index) {
    const bert_value *value = bert_node_in(c->node, index);
    c->inputs_of_node += value != NULL;
    return value ? bert_onnx_save_give_text(c, inner, bert_onnx_save_name(c->saver, value)) : NULL;
}

void bert_onnx_save_give_number(bert_onnx_saved_call *c, const char *name, float number) {
    c->attributes[c->attribute_count] = name;
    c->numbers[c->attribute_count++] = number;
}

void bert_onnx_save_give_output(bert_onnx_saved_call *c, const char *outer) {
    c->outputs[c->output_count++] = outer;
}

void bert_onnx_save_begin(bert_onnx_saved_call *c, bert_onnx_saver *saver, const bert_node *node, const char *name,
                          int32_t float_input) {
    *c = (bert_onnx_saved_call){.saver = saver, .node = node};
    const bert_value *value = bert_node_in(node, float_input);
    c->dtype = value ? value->info.dtype : BERT_FLOAT;
    bert_onnx_save_extend_name(c, "%s", name);
}

void bert_onnx_save_name_type(bert_onnx_saved_call *c) {
    if (c->dtype != BERT_FLOAT) bert_onnx_save_extend_name(c, "_%s", bert_dtype_name(c->dtype));
}

bert_status bert_onnx_save_check_attributes(const bert_node *node, const char *const *known, bert_error *error) {
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

const char *bert_onnx_save_step_in(bert_onnx_saved_call *c, const char *domain, const char *op, const char *output,
                                   const char *a, const char *b, const char *third, const char *fourth) {
    const char *inputs[] = {a, b, third, fourth};
    bert_onnx_save_node(c->saver, &c->body, domain, op, inputs, 4, &output, 1);
    return output;
}

const char *bert_onnx_save_step(bert_onnx_saved_call *c, const char *op, const char *output, const char *a,
                                const char *b) {
    return bert_onnx_save_step_in(c, "", op, output, a, b, NULL, NULL);
}

BertOnnx__NodeProto *bert_onnx_save_last_step(const bert_onnx_saved_call *c) {
    return c->body.count ? c->body.items[c->body.count - 1] : NULL;
}

const char *bert_onnx_save_step_number(bert_onnx_saved_call *c, const char *name, double value) {
    bert_onnx_save_float_constant(c->saver, &c->body, name, c->dtype, value);
    return name;
}

const char *bert_onnx_save_step_ints(bert_onnx_saved_call *c, const char *name, const int64_t *values, int32_t count) {
    bert_onnx_save_int_constant(c->saver, &c->body, name, values, count);
    return name;
}

const char *bert_onnx_save_step_cast(bert_onnx_saved_call *c, bert_dtype dtype, const char *output, const char *x) {
    bert_onnx_save_step(c, "Cast", output, x, NULL);
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "to", (int64_t)dtype);
    return output;
}

const char *bert_onnx_save_step_given_number(bert_onnx_saved_call *c, const char *attribute) {
    char *name = bert_onnx_save_format(c->saver, "%s_value", attribute);
    bert_onnx_save_node(c->saver, &c->body, "", "Constant", NULL, 0, (const char *const *)&name, 1);
    bert_onnx_save_reference(c->saver, bert_onnx_save_last_step(c), "value_float", BERT_ONNX_FLOAT, attribute);
    if (c->dtype == BERT_FLOAT) return name;
    return bert_onnx_save_step_cast(c, c->dtype, bert_onnx_save_format(c->saver, "%s_cast", attribute), name);
}

const char *bert_onnx_save_step_transpose(bert_onnx_saved_call *c, const char *output, const char *x,
                                          const int64_t *perm, size_t rank) {
    bert_onnx_save_step(c, "Transpose", output, x, NULL);
    bert_onnx_save_ints(c->saver, bert_onnx_save_last_step(c), "perm", perm, rank);
    return output;
}

static const char *gelu(bert_onnx_saved_call *c, const char *x, bool by_tanh) {
    if (c->saver->opset >= 20) {
        bert_onnx_save_step(c, "Gelu", "activated", x, NULL);
        if (by_tanh) bert_onnx_save_string(c->saver, bert_onnx_save_last_step(c), "approximate", "tanh");
        return "activated";
    }
    if (by_tanh) {
        const char *cube = bert_onnx_save_step(c, "Mul", "cube", bert_onnx_save_step(c, "Mul", "square", x, x), x);
        const char *third = bert_onnx_save_step_number(c, "third", 0.044715);
        const char *small = bert_onnx_save_step(c, "Mul", "small", cube, third);
        const char *sum = bert_onnx_save_step(c, "Add", "inner", x, small);
        const char *root = bert_onnx_save_step_number(c, "root", sqrt(2 / acos(-1)));
        bert_onnx_save_step(c, "Tanh", "gate", bert_onnx_save_step(c, "Mul", "scaled", sum, root), NULL);
    } else {
        const char *root = bert_onnx_save_step_number(c, "root", sqrt(2));
        bert_onnx_save_step(c, "Erf", "gate", bert_onnx_save_step(c, "Div", "scaled", x, root), NULL);
    }
    const char *factor = bert_onnx_save_step(c, "Add", "factor", "gate", bert_onnx_save_step_number(c, "one", 1));
    return bert_onnx_save_step(c, "Mul", "activated", bert_onnx_save_step(c, "Mul", "doubled", x, factor),
                               bert_onnx_save_step_number(c, "half", 0.5));
}

const char *bert_onnx_save_step_activation(bert_onnx_saved_call *c, const char *activation, const char *x) {
    if (strcmp(activation, "none") == 0) return x;
    if (strcmp(activation, "gelu") == 0) return gelu(c, x, false);
    if (strcmp(activation, "gelu_tanh") == 0) return gelu(c, x, true);
    if (strcmp(activation, "tanh") == 0) return bert_onnx_save_step(c, "Tanh", "activated", x, NULL);
    if (strcmp(activation, "relu") == 0) return bert_onnx_save_step(c, "Relu", "activated", x, NULL);
    const bool quick = strcmp(activation, "quick_gelu") == 0;
    if (!quick && strcmp(activation, "silu") != 0) return NULL;
    const char *scaled = x;
    if (quick) scaled = bert_onnx_save_step(c, "Mul", "scaled", x, bert_onnx_save_step_number(c, "factor", 1.702));
    const char *gate = bert_onnx_save_step(c, "Sigmoid", "gate", scaled, NULL);
    return bert_onnx_save_step(c, "Mul", "activated", x, gate);
}

static bert_status add_function(bert_onnx_saved_call *c, bert_error *error) {
    bert_onnx_saver *saver = c->saver;
    BertOnnx__FunctionProto *function = BERT_ONNX_SAVE_NEW(saver, BertOnnx__FunctionProto, 1);
    BertOnnx__OperatorSetIdProto **imports = BERT_ONNX_SAVE_NEW(saver, BertOnnx__OperatorSetIdProto *, 2);
    char **names = BERT_ONNX_SAVE_NEW(
        saver, char *, BERT_ONNX_MOST_SAVED_INPUTS + BERT_ONNX_MOST_SAVED_OUTPUTS + BERT_ONNX_MOST_SAVED_ATTRIBUTES);
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
    for (size_t i = 0; i < c->output_count; i++) names[BERT_ONNX_MOST_SAVED_INPUTS + i] = (char *)c->inner_outputs[i];
    for (size_t i = 0; i < c->attribute_count; i++) {
        names[BERT_ONNX_MOST_SAVED_INPUTS + BERT_ONNX_MOST_SAVED_OUTPUTS + i] = (char *)c->attributes[i];
    }
    function->name = bert_onnx_save_text(saver, c->name);
    function->domain = bert_onnx_save_text(saver, BERT_CANONICAL_DOMAIN);
    function->input = names;
    function->n_input = c->input_count;
    function->output = names + BERT_ONNX_MOST_SAVED_INPUTS;
    function->n_output = c->output_count;
    function->attribute = names + BERT_ONNX_MOST_SAVED_INPUTS + BERT_ONNX_MOST_SAVED_OUTPUTS;
    function->n_attribute = c->attribute_count;
    function->node = c->body.items;
    function->n_node = c->body.count;
    function->opset_import = imports;
    function->n_opset_import = 2;
    saver->functions[saver->function_count++] = function;
    if (bert_hash_set(saver->functions_by_name, function->name, strlen(function->name), function)) return BERT_OK;
    return bert_fail_memory(error, sizeof *function, "functions of the file");
}

bert_status bert_onnx_save_finish(bert_onnx_saved_call *c, bert_onnx_nodes *nodes, bert_onnx_body body,
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
