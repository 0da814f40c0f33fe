/*
 * GELU and its relatives, however spelled:
 *
 *   0.5 x (1 + erf(x / sqrt 2))                                  Gelu
 *   0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))            Gelu with approximate = "tanh"
 *   x sigmoid(1.702 x)                                           QuickGelu
 *   x sigmoid(x)                                                 QuickGelu with alpha = 1 (SiLU, Swish)
 *
 * What stands inside erf, tanh and sigmoid is read as a polynomial in x, and what multiplies them as a product, so that
 * no spelling needs a rule of its own.
 */
#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* ---- A polynomial in x ----------------------------------------------------------------------------------------------
 */

#define DEGREE 3

typedef struct polynomial {
    double c[DEGREE + 1]; /* c[i] multiplies x^i. */
} polynomial;

/* False when the product has a higher degree. */
static bool multiply(const polynomial *a, const polynomial *b, polynomial *out) {
    polynomial product = {{0}};
    for (int i = 0; i <= DEGREE; i++) {
        for (int j = 0; j <= DEGREE; j++) {
            double term = a->c[i] * b->c[j];
            if (term == 0) continue;
            if (i + j > DEGREE) return false;
            product.c[i + j] += term;
        }
    }
    *out = product;
    return true;
}

static bool read_polynomial(bert_pattern *pattern, bert_value *value, const bert_value *x, int depth, polynomial *out);

static bool read_power(const polynomial *base, const bert_value *exponent, polynomial *out) {
    double power = 0;
    if (!bert_value_scalar(exponent, &power) || (power != 2 && power != 3)) return false;
    polynomial square;
    if (!multiply(base, base, &square)) return false;
    if (power == 2) {
        *out = square;
        return true;
    }
    return multiply(&square, base, out);
}

static bool read_quotient(polynomial *dividend, const bert_value *divisor) {
    double number = 0;
    if (!bert_value_scalar(divisor, &number) || number == 0) return false;
    for (int i = 0; i <= DEGREE; i++) dividend->c[i] /= number;
    return true;
}

static bool read_binary(bert_pattern *pattern, bert_node *node, const bert_value *x, int depth, polynomial *out) {
    polynomial a, b;
    if (!read_polynomial(pattern, node->inputs[0], x, depth - 1, &a)) return false;
    if (bert_node_is(node, BERT_OP_Pow)) return read_power(&a, node->inputs[1], out);
    if (bert_node_is(node, BERT_OP_Div)) {
        *out = a;
        return read_quotient(out, node->inputs[1]);
    }
    if (!read_polynomial(pattern, node->inputs[1], x, depth - 1, &b)) return false;
    if (bert_node_is(node, BERT_OP_Mul)) return multiply(&a, &b, out);
    double sign = bert_node_is(node, BERT_OP_Sub) ? -1 : 1;
    for (int i = 0; i <= DEGREE; i++) out->c[i] = a.c[i] + sign * b.c[i];
    return true;
}

/* `value` as a polynomial in `x`; false when it isn't one. Adds the nodes that it is computed by. */
static bool read_polynomial(bert_pattern *pattern, bert_value *value, const bert_value *x, int depth, polynomial *out) {
    double number = 0;
    if (value == x) {
        *out = (polynomial){{0, 1}};
        return true;
    }
    if (bert_value_scalar(value, &number)) {
        *out = (polynomial){{number}};
        return bert_value_rank(value) <= bert_value_rank(x);
    }
    bert_node *node = value->producer;
    if (!node || depth == 0 || node->input_count != 2) return false;
    switch (node->op->id) {
    case BERT_OP_Add:
    case BERT_OP_Sub:
    case BERT_OP_Mul:
    case BERT_OP_Div:
    case BERT_OP_Pow:
        bert_pattern_add(pattern, node);
        return read_binary(pattern, node, x, depth, out);
    default:
        return false;
    }
}

/* ---- The product around it ------------------------------------------------------------------------------------------
 */

#define FACTORS 8

/* The factors of a product: numbers multiplied up in `scale`, everything else listed. */
typedef struct product {
    double scale;
    bert_value *factors[FACTORS];
    int count;
} product;

/* Splits a value into factors. Stops at `x` where it is given, and at values that others read as well. */
static void split(bert_pattern *pattern, bert_value *value, const bert_value *x, int depth, product *out) {
    double number = 0;
    bert_node *node = value->producer;
    bool inner = node && value != x && depth > 0 && (node == pattern->root || bert_value_sole_reader(value));
    if (bert_value_scalar(value, &number)) {
        out->scale *= number;
    } else if (inner && bert_node_is(node, BERT_OP_Mul)) {
        bert_pattern_add(pattern, node);
        split(pattern, node->inputs[0], x, depth - 1, out);
        split(pattern, node->inputs[1], x, depth - 1, out);
    } else if (inner && bert_node_is(node, BERT_OP_Div) && bert_value_scalar(node->inputs[1], &number) && number != 0) {
        bert_pattern_add(pattern, node);
        out->scale /= number;
        split(pattern, node->inputs[0], x, depth - 1, out);
    } else if (out->count < FACTORS) {
        out->factors[out->count++] = value;
    }
}

