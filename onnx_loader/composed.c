/*
 * Operators of com.microsoft that are others between bytes, as quantize_static writes them in its QOperator format:
 *
 *   QLinearAdd(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point) =
 *       QuantizeLinear(Add(DequantizeLinear(a ...), DequantizeLinear(b ...)), y_scale, y_zero_point)
 *
 * and so on. They are functions that the model doesn't have to define: inlined as its own are, so that nothing after
 * the loader knows of them.
 */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <stdio.h>
#include <string.h>

/* The inputs are `plain` ones that `op` reads as they are, three for each of its operands, and two of the result. */
typedef struct composed_op {
    const char *name, *op;
    size_t plain, operands; /* operands 0: any number */
    bool result_first;      /* scale and zero point of the result come before everything else */
    bool by_opset;          /* An attribute `opset` says of which opset `op` is, and it has an axis of -1. */
    const char *attributes[2];
} composed_op;

static const composed_op composed_ops[] = {
    {.name = "QLinearAdd", .op = "Add", .operands = 2},
    {.name = "QLinearConcat", .op = "Concat", .result_first = true, .attributes = {"axis"}},
    {.name = "QLinearMul", .op = "Mul", .operands = 2},
    {.name = "QLinearReduceMean", .op = "ReduceMean", .operands = 1, .attributes = {"axes", "keepdims"}},
    {.name = "QLinearSigmoid", .op = "Sigmoid", .operands = 1},
    {.name = "QLinearSoftmax", .op = "Softmax", .operands = 1, .by_opset = true, .attributes = {"axis"}},
    {.name = "QLinearWhere", .op = "Where", .plain = 1, .operands = 2},
};

/* Opset of the functions' operators, the last in which ReduceMean has its axes as an attribute; that of an old Softmax.
 */
enum { OPSET = 13, OLD_OPSET = 11, MOST_ATTRIBUTES = 2 };

static const composed_op *find_op(const BertOnnx__NodeProto *node) {
    if (strcmp(bert_onnx_domain(node->domain), "com.microsoft") != 0) return NULL;
    for (size_t i = 0; i < sizeof composed_ops / sizeof *composed_ops; i++) {
        if (strcmp(bert_onnx_text(node->op_type), composed_ops[i].name) == 0) return &composed_ops[i];
    }
    return NULL;
}

static const BertOnnx__AttributeProto *attribute_of(const BertOnnx__NodeProto *node, const char *name) {
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (strcmp(bert_onnx_text(node->attribute[i]->name), name) == 0) return node->attribute[i];
    }
    return NULL;
}

/* Before opset 13 Softmax is over all dimensions from its axis on: the node says which it is. */
static int opset_of(const BertOnnx__NodeProto *node) {
    const BertOnnx__AttributeProto *opset = find_op(node)->by_opset ? attribute_of(node, "opset") : NULL;
    return opset && opset->i < OPSET ? OLD_OPSET : OPSET;
}

bool bert_onnx_is_composed(const BertOnnx__NodeProto *node) {
    return find_op(node) != NULL;
}

void bert_onnx_composed_overload(const BertOnnx__NodeProto *node, char out[BERT_ONNX_COMPOSED_OVERLOAD]) {
    snprintf(out, BERT_ONNX_COMPOSED_OVERLOAD, "%zu inputs, opset %d", node->n_input, opset_of(node));
}

/* ---- What a node must have ------------------------------------------------------------------------------------------
 */

/* Inputs of one with this many operands. */
static size_t inputs_of(const composed_op *op, size_t operands) {
    return op->plain + 3 * operands + 2;
}

static size_t operands_of(const composed_op *op, const BertOnnx__NodeProto *node) {
    return node->n_input > op->plain + 2 ? (node->n_input - op->plain - 2) / 3 : 0;
}

static bert_status check_inputs(const composed_op *op, const BertOnnx__NodeProto *node, bert_error *error) {
    const size_t count = node->n_input, operands = operands_of(op, node);
    const bool ends_early = op->operands && count + 1 == inputs_of(op, op->operands);
    if (!ends_early &&
        (operands == 0 || count != inputs_of(op, operands) || (op->operands && operands != op->operands)))
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it has %zu inputs; each operand has a scale and a zero point, and so has the result", count);
    if (!ends_early && *node->input[op->result_first ? 1 : count - 1]) return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED, "it has no zero point of its result, which would tell the type");
}

