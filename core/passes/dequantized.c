#include "core/passes/dequantized.h"

#include "core/base/error.h"
#include "core/passes/quantizers.h"

#include <math.h>

static bool is_byte_matrix(const bert_value *value) {
    return value && value->info.constant && bert_is_byte(value->info.dtype) && bert_value_rank(value) == 2;
}

static void add_node(bert_dequantized *out, bert_node *node) {
    if (out->count < BERT_DEQUANTIZED_NODES) out->nodes[out->count++] = node;
}

/* ---- DequantizeLinear ----------------------------------------------------------------------------------------------
 */

/* The constant as [1, 1], or as long as the matrix along `axis`; NULL in *out where it is neither. */
static bert_status along(bert_pass_context *context, bert_value *value, const bert_value *matrix, int32_t axis,
                         bert_value **out) {
    const bert_constant *constant = value->info.constant;
    int64_t dims[2] = {1, 1};
    *out = NULL;
    if (!constant || constant->rank > 1) return BERT_OK;
    const int64_t elements = bert_constant_elements(constant);
    if (elements != 1) {
        if (axis < 0 || elements != bert_value_dim(matrix, axis)) return BERT_OK;
        dims[axis] = elements;
    }
    return bert_build_shown(context, value, 2, dims, out);
}

/* `axis`: of the matrix, along which a list of scales lies; -1: none may. */
static bert_status match_dequantize(bert_pass_context *context, bert_node *node, bert_value *bytes, int32_t axis,
                                    bert_dequantized *out) {
    bert_value *scale = NULL, *zero = NULL, *given = bert_node_in(node, 2);
    if (BERT_NODE_INT(node, "block_size", 0) || !is_byte_matrix(bytes) ||
        node->inputs[1]->info.dtype != node->outputs[0]->info.dtype)
        return BERT_OK;
    BERT_TRY(along(context, node->inputs[1], bytes, axis, &scale));
    if (given) BERT_TRY(along(context, given, bytes, axis, &zero));
    if (!scale || (given && !zero)) return BERT_OK;
    out->bytes = bytes;
    out->scale = scale;
    out->zero_point = zero;
    add_node(out, node);
    return BERT_OK;
}

bert_status bert_match_dequantized_rows(bert_pass_context *context, bert_node *dequantize, bert_value *bytes,
                                        bert_dequantized *out) {
    *out = (bert_dequantized){.bytes = NULL};
    if (!bert_is_dequantize(dequantize)) return BERT_OK;
    const int32_t rank = bert_value_rank(dequantize->inputs[0]);
    const bool of_columns = bert_axis_from_front(BERT_NODE_INT(dequantize, "axis", 1), rank) == rank - 1;
    return match_dequantize(context, dequantize, bytes, of_columns ? 1 : -1, out);
}

/* ---- Cast, Sub and Mul ---------------------------------------------------------------------------------------------
 */

/* The bytes that a Cast to float converts; NULL when it is something else. */
static bert_value *cast_of(const bert_value *value, bert_dequantized *out) {
    bert_node *cast = bert_value_made_by(value, BERT_OP_Cast);
    if (!cast || !bert_dtype_is_float(value->info.dtype) || !cast->inputs[0]->info.constant ||
        !bert_is_byte(cast->inputs[0]->info.dtype))
        return NULL;
    add_node(out, cast);
    return cast->inputs[0];
}

/* A constant that broadcasts to the matrix, shown as [1 or R, 1 or C]; NULL in *out where it doesn't. */
static bert_status broadcast(bert_pass_context *context, bert_value *value, const bert_value *matrix,
                             bert_value **out) {
    const bert_constant *constant = value->info.constant;
    int64_t dims[2] = {1, 1};
    *out = NULL;
    if (!constant || constant->rank > 2) return BERT_OK;
    for (int32_t i = 0; i < constant->rank; i++) {
        const int32_t axis = 2 - constant->rank + i;
        dims[axis] = constant->dims[i];
        if (dims[axis] != 1 && dims[axis] != bert_value_dim(matrix, axis)) return BERT_OK;
    }
    return bert_build_shown(context, value, 2, dims, out);
}

/* A float constant as bytes; NULL in *out where an element is none. */
static bert_status to_bytes(bert_pass_context *context, const bert_value *value, bert_dtype dtype, bert_value **out) {
    const bert_constant *from = value->info.constant, *made = NULL;
    const size_t count = (size_t)bert_constant_elements(from);
    const double least = dtype == BERT_INT8 ? INT8_MIN : 0, most = dtype == BERT_INT8 ? INT8_MAX : UINT8_MAX;
    unsigned char *bytes = bert_arena_allocate(&context->graph->arena, count, 1);
    *out = NULL;
    if (!bytes) return bert_fail_memory(context->error, count, "zero points");
    for (size_t i = 0; i < count; i++) {
        const double number = bert_constant_double(from, (int64_t)i);
        if (!(number >= least && number <= most) || number != floor(number)) return BERT_OK;
        bytes[i] = (unsigned char)(int32_t)number;
    }
    BERT_TRY(bert_graph_add_constant(context->graph, dtype, from->rank, from->dims, bytes, count, NULL, &made,
                                     context->error));
    return bert_graph_add_constant_value(context->graph, NULL, made, out, context->error);
}

/* What is taken from the bytes before they are scaled: bytes that are cast, too, or numbers that could be. */
static bert_status match_subtracted(bert_pass_context *context, bert_value *value, bert_dequantized *out) {
    bert_value *bytes = cast_of(value, out);
    if (bytes && bytes->info.dtype != out->bytes->info.dtype) return BERT_OK;
    if (!bytes && value->info.constant) BERT_TRY(to_bytes(context, value, out->bytes->info.dtype, &bytes));
    return bytes ? broadcast(context, bytes, out->bytes, &out->zero_point) : BERT_OK;
}

static bert_status match_mul(bert_pass_context *context, bert_node *mul, bert_dequantized *out) {
    for (int side = 0; side < 2; side++) {
        bert_value *product = mul->inputs[side], *zero = NULL;
        bert_node *sub = bert_value_made_by(product, BERT_OP_Sub);
        *out = (bert_dequantized){.nodes = {mul}, .count = 1};
        if (sub) {
            add_node(out, sub);
            zero = sub->inputs[1];
            product = sub->inputs[0];
        }
        bert_value *bytes = cast_of(product, out);
        if (!bytes || !is_byte_matrix(bytes)) continue;
        out->bytes = bytes;
        if (zero) BERT_TRY(match_subtracted(context, zero, out));
        BERT_TRY(broadcast(context, mul->inputs[1 - side], bytes, &out->scale));
        if (out->scale && (!zero || out->zero_point)) return BERT_OK;
    }
    out->bytes = NULL;
    return BERT_OK;
}

bert_status bert_match_dequantized(bert_pass_context *context, const bert_value *value, bert_dequantized *out) {
    bert_node *node = value->producer;
    *out = (bert_dequantized){.bytes = NULL};
    if (!node || value->producer_output != 0) return BERT_OK;
    if (bert_node_is(node, BERT_OP_Mul)) return match_mul(context, node, out);
    if (!bert_is_dequantize(node)) return BERT_OK;
    const int32_t axis = bert_axis_from_front(BERT_NODE_INT(node, "axis", 1), 2);
    return match_dequantize(context, node, node->inputs[0], axis, out);
}
