#include "core/passes/quantize_dynamic.h"

#include "core/base/error.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* One x quantized: what all products of it share. */
typedef struct quantized_input {
    bert_value *values, *scale, *zero_point;
} quantized_input;

typedef struct quantizer {
    bert_pass_context context;
    const bert_quantize_options *options;
    bert_quantize_report *report;
    quantized_input *inputs; /* by value id; as many as there were values */
    size_t input_count;
} quantizer;

/* A constant matrix quantized, [k, n]: bytes, scale, zero point. */
typedef struct quantized_weight {
    bert_value *values, *scale, *zero_point;
} quantized_weight;

static bert_status no_memory(const quantizer *q) {
    return bert_fail(q->context.error, BERT_OUT_OF_MEMORY, "could not allocate memory for quantized weights");
}

/* ---- Weights ----------------------------------------------------------------------------------------------------- */

typedef struct scale_and_zero {
    double scale;
    int32_t zero_point;
} scale_and_zero;

/* As onnxruntime.quantization computes them: in double, the scale kept as float32. */
static scale_and_zero measure(bert_dtype dtype, double least, double most) {
    const bool is_signed = dtype == BERT_INT8;
    least = fmin(least, 0);
    most = fmax(most, 0);
    if (is_signed) {
        most = fmax(most, -least);
        least = -most;
    }
    const double scale = (most - least) / (is_signed ? 254 : 255);
    if (scale < FLT_MIN) return (scale_and_zero){1, 0};
    return (scale_and_zero){(float)scale, is_signed ? 0 : (int32_t)rint(-least / scale)};
}

static float element(const bert_constant *weight, int64_t index) {
    float value;
    memcpy(&value, weight->data + index * (int64_t)sizeof value, sizeof value);
    return value;
}

/* A matrix to be quantized: `transposed` is [n, k] in the file and [k, n] afterwards. */
typedef struct matrix {
    const bert_constant *weight;
    int64_t k, n, row_stride, column_stride;
    double factor; /* that all elements are multiplied by: a Gemm's alpha */
} matrix;

static matrix matrix_of(const bert_constant *weight, bool transposed, double factor) {
    const int64_t rows = weight->dims[0], columns = weight->dims[1];
    if (transposed) return (matrix){weight, columns, rows, 1, columns, factor};
    return (matrix){weight, rows, columns, columns, 1, factor};
}