static bool has_attribute(const composed_op *op, const char *name) {
    for (size_t i = 0; i < MOST_ATTRIBUTES && op->attributes[i]; i++) {
        if (strcmp(op->attributes[i], name) == 0) return true;
    }
    /* ONNX leaves names with __ to whoever writes them. */
    return strncmp(name, "__", 2) == 0 || (op->by_opset && strcmp(name, "opset") == 0);
}

static bert_status check_attributes(const composed_op *op, const BertOnnx__NodeProto *node, bert_error *error) {
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = bert_onnx_text(node->attribute[i]->name);
        if (!has_attribute(op, name)) {
            return bert_fail(error, BERT_INVALID_MODEL, "it has an attribute %.*s, which %s has not",
                             BERT_ONNX_SHOWN(name), op->name);
        }
        if (strcmp(name, "opset") == 0 && *bert_onnx_text(node->attribute[i]->ref_attr_name)) {
            return bert_fail(error, BERT_UNSUPPORTED, "its attribute opset is what a function's call gives");
        }
    }
    return BERT_OK;
}

bert_status bert_onnx_check_composed(const BertOnnx__NodeProto *node, bert_error *error) {
    const composed_op *op = find_op(node);
    BERT_TRY(check_inputs(op, node, error));
    return check_attributes(op, node, error);
}

/* ---- Making the function --------------------------------------------------------------------------------------------
 */

typedef struct maker {
    bert_arena *arena;
    BertOnnx__FunctionProto *function;
    bool failed; /* memory ran out */
} maker;

static char *text(maker *m, const char *name, size_t operand, const char *what) {
    char *made = bert_arena_format(m->arena, "%s%zu%s", name, operand, what);
    m->failed |= !made;
    return made;
}

static char *copy(maker *m, const char *name) {
    char *made = bert_arena_string(m->arena, name, strlen(name));
    m->failed |= !made;
    return made;
}

/* Room for inputs and attributes; the caller fills them in. NULL: memory ran out. */
static BertOnnx__NodeProto *add_node(maker *m, const char *op, size_t inputs, char *output) {
    BertOnnx__NodeProto *node = BERT_ARENA_NEW(m->arena, BertOnnx__NodeProto);
    char **names = BERT_ARENA_NEW_ARRAY(m->arena, char *, inputs + 1);
    BertOnnx__AttributeProto **attributes = BERT_ARENA_NEW_ARRAY(m->arena, BertOnnx__AttributeProto *, MOST_ATTRIBUTES);
    m->failed |= !node || !names || !attributes;
    if (m->failed) return NULL;
    bert_onnx__node_proto__init(node);
    node->op_type = copy(m, op);
    node->n_input = inputs;
    node->input = names;
    node->output = names + inputs;
    node->output[0] = output;
    node->n_output = 1;
    node->attribute = attributes;
    m->function->node[m->function->n_node++] = node;
    return node;
}

/* An axis that the call doesn't give is the last one, as these operators have it. */
static void default_axis(maker *m) {
    BertOnnx__AttributeProto *axis = BERT_ARENA_NEW(m->arena, BertOnnx__AttributeProto);
    BertOnnx__AttributeProto **list = BERT_ARENA_NEW(m->arena, BertOnnx__AttributeProto *);
    m->failed |= !axis || !list;
    if (m->failed) return;
    bert_onnx__attribute_proto__init(axis);
    axis->name = copy(m, "axis");
    axis->has_i = true;
    axis->i = -1;
    list[0] = axis;
    m->function->attribute_proto = list;
    m->function->n_attribute_proto = 1;
}