typedef enum form { FORM_NONE, FORM_ERF, FORM_TANH, FORM_QUICK, FORM_SILU } form;

/* 1 + f(p(x)) or sigmoid(p(x)): what f and p make of it. */
static form read_gate(bert_pattern *pattern, bert_value *gate, const bert_value *x, double scale) {
    bert_node *node = gate->producer;
    bert_dtype dtype = x->info.dtype;
    double one = 0;
    polynomial p;
    if (!node) return FORM_NONE;
    bert_pattern_add(pattern, node);
    if (bert_node_is(node, BERT_OP_Sigmoid)) {
        if (!read_polynomial(pattern, node->inputs[0], x, 4, &p)) return FORM_NONE;
        if (scale != 1 || p.c[0] != 0 || p.c[2] != 0 || p.c[3] != 0) return FORM_NONE;
        if (p.c[1] == 1) return FORM_SILU;
        return bert_number_near(p.c[1], 1.702, dtype) ? FORM_QUICK : FORM_NONE;
    }
    bert_value *inside = bert_node_is(node, BERT_OP_Add) ? bert_node_beside_scalar(node, false, &one) : NULL;
    if (!inside || one != 1 || scale != 0.5 || !inside->producer) return FORM_NONE;
    bool is_erf = bert_node_is(inside->producer, BERT_OP_Erf);
    if (!is_erf && !bert_node_is(inside->producer, BERT_OP_Tanh)) return FORM_NONE;
    bert_pattern_add(pattern, inside->producer);
    if (!read_polynomial(pattern, inside->producer->inputs[0], x, 8, &p) || p.c[0] != 0 || p.c[2] != 0)
        return FORM_NONE;
    if (is_erf) return p.c[3] == 0 && bert_number_near(p.c[1], 0.70710678118654752, dtype) ? FORM_ERF : FORM_NONE;
    /* Exporters and ONNX Runtime round the two constants differently: 0.797885 and 0.035677 are enough. */
    bool is_tanh = bert_number_near(p.c[1], 0.79788456080286536, BERT_FLOAT16) &&
                   bert_number_near(p.c[3], 0.035677408136300125, BERT_FLOAT16);
    return is_tanh ? FORM_TANH : FORM_NONE;
}

/* Tries each factor as x and the other as the gate. */
static form match(bert_pattern *pattern, bert_node *root, bert_value **x) {
    product whole = {.scale = 1};
    split(pattern, root->outputs[0], NULL, 4, &whole);
    bert_pattern start = *pattern;
    for (int i = 0; i < whole.count && whole.count == 2; i++) {
        *x = whole.factors[i];
        form found = read_gate(pattern, whole.factors[1 - i], *x, whole.scale);
        if (found != FORM_NONE) return found;
        *pattern = start;
    }
    return FORM_NONE;
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_Mul) && !bert_node_is(node, BERT_OP_Div)) return BERT_OK;
    bert_pattern pattern;
    bert_value *x = NULL;
    bert_pattern_begin(&pattern, context, node);
    form found = match(&pattern, node, &x);
    const bool quick = found == FORM_QUICK || found == FORM_SILU;
    if (found == FORM_NONE) return BERT_OK;
    if (!bert_same_shape(x, node->outputs[0]) || !bert_pattern_closed(&pattern)) return BERT_OK;
    bert_attribute approximate = BERT_STRING_ATTRIBUTE("approximate", "tanh");
    bert_attribute alpha = BERT_FLOAT_ATTRIBUTE("alpha", found == FORM_SILU ? 1.0F : 1.702F);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = bert_op_get(quick ? BERT_OP_MS_QuickGelu : BERT_OP_Gelu),
                                                  .opset = quick ? 1 : bert_build_opset(node, 20),
                                                  .inputs = &x,
                                                  .input_count = 1,
                                                  .attributes = quick ? &alpha : &approximate,
                                                  .attribute_count = found != FORM_ERF},
                                NULL);
}

static bert_status report_left(bert_pass_context *context, bert_node *node) {
    if (bert_node_is(node, BERT_OP_Erf)) bert_pass_missed(context, node, "is not part of 0.5 x (1 + erf(x / sqrt 2))");
    return BERT_OK;
}

bert_status bert_pass_gelu(bert_pass_context *context) {
    BERT_TRY(bert_pass_each(context, visit));
    return bert_pass_each(context, report_left);
}
