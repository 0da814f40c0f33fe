/*
 * Query, key and value of an Attention, packed: three Linears, or three QuantizedLinears, of one input become one, and
 * what is split into three equal parts along its last dimension is read whole.
 */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/passes/list.h"
#include "core/passes/slice.h"

#include <math.h>
#include <string.h>

/* Inputs that the parts have in common, and those of each part: the first input, and how many. */
typedef struct input_layout {
    int32_t first, each;
} input_layout;

static input_layout layout_of(const bert_node *linear) {
    return bert_node_is(linear, BERT_OP_BERTC_Linear)
               ? (input_layout){BERT_LINEAR_WEIGHT(0), BERT_LINEAR_WEIGHT(1) - BERT_LINEAR_WEIGHT(0)}
               : (input_layout){BERT_QUANTIZED_LINEAR_WEIGHT(0),
                                BERT_QUANTIZED_LINEAR_WEIGHT(1) - BERT_QUANTIZED_LINEAR_WEIGHT(0)};
}

/* The Linear that writes a value which only the attention reads, if it can be a part of a larger one. */
static bert_node *part(const bert_value *value, const bert_node *attention) {
    bert_node *linear = bert_value_made_by(value, BERT_OP_BERTC_Linear);
    if (!linear) linear = bert_value_made_by(value, BERT_OP_BERTC_QuantizedLinear);
    if (!linear || linear->block != attention->block || bert_value_sole_reader(value) != attention) return NULL;
    if (BERT_NODE_INT(linear, "parts", 1) != 1 || linear->inputs[BERT_LINEAR_RESIDUAL] || bert_has_place(linear))
        return NULL;
    return strcmp(BERT_NODE_STRING(linear, "activation", "none"), "none") == 0 ? linear : NULL;
}

/* Whether two values are one, or constants of one number: exporters repeat these. */
static bool same_scalar(const bert_value *a, const bert_value *b) {
    double x = 0, y = 0;
    if (a == b) return true;
    return bert_value_scalar(a, &x) && bert_value_scalar(b, &y) && a->info.dtype == b->info.dtype && x == y;
}

/* Whether both take the same x in the same way and have weights of one form. */
static bool alike(const bert_node *a, const bert_node *b) {
    if (a->op != b->op || a->inputs[BERT_LINEAR_X] != b->inputs[BERT_LINEAR_X]) return false;
    const input_layout layout = layout_of(a);
    const bert_value *v = a->inputs[layout.first], *w = b->inputs[layout.first];
    for (int32_t i = BERT_LINEAR_RESIDUAL + 1; i < layout.first; i++) {
        if (!same_scalar(bert_node_in(a, i), bert_node_in(b, i))) return false;
    }
    return bert_same_shape(v, w) && v->info.dtype == w->info.dtype &&
           BERT_NODE_INT(a, "transpose", 0) == BERT_NODE_INT(b, "transpose", 0) &&
           BERT_NODE_FLOAT(a, "alpha", 1) == BERT_NODE_FLOAT(b, "alpha", 1) &&
           BERT_NODE_INT(a, "weight_only", 0) == BERT_NODE_INT(b, "weight_only", 0);
}

enum { MOST_INPUTS = BERT_QUANTIZED_LINEAR_WEIGHT(3), MOST_ATTRIBUTES = 8 };

/* The attributes of the first, with three parts. */
static size_t list_attributes(const bert_node *linear, bert_attribute out[MOST_ATTRIBUTES]) {
    size_t count = 0;
    for (size_t i = 0; i < linear->attribute_count && count + 1 < MOST_ATTRIBUTES; i++) {
        if (strcmp(linear->attributes[i].name, "parts") != 0) out[count++] = linear->attributes[i];
    }
    out[count++] = BERT_INT_ATTRIBUTE("parts", 3);
    return count;
}