/* The node has the attribute that the call gives by this name. */
static void refer(maker *m, BertOnnx__NodeProto *node, const char *name) {
    BertOnnx__AttributeProto *attribute = BERT_ARENA_NEW(m->arena, BertOnnx__AttributeProto);
    m->failed |= !attribute;
    if (m->failed) return;
    bert_onnx__attribute_proto__init(attribute);
    attribute->name = attribute->ref_attr_name = copy(m, name);
    node->attribute[node->n_attribute++] = attribute;
}

static void add_quantizer(maker *m, const char *op, char *const inputs[3], char *output) {
    BertOnnx__NodeProto *node = add_node(m, op, 3, output);
    for (int i = 0; i < 3 && node; i++) node->input[i] = inputs[i];
}

/* Operand `operand` as floats, which the node has as input `input`. */
static void add_operand(maker *m, BertOnnx__NodeProto *node, size_t input, char **names, size_t operand) {
    names[0] = text(m, "x", operand, "");
    names[1] = text(m, "x", operand, "_scale");
    names[2] = text(m, "x", operand, "_zero_point");
    node->input[input] = text(m, "x", operand, "_dequantized");
    add_quantizer(m, "DequantizeLinear", names, node->input[input]);
}

static void fill(maker *m, const composed_op *op, size_t operands) {
    BertOnnx__FunctionProto *function = m->function;
    char *y = copy(m, "y"), *result[] = {copy(m, "y_unquantized"), copy(m, "y_scale"), copy(m, "y_zero_point")};
    size_t at = 0;
    BertOnnx__NodeProto *node = add_node(m, op->op, op->plain + operands, result[0]);
    if (!node) return;
    for (size_t i = 0; op->result_first && i < 2; i++) function->input[at++] = result[1 + i];
    for (size_t i = 0; i < op->plain; i++) function->input[at++] = node->input[i] = text(m, "plain", i, "");
    for (size_t i = 0; i < operands; i++, at += 3) add_operand(m, node, op->plain + i, function->input + at, i);
    for (size_t i = 0; !op->result_first && i < 2; i++) function->input[at++] = result[1 + i];
    for (size_t i = 0; i < MOST_ATTRIBUTES && op->attributes[i]; i++) refer(m, node, op->attributes[i]);
    if (op->by_opset) default_axis(m);
    add_quantizer(m, "QuantizeLinear", result, y);
    function->n_input = at;
    function->output[0] = y;
}

bert_status bert_onnx_compose(bert_arena *arena, const BertOnnx__NodeProto *node, const BertOnnx__FunctionProto **out,
                              bert_error *error) {
    const composed_op *op = find_op(node);
    const size_t operands = operands_of(op, node);
    maker m = {.arena = arena, .function = BERT_ARENA_NEW(arena, BertOnnx__FunctionProto)};
    char **names = BERT_ARENA_NEW_ARRAY(arena, char *, node->n_input + 1);
    BertOnnx__NodeProto **nodes = BERT_ARENA_NEW_ARRAY(arena, BertOnnx__NodeProto *, operands + 2);
    BertOnnx__OperatorSetIdProto *opset = BERT_ARENA_NEW(arena, BertOnnx__OperatorSetIdProto);
    BertOnnx__OperatorSetIdProto **imports = BERT_ARENA_NEW(arena, BertOnnx__OperatorSetIdProto *);
    m.failed = !m.function || !names || !nodes || !opset || !imports;
    if (!m.failed) {
        bert_onnx__function_proto__init(m.function);
        bert_onnx__operator_set_id_proto__init(opset);
        opset->has_version = true;
        opset->version = opset_of(node);
        imports[0] = opset;
        m.function->name = copy(&m, op->name);
        m.function->domain = copy(&m, "com.microsoft");
        char overload[BERT_ONNX_COMPOSED_OVERLOAD];
        bert_onnx_composed_overload(node, overload);
        m.function->overload = copy(&m, overload);
        m.function->input = names;
        m.function->output = names + node->n_input;
        m.function->n_output = 1;
        m.function->node = nodes;
        m.function->opset_import = imports;
        m.function->n_opset_import = 1;
        fill(&m, op, operands);
    }
    if (m.failed) return bert_fail_memory(error, sizeof *m.function, "a function");
    *out = m.function;
    return BERT_OK;
}