static void quantize_columns(const matrix *m, bert_dtype dtype, int64_t first, int64_t end, unsigned char *out,
                             scale_and_zero *found) {
    double least = 0, most = 0;
    for (int64_t row = 0; row < m->k; row++) {
        for (int64_t column = first; column < end; column++) {
            const double value = element(m->weight, row * m->row_stride + column * m->column_stride);
            /* NaN is passed over, as by fmin and fmax, with which GCC 12 for ARM fails on this loop. */
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
    }
    *found = measure(dtype, least, most);
    const float scale = (float)found->scale;
    const int32_t low = dtype == BERT_INT8 ? -127 : 0, high = dtype == BERT_INT8 ? 127 : 255;
    for (int64_t row = 0; row < m->k; row++) {
        for (int64_t column = first; column < end; column++) {
            const float value = element(m->weight, row * m->row_stride + column * m->column_stride);
            float rounded = rintf(value / scale) + (float)found->zero_point;
            rounded = rounded < (float)low ? (float)low : rounded > (float)high ? (float)high : rounded;
            out[row * m->n + column] = (unsigned char)(int32_t)(rounded == rounded ? rounded : 0); /* NaN: 0 */
        }
    }
}

static bert_status make_constant(quantizer *q, bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data,
                                 size_t bytes, bert_value **out) {
    const bert_constant *constant;
    BERT_TRY(
        bert_graph_add_constant(q->context.graph, dtype, rank, dims, data, bytes, NULL, &constant, q->context.error));
    return bert_graph_add_constant_value(q->context.graph, NULL, constant, out, q->context.error);
}

static bert_status quantize_matrix(quantizer *q, const matrix *m, bert_dtype dtype, bool per_channel,
                                   quantized_weight *out) {
    bert_arena *arena = &q->context.graph->arena;
    const int64_t count = per_channel ? m->n : 1, dims[2] = {m->k, m->n};
    unsigned char *bytes = bert_arena_array(arena, (size_t)m->k, (size_t)m->n);
    float *scales = BERT_ARENA_NEW_ARRAY(arena, float, (size_t)count);
    unsigned char *zero_points = bert_arena_array(arena, (size_t)count, 1);
    if (!bytes || !scales || !zero_points) return no_memory(q);
    for (int64_t i = 0; i < count; i++) {
        scale_and_zero found;
        quantize_columns(m, dtype, per_channel ? i : 0, per_channel ? i + 1 : m->n, bytes, &found);
        scales[i] = (float)(found.scale * m->factor);
        zero_points[i] = (unsigned char)found.zero_point;
    }
    if (m->weight->file) bert_file_release_pages(m->weight->file, m->weight->data, m->weight->bytes);
    const int32_t rank = per_channel ? 1 : 0;
    BERT_TRY(make_constant(q, dtype, 2, dims, bytes, (size_t)(m->k * m->n), &out->values));
    BERT_TRY(make_constant(q, BERT_FLOAT, rank, &count, scales, (size_t)count * sizeof *scales, &out->scale));
    return make_constant(q, dtype, rank, &count, zero_points, (size_t)count, &out->zero_point);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* Whether a value is a constant float32 matrix with something in it. */
static bool is_weight(const bert_value *value) {
    const bert_constant *constant = value ? value->info.constant : NULL;
    return constant && constant->dtype == BERT_FLOAT && constant->rank == 2 && constant->bytes > 0;
}

static bert_status add_node(quantizer *q, bert_node *near, bert_op_id id, bert_value *const *inputs,
                            int32_t input_count, bert_value **outputs, int32_t output_count) {
    const bert_op *op = bert_op_get(id);
    const bert_node_spec spec = {.op = op,
                                 .opset = op->domain[0] ? 1 : bert_build_opset(near, 13),
                                 .inputs = inputs,
                                 .input_count = input_count,
                                 .outputs = outputs,
                                 .output_count = output_count};
    bert_node *node;
    for (int32_t i = 0; i < output_count; i++)
        BERT_TRY(bert_graph_add_value(q->context.graph, NULL, &outputs[i], q->context.error));
    BERT_TRY(bert_graph_add_node(near->block, near, &spec, &node, q->context.error));
    BERT_TRY(bert_node_add_origins(node, near, q->context.error));
    return bert_infer_node(q->context.graph, node, q->context.error);
}

/* DynamicQuantizeLinear(x) before `near`, or the one that is there: nodes come in order, so it stands before `near`. */
static bert_status quantize_input(quantizer *q, bert_node *near, bert_value *x, quantized_input *out) {
    quantized_input *shared =
        x->id < q->input_count && near->block == &q->context.graph->body ? &q->inputs[x->id] : NULL;
    if (shared && shared->values) {
        *out = *shared;
        return BERT_OK;
    }
    bert_value *outputs[3];
    BERT_TRY(add_node(q, near, BERT_OP_DynamicQuantizeLinear, &x, 1, outputs, 3));
    *out = (quantized_input){outputs[0], outputs[1], outputs[2]};
    if (shared) *shared = *out;
    return BERT_OK;
}

/* The node's readers read `value` instead, which gets its name's place among the outputs; the node goes. */
static bert_status put_in_place(quantizer *q, bert_node *node, bert_value *value) {
    BERT_TRY(bert_graph_replace_value(q->context.graph, node->outputs[0], value, q->context.error));
    bert_graph_remove_node(node);
    return BERT_OK;
}

/* x W as integers, then floats again: *out. */
static bert_status multiply(quantizer *q, bert_node *node, const matrix *m, bert_value **out) {
    quantized_weight weight;
    quantized_input x;
    bert_value *product, *scale, *cast;
    BERT_TRY(quantize_matrix(q, m, q->options->weights, q->options->per_channel, &weight));
    BERT_TRY(quantize_input(q, node, node->inputs[0], &x));
    BERT_TRY(add_node(q, node, BERT_OP_MatMulInteger,
                      (bert_value *[]){x.values, weight.values, x.zero_point, weight.zero_point}, 4, &product, 1));
    BERT_TRY(bert_build_cast(&q->context, node, product, BERT_FLOAT, &cast));
    BERT_TRY(add_node(q, node, BERT_OP_Mul, (bert_value *[]){x.scale, weight.scale}, 2, &scale, 1));
    BERT_TRY(add_node(q, node, BERT_OP_Mul, (bert_value *[]){cast, scale}, 2, out, 1));
    q->report->products++;
    return BERT_OK;
}

static bert_status leave(quantizer *q, const bert_node *node) {
    if (!q->report->first_left) q->report->first_left = bert_node_label(node);
    q->report->left++;
    return BERT_OK;
}

static bert_status quantize_matmul(quantizer *q, bert_node *node) {
    const matrix m = matrix_of(node->inputs[1]->info.constant, false, 1);
    if (node->inputs[0]->info.dtype != BERT_FLOAT) return leave(q, node);
    bert_value *y;
    BERT_TRY(multiply(q, node, &m, &y));
    return put_in_place(q, node, y);
}

static bert_status quantize_gemm(quantizer *q, bert_node *node) {
    bert_value *c = bert_node_in(node, 2), *y;
    const float alpha = BERT_NODE_FLOAT(node, "alpha", 1.0F), beta = BERT_NODE_FLOAT(node, "beta", 1.0F);
    if (BERT_NODE_INT(node, "transA", 0) || (c && beta != 1.0F) || alpha == 0 ||
        node->inputs[0]->info.dtype != BERT_FLOAT)
        return leave(q, node);
    const matrix m = matrix_of(node->inputs[1]->info.constant, BERT_NODE_INT(node, "transB", 0) != 0, alpha);
    BERT_TRY(multiply(q, node, &m, &y));
    if (c) BERT_TRY(add_node(q, node, BERT_OP_Add, (bert_value *[]){y, c}, 2, &y, 1));
    return put_in_place(q, node, y);
}

/* com.microsoft Attention: x, weight, bias, mask_index, past. QAttention has no bias of its scores and needs a bias. */
static bert_status quantize_attention(quantizer *q, bert_node *node) {
    if (!bert_node_in(node, 2) || bert_node_in(node, 5) || node->output_count > 1 ||
        node->inputs[0]->info.dtype != BERT_FLOAT ||
        bert_attribute_find(node->attributes, node->attribute_count, "scale") ||
        bert_attribute_find(node->attributes, node->attribute_count, "qkv_hidden_sizes"))
        return leave(q, node);
    const matrix m = matrix_of(node->inputs[1]->info.constant, false, 1);
    quantized_weight weight;
    quantized_input x;
    BERT_TRY(quantize_matrix(q, &m, q->options->weights, q->options->per_channel, &weight));
    BERT_TRY(quantize_input(q, node, node->inputs[0], &x));
    bert_value *inputs[] = {x.values,     weight.values,     node->inputs[2],
                            x.scale,      weight.scale,      bert_node_in(node, 3),
                            x.zero_point, weight.zero_point, bert_node_in(node, 4)};
    bert_value *y;
    BERT_TRY(bert_graph_add_value(q->context.graph, NULL, &y, q->context.error));
    bert_node *made;
    BERT_TRY(bert_graph_add_node(node->block, node,
                                 &(bert_node_spec){.op = bert_op_get(BERT_OP_MS_QAttention),
                                                   .opset = 1,
                                                   .name = node->name,
                                                   .inputs = inputs,
                                                   .input_count = 9,
                                                   .outputs = &y,
                                                   .output_count = 1,
                                                   .attributes = node->attributes,
                                                   .attribute_count = node->attribute_count},
                                 &made, q->context.error));
    BERT_TRY(bert_node_add_origins(made, node, q->context.error));
    BERT_TRY(bert_infer_node(q->context.graph, made, q->context.error));
    q->report->products++;
    return put_in_place(q, node, y);
}

/* A table is read by rows: the bytes of the rows become floats again. */
static bert_status quantize_table(quantizer *q, bert_node *node) {
    if (BERT_NODE_INT(node, "axis", 0) != 0) return BERT_OK;
    const matrix m = matrix_of(node->inputs[0]->info.constant, false, 1);
    quantized_weight table;
    bert_value *rows, *y;
    BERT_TRY(quantize_matrix(q, &m, BERT_UINT8, false, &table));
    BERT_TRY(add_node(q, node, BERT_OP_Gather, (bert_value *[]){table.values, node->inputs[1]}, 2, &rows, 1));
    BERT_TRY(
        add_node(q, node, BERT_OP_DequantizeLinear, (bert_value *[]){rows, table.scale, table.zero_point}, 3, &y, 1));
    q->report->tables++;
    return put_in_place(q, node, y);
}

static bert_status visit(quantizer *q, bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_MatMul:
        return is_weight(node->inputs[1]) ? quantize_matmul(q, node) : BERT_OK;
    case BERT_OP_Gemm:
        return is_weight(node->inputs[1]) ? quantize_gemm(q, node) : BERT_OK;
    case BERT_OP_MS_Attention:
        return is_weight(node->inputs[1]) ? quantize_attention(q, node) : BERT_OK;
    case BERT_OP_MS_FusedMatMul:
    case BERT_OP_MS_FusedGemm:
    case BERT_OP_MS_GemmFastGelu:
        return is_weight(node->inputs[1]) ? leave(q, node) : BERT_OK;
    case BERT_OP_Gather:
        return is_weight(node->inputs[0]) ? quantize_table(q, node) : BERT_OK;
    default:
        return BERT_OK;
    }
}

static bert_status visit_block(quantizer *q, bert_block *block) {
    BERT_FOR_EACH_NODE_SAFE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind == BERT_ATTRIBUTE_GRAPH)
                BERT_TRY(visit_block(q, node->attributes[i].value.graph));
        }
        BERT_TRY(visit(q, node));
    }
    return BERT_OK;
}

bert_status bert_quantize_dynamic(bert_graph *graph, const bert_quantize_options *options, const bert_log *log,
                                  bert_quantize_report *report, bert_error *error) {
    static const bert_pass pass = {.name = "quantize_dynamic"};
    if (options->weights != BERT_INT8 && options->weights != BERT_UINT8)
        return bert_fail(error, BERT_INVALID_ARGUMENT, "weights are quantized to int8 or uint8");
    *report = (bert_quantize_report){0};
    quantizer q = {
        .context = {.graph = graph, .log = log, .error = error, .pass = &pass}, .options = options, .report = report};
    BERT_TRY(bert_infer_graph(graph, error));
    BERT_TRY(bert_pass_fold(&q.context)); /* weights that the file transposes */
    q.input_count = graph->value_count;
    q.inputs = BERT_ARENA_NEW_ARRAY(&graph->arena, quantized_input, q.input_count);
    if (!q.inputs) return no_memory(&q);
    BERT_TRY(visit_block(&q, &graph->body));
    bert_graph_remove_dead(graph);
    return BERT_OK;
}