static bert_status build_linear(bert_pass_context *context, bert_node *attention, bert_node *const parts[3],
                                bert_value **out) {
    const input_layout layout = layout_of(parts[0]);
    bert_value *inputs[MOST_INPUTS];
    bert_attribute attributes[MOST_ATTRIBUTES];
    for (int32_t i = 0; i < layout.first; i++) inputs[i] = bert_node_in(parts[0], i);
    for (int32_t p = 0; p < 3; p++) {
        for (int32_t i = 0; i < layout.each; i++)
            inputs[layout.first + p * layout.each + i] = bert_node_in(parts[p], layout.first + i);
    }
    BERT_TRY(bert_build(context, attention,
                        &(bert_node_spec){.op = parts[0]->op,
                                          .opset = 1,
                                          .name = parts[0]->name,
                                          .inputs = inputs,
                                          .input_count = layout.first + 3 * layout.each,
                                          .attributes = attributes,
                                          .attribute_count = list_attributes(parts[0], attributes)},
                        parts[0], out));
    for (int p = 1; p < 3; p++) BERT_TRY(bert_node_add_origins((*out)->producer, parts[p], context->error));
    return BERT_OK;
}

/* Whether a value is columns 0 to width, width to 2 width or those after of a source [B, S, 3 width], and which. */
static bool third_of(const bert_value *value, bert_value **source, int32_t *third) {
    bert_slice slice;
    if (!value || !bert_slice_of(value, &slice) || slice.drops_axis || bert_value_rank(value) != 3 || slice.axis != 2)
        return false;
    const bert_dim width = bert_value_dim(value, 2);
    if (!bert_dim_known(width) || width == 0 || bert_value_dim(slice.source, 2) != 3 * width ||
        slice.start % width != 0)
        return false;
    *source = slice.source;
    *third = (int32_t)(slice.start / width);
    return true;
}

/* What is cut into the attention's query, key and value, one behind the other; NULL: nothing is. */
static bert_value *cut_from(const bert_node *attention) {
    bert_value *whole = NULL;
    for (int p = 0; p < 3; p++) {
        bert_value *source = NULL;
        int32_t third = 0;
        if (!third_of(attention->inputs[p], &source, &third) || third != p || (p > 0 && source != whole) ||
            attention->inputs[p]->producer->block != attention->block)
            return NULL;
        whole = source;
    }
    return whole;
}

/* `cut`: from what is packed already. */
static bert_status rewrite(bert_pass_context *context, bert_node *node, bert_value *packed, bool cut) {
    bert_value *inputs[BERT_ATTENTION_OF_MODEL] = {[BERT_ATTENTION_Q] = packed};
    for (int32_t i = BERT_ATTENTION_BIAS; i < BERT_ATTENTION_OF_MODEL; i++) inputs[i] = bert_node_in(node, i);
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", BERT_NODE_INT(node, "heads", 1)),
                                   BERT_FLOAT_ATTRIBUTE("scale", BERT_NODE_FLOAT(node, "scale", 1)),
                                   BERT_INT_ATTRIBUTE("packed", 1),
                                   BERT_STRING_ATTRIBUTE("masked_rows", BERT_NODE_STRING(node, "masked_rows", "nan")),
                                   BERT_FLOAT_ATTRIBUTE("mask_value", BERT_NODE_FLOAT(node, "mask_value", -INFINITY))};
    bert_pattern pattern;
    bert_pattern_begin(&pattern, context, node);
    for (int p = 0; p < 3 && cut; p++) bert_pattern_add_shared(&pattern, node->inputs[p]->producer);
    return bert_pattern_replace(&pattern,
                                &(bert_node_spec){.op = node->op,
                                                  .opset = 1,
                                                  .inputs = inputs,
                                                  .input_count = BERT_ATTENTION_OF_MODEL,
                                                  .attributes = attributes,
                                                  .attribute_count = 5},
                                NULL);
}

static bert_status visit(bert_pass_context *context, bert_node *node) {
    if (!bert_node_is(node, BERT_OP_BERTC_Attention) || BERT_NODE_INT(node, "packed", 0)) return BERT_OK;
    bert_value *whole = cut_from(node);
    bert_node *parts[3];
    if (whole) return rewrite(context, node, whole, true);
    for (int p = 0; p < 3; p++) {
        parts[p] = part(node->inputs[p], node);
        if (parts[p] && alike(parts[0], parts[p])) continue;
        bert_pass_missed(context, node, "its query, key and value are not plain Linears of one input");
        return BERT_OK;
    }
    bert_value *packed = NULL;
    BERT_TRY(build_linear(context, node, parts, &packed));
    return rewrite(context, node, packed, false);
}

bert_status bert_pass_qkv(bert_pass_context *context) {
    return bert_pass_each(context, visit);
}
